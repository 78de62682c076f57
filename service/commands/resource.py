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
@click.option("--expected", type=int, help="Latest version that you saw; refused if it is another.")
@click.option("--release-policy", help="Name of the release policy; `default` otherwise.")
@server_options
@json_option
def put(
    path: str,
    file: Path,
    expected: int | None,
    release_policy: str | None,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Store FILE ('-': standard input) as a new version of the resource. Its content is never shown."""
    from common.encoding import b64url_encode
    from common.errors import TooLarge
    from common.files import read_limited

    if str(file) == "-":
        data = sys.stdin.buffer.read(_MAX_RESOURCE_BYTES + 1)
        if len(data) > _MAX_RESOURCE_BYTES:
            raise TooLarge(f"the resource is larger than {_MAX_RESOURCE_BYTES} bytes")
    else:
        data = read_limited(file, what="resource", max_bytes=_MAX_RESOURCE_BYTES)
    body = {"data": b64url_encode(data), "release_policy": release_policy, "expected": expected}
    body = {name: value for name, value in body.items() if value is not None}
    answer = client_of(server, token_file, ca_file).call("PUT", _url(path), body=body)
    output.emit(answer, as_json=as_json, text=lambda: f"stored {path} version {answer['version']}")


@command.command()
@click.argument("path", metavar="REPOSITORY/TYPE/TAG")
@server_options
@json_option
def show(path: str, server: str, token_file: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """Show a resource's versions, without their contents."""
    item = client_of(server, token_file, ca_file).call("GET", _url(path))
    output.emit(item, as_json=as_json, text=lambda: _versions(item["versions"]))


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


def _versions(versions: list[dict[str, Any]]) -> str:
    columns = ("version", "state", "size", "release_policy", "created_at", "created_by")
    rows = [[str(version[column]) for column in columns] for version in versions]
    return output.table([column.upper() for column in columns], rows)


def _table(items: list[dict[str, Any]]) -> str:
    rows = [(str(item["id"]), str(item["latest_version"]), str(len(item["versions"]))) for item in items]
    return output.table(("RESOURCE", "LATEST", "VERSIONS"), rows)
