"""``touchstone import cca-keys``: attestation keys of Arm CCA platforms into the endorsement store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.commands import output
from service.commands.local import load_settings, settings_options
from service.commands.output import json_option

if TYPE_CHECKING:
    from verifier.cca.endorsements import Cpaks

_FILE = click.Path(path_type=Path, dir_okay=False)
_MAX_BYTES = 4 << 20


@click.command(name="cca-keys")
@click.argument("file", type=_FILE)
@click.option(
    "--key", type=_FILE, help="PEM public key that signed the CoRIM. A trust-anchor store is not signed."
)
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the store; that of the settings otherwise.",
)  # fmt: skip
@settings_options
@json_option
def command(
    file: Path,
    key: Path | None,
    folder: Path | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Take over the attestation keys that FILE endorses.

    FILE is a signed CoRIM with attest-key triples, or with no --key the JSON trust-anchor store of
    Confidential Containers' CCA verifier, which nothing vouches for but you. A key that is there already is
    never replaced by another.
    """
    from common.files import read_limited
    from verifier.cca.endorsements import read_store, write_keys

    data = read_limited(file, what=file.name, max_bytes=_MAX_BYTES)
    keys = read_store(data) if key is None else _signed(data, key)
    place = folder or load_settings(config, data_dir).collateral_dir
    added = write_keys(place, keys)
    output.emit(
        {"keys": len(keys), "added": added, "folder": str(place)},
        as_json=as_json,
        text=lambda: f"{added} of {len(keys)} keys are new in {place}",
    )


def _signed(data: bytes, key: Path) -> Cpaks:
    """Keys of a CoRIM, after its signature holds."""
    from common.errors import Malformed
    from common.files import read_limited
    from provenance import keys
    from provenance.manifests.corim import cose
    from service.cca_endorsements import keys_of_corim

    try:
        pem = read_limited(key, what="--key", max_bytes=_MAX_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed("--key is not PEM") from error
    message = cose.parse(data)
    cose.verify(message, [("", keys.from_public_pem(pem))])
    return keys_of_corim(message.payload)
