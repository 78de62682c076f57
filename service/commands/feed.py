"""``touchstone feed``: changes of one instance carried to another, over the network or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands import output
from service.commands.local import load_settings, settings_options
from service.commands.output import json_option
from service.commands.remote import client_of, server_options

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_BUNDLE_BYTES = 1 << 30
_BATCH = 20


@click.group()
def command() -> None:
    """Publish this instance's changes to others, and take theirs (docs/publish-subscribe.md)."""


@command.command()
@server_options
@json_option
def key(server: str, token_file: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """Show the public key that signs the server's events."""
    found = client_of(server, token_file, ca_file).call("GET", "/v1/changes/key")
    output.emit(found, as_json=as_json, text=lambda: str(found["key"]).rstrip())


@command.command()
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option(
    "--after", type=click.IntRange(min=0), default=0, show_default=True, help="The last event they have."
)
@server_options
@json_option
def export(
    target: Path,
    after: int,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Write the server's signed events to a file, one a line, for a site without a connection."""
    from common.encoding import b64url_decode
    from common.files import write_public

    client = client_of(server, token_file, ca_file)
    lines: list[bytes] = []
    place, instance = after, ""
    while True:
        page = client.call("GET", "/v1/changes", query={"after": place})
        instance = str(page["instance"])
        if not page["events"]:
            break
        lines += [b64url_decode(event, what="event") for event in page["events"]]
        place = int(page["next"])
        output.note(f"{len(lines)} events")
    write_public(target, b"\n".join(lines) + (b"\n" if lines else b""))
    document = {
        "instance": instance,
        "events": len(lines),
        "after": after,
        "next": place,
        "file": str(target),
    }
    output.emit(
        document,
        as_json=as_json,
        text=lambda: f"{len(lines)} events of {instance}, up to {place}: {target}",
    )


@command.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@server_options
@json_option
def import_(file: Path, server: str, token_file: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """Give a peer's exported events to the server, which verifies each; taken ones are passed over."""
    client = client_of(server, token_file, ca_file)
    outcomes: list[dict[str, Any]] = []
    for batch in _batches(_lines(file)):
        taken = client.call("POST", "/v1/changes", body={"events": batch})
        outcomes += taken["outcomes"]
        output.note(f"{len(outcomes)} events")
    output.emit({"outcomes": outcomes}, as_json=as_json, text=lambda: _summary(outcomes))


@command.command()
@click.argument("instance")
@settings_options
@json_option
def forget(instance: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Take a peer's history anew from its first event; what was stored of it stays."""
    from service.composition import build

    services = build(load_settings(config, data_dir))
    try:
        before = services.subscriber.cursor(instance)
        services.subscriber.forget(instance)
    finally:
        services.close()
    output.emit(
        {"instance": instance, "epoch": before},
        as_json=as_json,
        text=lambda: f"{instance}: was at event {before}, starts anew",
    )


def _lines(file: Path) -> Iterator[bytes]:
    from common.files import read_limited

    data = read_limited(file, what="events", max_bytes=_MAX_BUNDLE_BYTES)
    return (line for line in data.splitlines() if line)


def _batches(lines: Iterator[bytes]) -> Iterator[list[str]]:
    from common.encoding import b64url_encode

    batch: list[str] = []
    for line in lines:
        batch.append(b64url_encode(line))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _summary(outcomes: list[dict[str, Any]]) -> str:
    counts = {
        result: sum(item["result"] == result for item in outcomes)
        for result in ("applied", "repeated", "skipped")
    }
    text = ", ".join(f"{count} {result}" for result, count in counts.items())
    skipped = [
        f"  event {item['epoch']}: {item['code']}: {item['detail']}"
        for item in outcomes
        if item["result"] == "skipped"
    ]
    return "\n".join([text, *skipped])
