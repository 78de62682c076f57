"""``touchstone audit``: the hash-chained log, on the server's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands import output
from service.commands.output import ExitCode, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from kms.audit import AuditLog

_config_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file of the server; $TOUCHSTONE_CONFIG otherwise.",
)


@click.group()
def command() -> None:
    """Read and verify the audit log."""
