"""``touchstone token``: admin tokens, on the server's own machine.

Works on the database that the configuration names: whoever may read it is the
administrator. There is no route for it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from service.commands import output
from service.commands.local import load_settings, settings_options
from service.commands.output import json_option

if TYPE_CHECKING:
    from pathlib import Path

    from service.access import TokenInfo, TokenStore


@click.group()
def command() -> None:
    """Make, list and revoke admin tokens."""


@command.command()
@click.argument("label")
@click.option("--role", "roles", multiple=True, required=True, help="May be repeated; see `token roles`.")
@click.option(
    "--days", type=click.IntRange(1, 3650), help="Lifetime; without it the token does not expire."
)
@settings_options
@json_option
def create(
    label: str,
    roles: tuple[str, ...],
    days: int | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Make a token for LABEL (who or what will hold it). It is shown once."""
    now = datetime.now(UTC)
    expires_at = None if days is None else now + timedelta(days=days)
    token, info = _store(config, data_dir).create(
        label=label, roles=roles, by="command line", now=now, expires_at=expires_at
    )
    output.emit({"token": token, "info": info}, as_json=as_json, text=lambda: token)


@command.command(name="list")
@settings_options
@json_option
def list_(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List tokens, without their secrets."""
    tokens = _store(config, data_dir).list()
    output.emit({"items": tokens}, as_json=as_json, text=lambda: _render(tokens))


@command.command()
@click.argument("token_id")
@settings_options
@json_option
def revoke(token_id: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """End the token TOKEN_ID at once."""
    info = _store(config, data_dir).revoke(token_id, datetime.now(UTC))
    output.emit(info, as_json=as_json, text=lambda: f"revoked {info.id} ({info.label})")


@command.command()
@json_option
def roles(as_json: bool) -> None:
    """List the roles and the scopes they give."""
    from service.access import ROLES

    rows = {role: sorted(scope.value for scope in scopes) for role, scopes in sorted(ROLES.items())}
    output.emit(
        rows,
        as_json=as_json,
        text=lambda: output.table(
            ("ROLE", "SCOPES"), [(role, " ".join(scopes)) for role, scopes in rows.items()]
        ),
    )


def _store(config: Path | None, data_dir: Path | None) -> TokenStore:
    from service.access import TokenStore
    from service.composition import open_database

    return TokenStore(open_database(load_settings(config, data_dir)))


def _render(tokens: tuple[TokenInfo, ...]) -> str:
    rows = [
        (
            token.id,
            token.label,
            ",".join(token.roles),
            f"{token.created_at:%Y-%m-%d %H:%M}",
            "revoked"
            if token.revoked_at
            else f"until {token.expires_at:%Y-%m-%d}"
            if token.expires_at
            else "valid",
        )
        for token in tokens
    ]
    return output.table(("ID", "LABEL", "ROLES", "CREATED", "STATE"), rows)
