"""Options of commands that talk to a server, and the client they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.client import ApiClient

_DEFAULT_URL = "http://127.0.0.1:8080"


def server_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--server``, ``--token-file`` and ``--ca-file``, with their environment variables."""
    for option in (
        click.option(
            "--ca-file",
            envvar="TOUCHSTONE_CA_FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="PEM authorities for the server's certificate. [$TOUCHSTONE_CA_FILE]",
        ),
        click.option(
            "--token-file",
            envvar="TOUCHSTONE_TOKEN_FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="File with the admin token. [$TOUCHSTONE_TOKEN_FILE]",
        ),
        click.option(
            "--server",
            envvar="TOUCHSTONE_SERVER",
            default=_DEFAULT_URL,
            show_default=True,
            help="URL of the server. [$TOUCHSTONE_SERVER]",
        ),
    ):
        function = option(function)
    return function


def client_of(server: str, token_file: Path | None, ca_file: Path | None) -> ApiClient:
    """The client that the options describe."""
    from service.client import ApiClient, read_token

    token = None if token_file is None else read_token(token_file)
    return ApiClient(server, token=token, ca_file=ca_file)
