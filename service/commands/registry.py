"""``touchstone registry``: what is attached to an image, shown and downloaded. Nothing is verified here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from service.commands import output
from service.commands.output import json_option
from service.commands.registry_options import attached_to, registry_options

if TYPE_CHECKING:
    from provenance.oci.attachments import Attachments, FoundEnvelope

_SHOWN_DIGEST = 12
_NAMES = {
    "application/vnd.dsse.envelope.v1+json": "dsse.json",
    "application/vnd.dev.cosign.simplesigning.v1+json": "cosign-signature.json",
}
_BUNDLE_NAME = "sigstore.json"


@click.group()
def command() -> None:
    """Show and download what is attached to an image in a registry."""


@command.command("list")
@click.argument("image")
@registry_options
@json_option
def list_(
    image: str,
    registry_config: Path | None,
    registry_ca_file: Path | None,
    allowed_hosts: tuple[str, ...],
    plain_http: bool,
    as_json: bool,
) -> None:
    """List attestations and signatures of IMAGE. Nothing of it is verified yet."""
    found = attached_to(image, registry_config, registry_ca_file, allowed_hosts, plain_http)
    document = _document(found, {})
    output.emit(document, as_json=as_json, text=lambda: _text(document))


@command.command()
@click.argument("image")
@click.option(
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to; made if it is not there.",
)
@registry_options
@json_option
def fetch(
    image: str,
    folder: Path,
    registry_config: Path | None,
    registry_ca_file: Path | None,
    allowed_hosts: tuple[str, ...],
    plain_http: bool,
    as_json: bool,
) -> None:
    """Write each attestation and signature of IMAGE to a file, as `publish --attestation` reads it."""
    from common.errors import InvalidSetting
    from common.files import write_public

    found = attached_to(image, registry_config, registry_ca_file, allowed_hosts, plain_http)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(f"cannot make {folder} ({error.strerror})") from error
    files = {}
    for item in found.found:
        digest = hashlib.sha256(item.data).hexdigest()
        path = folder / f"{digest[:_SHOWN_DIGEST]}.{_NAMES.get(item.media_type, _BUNDLE_NAME)}"
        write_public(path, item.data)
        files[digest] = str(path)
    document = _document(found, files)
    output.emit(document, as_json=as_json, text=lambda: _text(document))


def _document(found: Attachments, files: dict[str, str]) -> dict[str, Any]:
    return {
        "image": found.image,
        "media_type": found.media_type,
        "verified": False,
        "found": [_item(item, files) for item in found.found],
        "faults": msgspec.to_builtins(found.faults),
    }


def _item(item: FoundEnvelope, files: dict[str, str]) -> dict[str, Any]:
    digest = hashlib.sha256(item.data).hexdigest()
    return {
        "attestation": digest,
        "kind": "signature" if item.is_signature else "attestation",
        "claimed_predicate_type": item.claimed_type,
        "media_type": item.media_type,
        "place": item.place,
        "manifest": item.manifest,
        "layer": item.layer,
        "size": len(item.data),
        "file": files.get(digest),
    }


def _text(document: dict[str, Any]) -> str:
    lines = [f"image  {document['image']}", ""]
    if document["found"]:
        rows = [
            (
                item["kind"],
                item["attestation"][:_SHOWN_DIGEST],
                item["place"].rpartition(".")[2],
                item["claimed_predicate_type"] or "-",
                item["file"] or "",
            )
            for item in document["found"]
        ]
        lines.append(output.table(("kind", "sha256", "place", "claimed predicate type", "file"), rows))
    else:
        lines.append("nothing that can be read is attached")
    lines += [
        f"not used  {item['digest']}: {item['message']} [{item['code']}]" for item in document["faults"]
    ]
    return "\n".join(lines)
