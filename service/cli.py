"""``touchstone``: the command group.

A command lives in ``service/commands/<name>.py`` as ``command`` and is imported when it is called or
its help is asked for, so that ``touchstone --help`` stays quick. Every typed error ends a command with its
message, code and advice (``service.commands.output``), never with a stack trace.
"""

from __future__ import annotations

import importlib
import sys
from importlib import metadata

import click

from common.errors import TouchstoneError
from service.commands import output

_ALIASES = {"import": "import_trustee", "rv": "reference_values", "serve-grpc": "serve_grpc"}
# Commands of a group that have a name of their own.
_SHORTCUTS = {"impact": ("reference_values", "impact")}
# Name to the line that `touchstone --help` shows; modules are not imported for it.
_COMMANDS = {
    "audit": "Read and verify the audit log.",
    "collateral": "Fetch, list, verify and carry what vendors say of their hardware.",
    "conformance": "Run every case of a conformance manifest, offline.",
    "feed": "Publish this instance's changes to others, and take theirs.",
    "impact": "Show what rests on something: values, appraisals, released secrets.",
    "keys": "Show and rotate the token-signing keys; export their authority.",
    "import": "Take over what a Trustee deployment keeps: policies, resources, reference values.",
    "layout": "Bundle in-toto layouts with their links, and verify such bundles.",
    "policy": "Check, test, explain and manage policies.",
    "publish": "Verify an attestation, derive reference values, submit them (the CI step).",
    "registry": "Show and download what is attached to an image in a registry.",
    "resource": "Put, list and delete resources.",
    "rv": "List, show, retract reference values; their history and impact.",
    "serve": "Run the server.",
    "serve-grpc": "Run the gRPC services of Confidential Containers alone.",
    "trust": "Refresh and show the public-good Sigstore root.",
    "token": "Make, list and revoke admin tokens.",
    "verify": "Verify and appraise an evidence file.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, sorted."""
        del ctx
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name in _SHORTCUTS:
            module_name, name = _SHORTCUTS[cmd_name]
            group: click.Group = importlib.import_module(f"service.commands.{module_name}").command
            return group.get_command(ctx, name)
        module = importlib.import_module(f"service.commands.{_ALIASES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("touchstone"), prog_name="touchstone")
def cli() -> None:
    """Reference values with proof of origin, evidence verification, secret release."""


def main() -> None:
    """Entry point: runs the group and turns typed errors into exit codes."""
    as_json = "--json" in sys.argv[1:]
    try:
        cli(standalone_mode=True)
    except TouchstoneError as error:
        output.fail(error, as_json=as_json)
