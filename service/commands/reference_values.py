"""``touchstone rv``: reference values on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from service.commands import output
from service.commands.output import json_option
from service.commands.remote import client_of, server_options

if TYPE_CHECKING:
    from pathlib import Path

_STATES = click.Choice(["live", "pending", "expired", "retracted"])
_KINDS = click.Choice(
    ["attestation", "signer", "builder", "source_revision", "source_uri", "reference_value"]
)
_SHOWN_VALUE = 24


@click.group()
def command() -> None:
    """List, show and retract reference values; their history and impact."""


@command.command(name="list")
@click.option("--name", help="Reference name, e.g. snp_launch_measurement.")
@click.option("--tee", type=click.Choice(["snp", "tpm"]))
@click.option("--group", help="Release that values belong to.")
@click.option("--state", type=_STATES)
@click.option("--attestation", help="SHA-256 of the envelope.")
@server_options
@json_option
def list_(
    name: str | None,
    tee: str | None,
    group: str | None,
    state: str | None,
    attestation: str | None,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """List reference values, newest first."""
    query = {"name": name, "tee": tee, "group": group, "state": state, "attestation": attestation}
    items = list(client_of(server, token_file, ca_file).pages("/v1/reference-values", query=query))
    output.emit({"items": items}, as_json=as_json, text=lambda: _table(items))


@command.command()
@click.argument("id")
@server_options
@json_option
def show(id: str, server: str, token_file: Path | None, ca_file: Path | None, as_json: bool) -> None:  # noqa: A002
    """Show the reference value ID with its lineage."""
    item = client_of(server, token_file, ca_file).call("GET", f"/v1/reference-values/{quote(id, safe='')}")
    output.emit(item, as_json=as_json, text=lambda: _details(item))


@command.command()
@click.option("--name", help="All values of a name.")
@click.option("--id", "value_id", help="One value.")
@click.option("--attestation", help="All values of an attestation (SHA-256 of its envelope).")
@server_options
@json_option
def history(
    name: str | None,
    value_id: str | None,
    attestation: str | None,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Show everything that happened to values, retractions and expiry included."""
    query = {"name": name, "id": value_id, "attestation": attestation}
    if sum(item is not None for item in query.values()) != 1:
        raise click.UsageError("give exactly one of --name, --id and --attestation")
    items = list(client_of(server, token_file, ca_file).pages("/v1/reference-values/history", query=query))
    output.emit({"items": items}, as_json=as_json, text=lambda: "\n".join(map(_history, items)))


@command.command()
@click.argument("kind", type=_KINDS)
@click.argument("target")
@click.option("--reason", required=True, help="Why; kept in the record for good.")
@click.option("--issuer", help="Of a signer: only certificates of this OIDC issuer.")
@click.option("--since", help="RFC 3339: only what was logged from then on.")
@click.confirmation_option("--yes", prompt="A retraction is never undone. Go on?")
@server_options
@json_option
def retract(
    kind: str,
    target: str,
    reason: str,
    issuer: str | None,
    since: str | None,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Retract TARGET and all that rests on it alone; docs/cli.md says what a target of each kind is."""
    body = {"kind": kind, "target": target, "reason": reason}
    body |= {name: value for name, value in (("issuer", issuer), ("since", since)) if value is not None}
    result = client_of(server, token_file, ca_file).call("POST", "/v1/retractions", body=body)
    output.emit(result, as_json=as_json, text=lambda: _retraction(result))


@command.command()
@click.argument("kind", type=_KINDS)
@click.argument("target")
@click.option("--issuer", help="Of a signer: only certificates of this OIDC issuer.")
@click.option("--since", help="RFC 3339: only what was logged from then on.")
@server_options
@json_option
def impact(
    kind: str,
    target: str,
    issuer: str | None,
    since: str | None,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Show what rests on TARGET, retracted or not: values, appraisals, released secrets."""
    query = {"kind": kind, "target": target, "issuer": issuer, "since": since}
    result = client_of(server, token_file, ca_file).call("GET", "/v1/impact", query=query)
    output.emit(result, as_json=as_json, text=lambda: _impact(result))


def _table(items: list[dict[str, Any]]) -> str:
    rows = [
        (
            item["id"],
            item["state"],
            item["name"],
            _short(item["value"]),
            item["lineage"].get("source_uri") or "-",
            _short(item["lineage"].get("source_revision") or "-"),
        )
        for item in items
    ]
    return output.table(("ID", "STATE", "NAME", "VALUE", "SOURCE", "REVISION"), rows)


def _retraction(result: dict[str, Any]) -> str:
    head = "retracted" if result["created"] else "had been retracted before; nothing changed"
    lines = [f"{head}: {result['retraction']}, snapshot {result['snapshot']}"]
    lines += [f"  attestation      {digest}" for digest in result["attestations"]]
    lines += [f"  reference value  {value}" for value in result["reference_values"]]
    return "\n".join(lines)


def _impact(result: dict[str, Any]) -> str:
    affected = result["affected"]
    live, corroborated = set(affected["live"]), set(affected["corroborated"])
    lines = [f"attestations: {len(affected['attestations'])}"]
    lines += [f"  {digest}" for digest in affected["attestations"]]
    lines.append(f"reference values: {len(affected['reference_values'])}, {len(live)} of them live")
    lines += [
        f"  {value}  {'live' if value in live else 'retracted'}"
        + (", vouched for by another attestation too" if value in corroborated else "")
        for value in affected["reference_values"]
    ]
    lines.append(f"secrets released: {len(result['releases'])}")
    lines += [
        f"  {item['at']}  {item['kind']}/{item['id']} version {item['version']}"
        f" to {item['identity'] or 'unknown hardware'}, token {item['jti']}"
        for item in result["releases"]
    ]
    more = " or more" if result["more_appraisals"] else ""
    lines.append(f"appraisals: {len(result['appraisals'])}{more}")
    return "\n".join(lines)


def _details(item: dict[str, Any]) -> str:
    flat = {name: value for name, value in item.items() if name not in ("lineage", "retraction")}
    flat |= {f"lineage.{name}": value for name, value in item["lineage"].items()}
    flat |= {f"retraction.{name}": value for name, value in (item.get("retraction") or {}).items()}
    width = max(map(len, flat))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in flat.items())


def _history(item: dict[str, Any]) -> str:
    value = item["value"]
    head = f"{value['id']}  {value['name']} = {_short(value['value'])}  ({value['state']})"
    events = [
        f"  {event['at']}  {event['kind']:<10} {event.get('by') or ''} "
        f"{(event.get('retraction') or {}).get('reason', '')}".rstrip()
        for event in item["events"]
    ]
    return "\n".join([head, *events])


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_VALUE else f"{text[:_SHOWN_VALUE]}…"
