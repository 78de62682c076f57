"""Writes reference values that a server holds as a CoRIM file, signed or not (``touchstone rv export``)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from common.errors import InvalidSetting, Malformed
from common.files import read_private, write_public
from provenance.manifests.corim import sign
from rvps import corim_export
from rvps.model import ReferenceValue

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

_SIGNER: Final = "Touchstone"


def write(
    items: Sequence[dict[str, Any]],
    output: Path,
    *,
    key: Path | None,
    mapping: Path | None,
    valid_days: int | None,
    now: datetime,
) -> dict[str, Any]:
    """Write the export; what was written.

    Args:
        items: reference values as ``GET /v1/reference-values`` gives them.
        output: the CoRIM.
        key: PEM private key, mode 0600; without one the CoRIM is not signed.
        mapping: file for the derivation request that reads the CoRIM back, if wanted.
        valid_days: end of the signature's validity, if it is to have one.
        now: aware.

    Raises:
        Malformed: an item is no reference value.
        NotExportable: see ``rvps.corim_export.export``.
        InvalidSetting: the key file is readable by others, not an unencrypted PEM private key, or not
            ECDSA P-256 or P-384.
    """
    try:
        values = msgspec.convert(items, type=tuple[ReferenceValue, ...])
    except msgspec.ValidationError as error:
        raise Malformed(f"the server's answer holds no reference values: {str(error)[:160]}") from error
    corim = corim_export.export(values)
    if key is not None:
        end = None if valid_days is None else now + timedelta(days=valid_days)
        corim = sign.sign(corim, _load(key), signer=_SIGNER, now=now, not_after=end)
    write_public(output, corim)
    if mapping is not None:
        request = {"rule": "manifest-values", "launch": corim_export.mapping(values)}
        write_public(mapping, json.dumps(request, indent=2).encode() + b"\n")
    return {"file": str(output), "bytes": len(corim), "values": len(values), "signed": key is not None}


def _load(path: Path) -> object:
    try:
        return load_pem_private_key(read_private(path, what="signing key"), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidSetting(f"{path} is not an unencrypted PEM private key") from error
