"""``touchstone rv``: reference values on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from provenance.predicates.reference import TEES
from service.commands import output
from service.commands.output import json_option
from service.commands.remote import client_of, server_options

_STATES = click.Choice(["live", "waiting", "unverified", "pending", "expired", "retracted"])
# As ``rvps.targets.TargetKind`` has them; written out, so that the client need not load the store.
_KINDS = click.Choice(
    [
        "attestation",
        "signer",
        "key",
        "builder",
        "source_revision",
        "source_uri",
        "material",
        "rule",
        "tool",
        "submitter",
        "reference_value",
    ]
)
_SINCE = "RFC 3339: only what was logged (of a submitter: what arrived) from then on."
_SHOWN_VALUE = 24
_SHOWN_LINEAGE = (
    "attestation",
    "signer",
    "certificate",
    "key",
    "builder",
    "source_uri",
    "source_revision",
    "rule",
)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def command() -> None:
    """List, show and retract reference values; their history and impact."""


@command.command(name="list")
@click.option("--name", help="Reference name, e.g. snp_launch_measurement.")
@click.option("--tee", type=click.Choice(TEES))
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
@click.option("--since", help=_SINCE)
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
@click.option("--since", help=_SINCE)
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


@command.command()
@click.option("--format", "format_", type=click.Choice(["corim"]), required=True)
@click.option("-o", "--output", "output_file", type=_FILE, required=True, help="The CoRIM.")
@click.option("--key", type=_FILE, help="Sign with this ECDSA P-256 or P-384 key (PEM, mode 0600).")
@click.option("--valid-days", type=click.IntRange(1, 3650), help="End of the signature's validity.")
@click.option("--mapping", type=_FILE, help="Write the derivation request that reads it back.")
@click.option("--name", help="Only values of this reference name.")
@click.option("--tee", help="Only values of this TEE.")
@click.option("--group", help="Only values of this release.")
@server_options
@json_option
def export(
    format_: str,  # noqa: ARG001 (the only one; named so that a second can follow)
    output_file: Path,
    key: Path | None,
    valid_days: int | None,
    mapping: Path | None,
    name: str | None,
    tee: str | None,
    group: str | None,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Write live reference values as a CoRIM."""
    from datetime import UTC, datetime

    from service import corim_file

    if valid_days is not None and key is None:
        raise click.UsageError("--valid-days needs --key")
    query = {"name": name, "tee": tee, "group": group, "state": "live"}
    items = list(client_of(server, token_file, ca_file).pages("/v1/reference-values", query=query))
    result = corim_file.write(
        items, output_file, key=key, mapping=mapping, valid_days=valid_days, now=datetime.now(UTC)
    )
    signed = "signed" if result["signed"] else "not signed"
    output.emit(result, as_json=as_json, text=lambda: f"{output_file}: {result['values']} values, {signed}")


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
    if item.get("waiting_for"):
        flat["waiting_for"] = _waiting(item)
    flat |= {f"retraction.{name}": value for name, value in (item.get("retraction") or {}).items()}
    width = max(map(len, flat))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in flat.items())


def _history(item: dict[str, Any]) -> str:
    value = item["value"]
    state = _waiting(value) if value.get("waiting_for") else value["state"]
    head = f"{value['id']}  {value['name']} = {_short(value['value'])}  ({state})"
    events = [
        f"  {event['at']}  {event['kind']:<10} {event.get('by') or ''} "
        f"{(event.get('retraction') or {}).get('reason', '')}".rstrip()
        for event in item["events"]
    ]
    lineage = [f"  {name:<16} {shown}" for name, shown in _lineage(value["lineage"])]
    return "\n".join([head, *events, *lineage])


def _lineage(lineage: dict[str, Any]) -> list[tuple[str, str]]:
    """What a value rests on, in the words that a retraction takes."""
    materials = [
        item.get("uri") or next(iter(item.get("digest", {}).values()), "-")
        for item in lineage.get("materials", ())
    ]
    found = [(name, lineage[name]) for name in _SHOWN_LINEAGE if lineage.get(name)]
    found += [("tool", tool) for tool in lineage.get("tools", ())]
    found += [("material", item) for item in materials]
    if lineage.get("more_materials"):
        found.append(("material", f"and {lineage['more_materials']} more"))
    return found


def _waiting(value: dict[str, Any]) -> str:
    count = value["waiting_for"]
    return f"waiting for {count} more domain{'s' if count > 1 else ''}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_VALUE else f"{text[:_SHOWN_VALUE]}…"
