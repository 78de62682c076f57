"""``touchstone keys``: the token-signing keys, on the server's own machine.

Works on the key files that the configuration names: whoever may read those is the administrator.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from service.commands import output
from service.commands.local import load_settings, settings_options
from service.commands.output import json_option

if TYPE_CHECKING:
    from pathlib import Path

    from service.keys import KeyFolder


@click.group()
def command() -> None:
    """Show and rotate the token-signing keys; export the authority that certifies them."""


@command.command(name="list")
@settings_options
@json_option
def list_(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the keys: which one signs, which is next, which only verify, and until when."""
    now = datetime.now(UTC)
    rows = _rows(_folder(config, data_dir), now)
    head = ("KEY", "STATE", "SIGNS FROM", "VERIFIES UNTIL", "CERTIFICATE UNTIL")
    output.emit(
        {"items": rows},
        as_json=as_json,
        text=lambda: output.table(
            head, [tuple(str(value or "-") for value in row.values()) for row in rows]
        ),
    )


@command.command()
@click.option(
    "--lead",
    type=click.IntRange(0, 604_800),
    metavar="SECONDS",
    help="How long the new key is published before it signs; [token] rotation_lead_s otherwise.",
)
@click.option(
    "--compromised",
    is_flag=True,
    help=(
        "The present key is known to others: the new one signs at once, results of the old one verify no"
        " more, and a new local authority is made, which relying parties must be given."
    ),
)
@settings_options
@json_option
def rotate(
    lead: int | None, compromised: bool, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Make the next token-signing key; running servers take it up by themselves."""
    entry = _folder(config, data_dir).rotate(
        datetime.now(UTC),
        lead=None if lead is None else timedelta(seconds=lead),
        compromised=compromised,
    )
    output.emit(
        {"kid": entry.kid, "active_from": entry.active_from},
        as_json=as_json,
        text=lambda: f"next signing key {entry.kid}, signs from {_time(entry.active_from)}",
    )


@command.command()
@settings_options
@json_option
def ca(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Print the certificate (PEM) that relying key brokers put into `trusted_certs_paths`."""
    from cryptography.hazmat.primitives.serialization import Encoding

    from common.errors import NotFound

    authority = _folder(config, data_dir).authority()
    if authority is None:
        raise NotFound(
            "there is no local authority",
            advice=(
                "It is made when the server first starts; a key with [token] certificate_chain has an"
                " authority of its own."
            ),
        )
    pem = authority.public_bytes(Encoding.PEM).decode("ascii")
    document = {"certificate": pem, "not_after": authority.not_valid_after_utc}
    output.emit(document, as_json=as_json, text=pem.rstrip)


def _folder(config: Path | None, data_dir: Path | None) -> KeyFolder:
    from service.token_keys import open_folder

    return open_folder(load_settings(config, data_dir))


def _rows(folder: KeyFolder, now: datetime) -> list[dict[str, Any]]:
    from service import certificates, key_ring

    ring = folder.ring()
    current = key_ring.present(ring, now)
    return [
        {
            "kid": key.kid,
            "state": "signs" if key is current else "next" if key.active_from > now else "retired",
            "active_from": _time(key.active_from),
            "verifies_until": None if until is None else _time(until),
            "certificate_until": _time(certificates.not_after(key.chain)),
        }
        for key, until in key_ring.verifying(ring, now)
    ]


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")
