"""Signs COSE_Sign1 messages for tests, with every part of them open to be set wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from common import cbor
from common.cose import ALG, COSE_SIGN1_TAG, CURVES

if TYPE_CHECKING:
    from collections.abc import Mapping


def sign1(
    payload: bytes,
    key: ec.EllipticCurvePrivateKey,
    *,
    header: Mapping[Any, Any] | None = None,
    unprotected: Mapping[Any, Any] | None = None,
    tagged: bool = True,
    protected: bytes | None = None,
) -> bytes:
    """A message.

    Args:
        payload: that is signed.
        key: that signs, with its curve's algorithm.
        header: the protected header; ``{1: <the key's algorithm>}`` by default.
        unprotected: the other header; empty by default.
        tagged: put tag 18 before it.
        protected: the protected header's bytes, in place of ``header``.
    """
    curve = CURVES[key.curve.name]
    if protected is None:
        protected = cbor.encode({ALG: curve.algorithms[0]} if header is None else dict(header))
    signed = cbor.encode(["Signature1", protected, b"", payload])
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(curve.hash)))
    width = curve.order_bytes
    signature = r.to_bytes(width, "big") + s.to_bytes(width, "big")
    message = [protected, dict(unprotected or {}), payload, signature]
    return cbor.encode(CBORTag(COSE_SIGN1_TAG, message) if tagged else message)


def cose_key(key: ec.EllipticCurvePublicKey, **changes: Any) -> bytes:
    """The COSE_Key of a public key; ``changes`` are further members by ``label_<n>``, ``m`` for minus."""
    curve = CURVES[key.curve.name]
    numbers = key.public_numbers()
    members = {
        1: 2,
        -1: curve.key_curve,
        -2: numbers.x.to_bytes(curve.order_bytes, "big"),
        -3: numbers.y.to_bytes(curve.order_bytes, "big"),
    }
    for name, value in changes.items():
        members[int(name.removeprefix("label_").replace("m", "-"))] = value
    return cbor.encode(members)
