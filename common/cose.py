"""COSE_Sign1 (RFC 9052 section 4.2): reading a message, and verifying it with an elliptic-curve key.

Invariants:

* What is verified is what was received: Sig_structure holds the protected header's and the payload's bytes
  as they came, never encoded again.
* The algorithm is the key's. The header must name that algorithm, in its protected part; nothing is tried.
* The unprotected header decides nothing. Where the caller allows it a key id may stand there, which is not
  read; anything else is refused.
* Critical parameters (``crit``) are refused, since none is understood; others that are not known are
  signed, and left alone (RFC 9052 section 3.1).
* The payload is attached. A signature is r and s, each as long as the curve's order.

Algorithms: ES256, ES384 and ES512 with the curve that RFC 9053 recommends for each, and the same under the
fully specified names of RFC 9864.

Sources: RFC 9052 sections 3, 3.1, 4.2, 4.4 and 7.1; RFC 9053 sections 2.1 and 7.1.1; RFC 9864 section 2.1.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from cbor2 import CBORTag
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from common import cbor
from common.errors import Malformed, TouchstoneError

COSE_SIGN1_TAG: Final = 18  # RFC 9052 section 2
# IANA COSE Header Parameters.
ALG, CRIT, CONTENT, KID, X5CHAIN = 1, 2, 3, 4, 33
_PARTS: Final = 4


class Curve(msgspec.Struct, frozen=True):
    """What a curve brings with it.

    Attributes:
        algorithms: IANA COSE algorithm numbers that mean this curve and ``hash``.
        hash: that is signed.
        order_bytes: length of r, of s, and of a coordinate.
        key_curve: IANA COSE Elliptic Curves number, of a COSE_Key.
    """

    algorithms: tuple[int, ...]
    hash: hashes.HashAlgorithm
    order_bytes: int
    key_curve: int


CURVES: Final[dict[str, Curve]] = {
    "secp256r1": Curve((-7, -9), hashes.SHA256(), 32, 1),  # ES256, ESP256
    "secp384r1": Curve((-35, -51), hashes.SHA384(), 48, 2),  # ES384, ESP384
    "secp521r1": Curve((-36, -52), hashes.SHA512(), 66, 3),  # ES512, ESP512
}
_EC_CURVES: Final[dict[int, ec.EllipticCurve]] = {1: ec.SECP256R1(), 2: ec.SECP384R1(), 3: ec.SECP521R1()}
# COSE_Key (RFC 9052 section 7.1; RFC 9053 section 7.1.1).
_KTY, _KEY_ALG, _KEY_OPS, _CRV, _X, _Y, _D = 1, 3, 4, -1, -2, -3, -4
_EC2: Final = 2
_VERIFY: Final = 2


class Sign1(msgspec.Struct, frozen=True):
    """A parsed message; nothing in it is verified.

    Attributes:
        protected: the protected header's bytes, as signed.
        header: the same, decoded; empty where there are no bytes.
        payload: the bytes that are signed.
        signature: raw; may be empty.
    """

    protected: bytes
    header: dict[Any, Any]
    payload: bytes
    signature: bytes

    @property
    def to_be_signed(self) -> bytes:
        """Sig_structure (RFC 9052 section 4.4), without external data."""
        return cbor.encode(["Signature1", self.protected, b"", self.payload])


Message = TypeVar("Message", bound=Sign1)


def parse(
    data: bytes,
    *,
    what: str,
    kind: type[Message],
    tagged: bool | None = True,
    tags: frozenset[int] = frozenset(),
    key_id_unprotected: bool = False,
    limits: cbor.Limits = cbor.EVIDENCE,
    error: type[TouchstoneError] | None = None,
) -> Message:
    """Decode a message.

    Args:
        data: encoded.
        what: its name in messages.
        kind: ``Sign1``, or a struct of its members.
        tagged: tag 18 must, must not, or (None) may stand before the array.
        tags: that may occur in the protected header.
        key_id_unprotected: a key id may stand in the unprotected header.
        limits: what it may cost.
        error: raised for whatever is wrong, in place of the two below.

    Raises:
        InputError: not strict CBOR (``common.cbor``).
        Malformed: not a COSE_Sign1 as the module's text demands it.
    """
    refuse = error or Malformed
    value = cbor.decode(
        data, what=what, tags=frozenset({COSE_SIGN1_TAG}) | tags, limits=limits, error=error
    )
    is_tagged = isinstance(value, CBORTag) and value.tag == COSE_SIGN1_TAG
    if tagged is not None and is_tagged is not tagged:
        raise refuse(f"{what} is {'not ' if tagged else ''}a COSE_Sign1 with tag 18")
    parts = value.value if is_tagged else value
    if not isinstance(parts, (list, tuple)) or len(parts) != _PARTS:
        raise refuse(f"{what} is not a COSE_Sign1, which has four elements")
    protected, unprotected, payload, signature = parts
    if not isinstance(protected, bytes) or not isinstance(signature, bytes):
        raise refuse(f"{what}: the protected header or the signature is not a byte string")
    if not isinstance(payload, bytes):
        raise refuse(f"{what}: the payload is not attached")
    _require_unprotected(unprotected, what, refuse, key_id=key_id_unprotected)
    header = _header(protected, what, tags, limits, error)
    return kind(protected=protected, header=header, payload=payload, signature=signature)


def problem(message: Sign1, key: ec.EllipticCurvePublicKey) -> str | None:
    """Why the message is not one that ``key`` signed; None if it is."""
    curve = CURVES.get(key.curve.name)
    if curve is None:
        return "the key is of a curve that has no COSE algorithm here"
    algorithm = message.header.get(ALG)
    if isinstance(algorithm, bool) or algorithm not in curve.algorithms:
        return "the protected header does not name the algorithm of the key"
    if not ecdsa_holds(key, curve, message.signature, message.to_be_signed):
        return "the signature does not verify"
    return None


def ecdsa_holds(key: ec.EllipticCurvePublicKey, curve: Curve, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` (r and s, RFC 9053 section 2.1) over ``data`` is of ``key``."""
    der = dss_signature(signature, curve.order_bytes)
    if der is None:
        return False
    try:
        key.verify(der, data, ec.ECDSA(curve.hash))
    except InvalidSignature:
        return False
    return True


def dss_signature(signature: bytes, width: int) -> bytes | None:
    """The DER form of r and s of ``width`` bytes each; None for another length."""
    if len(signature) != 2 * width:
        return None
    r, s = int.from_bytes(signature[:width], "big"), int.from_bytes(signature[width:], "big")
    return encode_dss_signature(r, s)


def ec_key(data: bytes, *, what: str) -> ec.EllipticCurvePublicKey | None:
    """The public key of a COSE_Key of type EC2; None where its coordinates are no point of the curve.

    Raises:
        InputError: not strict CBOR.
        Malformed: another key type or curve, a coordinate of another length or a mere sign, a private key,
            an algorithm that is not the curve's, or operations without "verify".
    """
    key = cbor.decode(data, what=what)
    if not isinstance(key, dict) or key.get(_KTY) != _EC2 or isinstance(key[_KTY], bool):
        raise Malformed(f"{what} is not an EC2 key")
    curve = next((item for item in CURVES.values() if _is_number(key.get(_CRV), item.key_curve)), None)
    if curve is None:
        raise Malformed(f"{what} is of a curve that is not read here")
    x, y = key.get(_X), key.get(_Y)
    if not isinstance(x, bytes) or not isinstance(y, bytes) or {len(x), len(y)} != {curve.order_bytes}:
        raise Malformed(f"{what} has not two coordinates of {curve.order_bytes} bytes")
    if _D in key:
        raise Malformed(f"{what} is a private key")
    if _KEY_ALG in key and not any(_is_number(key[_KEY_ALG], number) for number in curve.algorithms):
        raise Malformed(f"{what} names an algorithm that is not its curve's")
    operations = key.get(_KEY_OPS, [_VERIFY])
    if not isinstance(operations, list) or not any(_is_number(item, _VERIFY) for item in operations):
        raise Malformed(f"{what} is not for verifying")
    return point(b"\x04" + x + y, _EC_CURVES[curve.key_curve])


def point(data: bytes, curve: ec.EllipticCurve) -> ec.EllipticCurvePublicKey | None:
    """The key of an uncompressed point (SEC 1 section 2.3.3); None where it is none of the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, data)
    except ValueError:
        return None


def _is_number(value: object, number: int) -> bool:
    return type(value) is int and value == number


def _header(
    protected: bytes,
    what: str,
    tags: frozenset[int],
    limits: cbor.Limits,
    error: type[TouchstoneError] | None,
) -> dict[Any, Any]:
    if not protected:  # RFC 9052 section 3: an empty map may be encoded as no bytes
        return {}
    name = f"the protected header of {what}"
    header = cbor.decode(protected, what=name, tags=tags, limits=limits, error=error)
    if not isinstance(header, dict):
        raise (error or Malformed)(f"{name} is not a map")
    if CRIT in header:
        raise (error or Malformed)(f"{name} has critical parameters (crit), and none is understood")
    return header


def _require_unprotected(value: object, what: str, refuse: type[TouchstoneError], *, key_id: bool) -> None:
    if not isinstance(value, dict):
        raise refuse(f"{what}: the unprotected header is not a map")
    if not set(value) <= ({KID} if key_id else set()) or not isinstance(value.get(KID, b""), bytes):
        raise refuse(f"{what}: the unprotected header has what is not signed, and not read")
