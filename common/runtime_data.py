"""What Confidential Containers evidence is bound to: runtime data, canonical, hashed, fitted to the field.

Runtime data is a JSON object. For the CPU it has ``additional-evidence``, ``nonce`` and ``tee-pubkey``, for
each additional device only the last two. Its canonical form (RFC 8785, JCS) is hashed with the negotiated
algorithm, SHA-384 unless the challenge says otherwise, and the digest is fitted to the evidence's
report-data field: padded with zeros at its end, or cut off.

``additional-evidence`` is hashed as the text that was sent, never as the JSON inside it.

Source: the KBS attestation protocol of Confidential Containers, version 0.4.0 (section "Attestation").
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import rfc8785
from cryptography.hazmat.primitives import hashes

from common import strict_json
from common.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HASH = "sha384"
HASHES = ("sha256", "sha384", "sha512", "sm3")
_MAX_DEPTH = 32


def canonical(value: Any) -> bytes:
    """The canonical JSON (RFC 8785) of a value, UTF-8.

    Raises:
        Malformed: nested too deeply, or it has a number or a string that canonical JSON has no form for.
    """
    try:
        if strict_json.is_plain(value, _MAX_DEPTH - 1):
            return strict_json.canonical_plain(value)
        _require_depth(value, _MAX_DEPTH)
        return bytes(rfc8785.dumps(value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise Malformed("the runtime data has no canonical JSON form") from error


def primary(nonce: str, tee_pubkey: Mapping[str, Any], additional_evidence: str) -> dict[str, Any]:
    """Runtime data that the CPU's evidence is bound to.

    Args:
        nonce: as the challenge gave it, base64 text.
        tee_pubkey: the guest's public JWK, every member as sent.
        additional_evidence: the text as sent; empty where there are no devices.
    """
    return {"additional-evidence": additional_evidence, "nonce": nonce, "tee-pubkey": dict(tee_pubkey)}


def device(nonce: str, tee_pubkey: Mapping[str, Any]) -> dict[str, Any]:
    """Runtime data that the evidence of an additional device is bound to."""
    return {"nonce": nonce, "tee-pubkey": dict(tee_pubkey)}


def digest(value: Any, algorithm: str = DEFAULT_HASH) -> bytes:
    """Hash of a value's canonical JSON.

    Raises:
        Malformed: no such hash, or no canonical form.
    """
    return hash_bytes(canonical(value), algorithm)


def hash_bytes(data: bytes, algorithm: str) -> bytes:
    """Hash of ``data`` by one of ``HASHES``.

    Raises:
        Malformed: no such hash.
    """
    if algorithm == "sm3":
        sm3 = hashes.Hash(hashes.SM3())
        sm3.update(data)
        return sm3.finalize()
    if algorithm not in HASHES:
        raise Malformed(f"the hash algorithm is not one of {', '.join(HASHES)}")
    return hashlib.new(algorithm, data).digest()


def fitted(data: bytes, size: int) -> bytes:
    """``data`` as it stands in a field of ``size`` bytes: padded with zeros at its end, or cut off."""
    return data[:size].ljust(size, b"\0")


def _require_depth(value: Any, left: int) -> None:
    if left == 0:
        raise Malformed("the runtime data is nested too deeply")
    if isinstance(value, dict):
        for item in value.values():
            _require_depth(item, left - 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _require_depth(item, left - 1)
