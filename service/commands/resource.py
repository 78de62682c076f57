"""``touchstone resource``: secrets that guests may have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from service.commands import output
from service.commands.output import json_option
from service.commands.remote import client_of, server_options

_MAX_RESOURCE_BYTES = 16 << 20


@click.group()
def command() -> None:
    """Put, list and delete resources."""


@command.command()
@click.argument("path", metavar="REPOSITORY/TYPE/TAG")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--release-policy", help="Name of the release policy; `default` otherwise.")
@server_options
@json_option
def put(
    path: str,
    file: Path,
    release_policy: str | None,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Store FILE ('-' for standard input) as a new version of the resource. The content is never shown."""
    from common.encoding import b64url_encode
    from common.files import read_limited

    if str(file) == "-":
        data = sys.stdin.buffer.read(_MAX_RESOURCE_BYTES)
    else:
        data = read_limited(file, what="resource", max_bytes=_MAX_RESOURCE_BYTES)
    body = {"data": b64url_encode(data)}
    if release_policy is not None:
        body["release_policy"] = release_policy
    answer = client_of(server, token_file, ca_file).call("PUT", _url(path), body=body)
    output.emit(answer, as_json=as_json, text=lambda: f"stored {path} version {answer['version']}")


@command.command(name="list")
@server_options
@json_option
def list_(server: str, token_file: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """List resources, without their contents."""
    items = list(client_of(server, token_file, ca_file).pages("/v1/resources"))
    output.emit({"items": items}, as_json=as_json, text=lambda: _table(items))


@command.command()
@click.argument("path", metavar="REPOSITORY/TYPE/TAG")
@click.confirmation_option("--yes", prompt="A deleted resource cannot be brought back. Go on?")
@server_options
@json_option
def delete(path: str, server: str, token_file: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """Destroy every version of the resource."""
    client_of(server, token_file, ca_file).call("DELETE", _url(path))
    output.emit({"deleted": path}, as_json=as_json, text=lambda: f"deleted {path}")


def _url(path: str) -> str:
    return "/v1/resources/" + "/".join(quote(part, safe="") for part in path.split("/"))


def _table(items: list[dict[str, Any]]) -> str:
    rows = [(str(item["id"]), str(item["latest_version"]), str(len(item["versions"]))) for item in items]
    return output.table(("RESOURCE", "LATEST", "VERSIONS"), rows)
