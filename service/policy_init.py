"""``touchstone policy init`` without its options: files in, a proposed trust policy as text out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from common import strict_json
from common.errors import Malformed
from common.files import read_limited
from provenance import dsse, keys
from provenance.reader import receive
from provenance.sigstore import bundle_format, trust_root
from provenance.trust import proposal, toml_text

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_MAX_KEY_BYTES = 16 << 10
_LOG = "log"
_ROOT = "root"


def propose(
    attestation: Path,
    *,
    name: str,
    trusted_root: Path | None,
    key: Path | None,
    legacy: bool,
    folder: Path,
    now: datetime,
) -> str:
    """The proposed policy as TOML.

    Args:
        attestation: the example.
        name: of the policy.
        trusted_root: a ``trusted_root.json``; the public-good root otherwise.
        key: the public key that signed, PEM; a certificate otherwise.
        legacy: take version 0.1 bundles without an inclusion proof.
        folder: where the policy will be written; its file names are relative to it.
        now: aware UTC.

    Raises:
        NotFound, TooLarge: a file cannot be read.
        StatementError: the attestation is not authentic by that root, or no policy would admit it.
    """
    envelope = read_limited(attestation, what="attestation", max_bytes=dsse.MAX_ENVELOPE_BYTES)
    received = receive(envelope)
    bundle = received.document is not None and bundle_format.is_bundle(received.document)
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if key is None or bundle:
        pairs.append(_sigstore_root(_LOG if key is not None else _ROOT, trusted_root, legacy, folder))
    if key is not None:
        pairs.append(_key_root(key, _LOG if bundle else None, folder))
    inline = [item for item, _ in pairs]
    authentic = proposal.authenticate(envelope, inline, now)
    found = proposal.propose(authentic, inline, name=name, now=now)
    return toml_text.render(found, [written for _, written in pairs])


def _sigstore_root(
    name: str, file: Path | None, legacy: bool, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A root as it is used, and as it is written."""
    members: dict[str, Any] = {"name": name, "kind": "sigstore-public-good" if file is None else "sigstore"}
    if legacy:
        members["legacy_bundles"] = True
    if file is None:
        return members, members
    data = read_limited(file, what="trusted root", max_bytes=trust_root.MAX_ROOT_BYTES)
    return (
        members | {"trusted_root": strict_json.loads(data, what="trusted root")},
        members | {"trusted_root_file": _relative(file, folder)},
    )


def _key_root(file: Path, log: str | None, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        pem = read_limited(file, what="key", max_bytes=_MAX_KEY_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed(f"{file} is not a PEM public key") from error
    members: dict[str, Any] = {
        "name": "key",
        "kind": "public-key",
        "algorithm": keys.from_public_pem(pem).algorithm,
    }
    if log is not None:
        members["log"] = log
    return members | {"key": pem}, members | {"key_file": _relative(file, folder)}


def _relative(file: Path, folder: Path) -> str:
    return os.path.relpath(file, folder)
