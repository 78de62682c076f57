"""Public keys of guests, from JWKs: the one importer of every form in which secrets are encrypted to them.

Only the members that make the key are read. What is refused is refused as the caller's error, which says
what keys its protocol takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from common.encoding import b64url_decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from common.errors import TouchstoneError

    Refused = Callable[[str], TouchstoneError]

# RFC 7518 section 6.2.1: curve and octets of a coordinate.
CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, int]]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
    "P-521": (ec.SECP521R1(), 66),
}
_UNCOMPRESSED: Final = b"\x04"  # SEC 1 section 2.3.3
_MAX_RSA_BITS: Final = 8192  # bounds the work a guest can ask for
_MIN_RSA_EXPONENT: Final = 65537  # FIPS 186-5 appendix A.1.1
_MAX_RSA_EXPONENT: Final = 2**32
_MAX_MEMBER: Final = 2048  # characters; the longest is an ML-KEM key with 1579
# RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1; RFC 9964 section 3.
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})


def refuse_private(jwk: Mapping[str, Any], refused: Refused) -> None:
    """Demand that no member of a private or symmetric key is there.

    Raises:
        TouchstoneError: ``refused``.
    """
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise refused("the guest's key has private members")


def ec_key(jwk: Mapping[str, Any], refused: Refused) -> tuple[str, ec.EllipticCurvePublicKey]:
    """The curve's name and the key of an EC JWK (RFC 7518 section 6.2.1).

    Raises:
        TouchstoneError: ``refused``: another curve, or a coordinate of another length.
        ValueError: the point is not on the curve.
        Malformed: a coordinate is not base64url.
    """
    name = str(jwk.get("crv"))
    known = CURVES.get(name)
    if known is None:
        raise refused("the guest's EC key is not on P-256, P-384 or P-521")
    curve, size = known
    x, y = member(jwk, "x", refused), member(jwk, "y", refused)
    if len(x) != size or len(y) != size:
        raise refused(f"a coordinate on {name} has {size} octets")
    return name, ec.EllipticCurvePublicKey.from_encoded_point(curve, _UNCOMPRESSED + x + y)


def rsa_key(jwk: Mapping[str, Any], refused: Refused, *, min_bits: int) -> rsa.RSAPublicKey:
    """The key of an RSA JWK (RFC 7518 section 6.3.1).

    Args:
        jwk: the key.
        refused: makes the caller's error.
        min_bits: of the modulus; at most 8192 in any case.

    Raises:
        TouchstoneError: ``refused``: of another size, or with another exponent.
        ValueError: no RSA key has these numbers.
        Malformed: a number is not base64url.
    """
    n, e = (int.from_bytes(member(jwk, name, refused), "big") for name in ("n", "e"))
    if not min_bits <= n.bit_length() <= _MAX_RSA_BITS:
        raise refused(f"the guest's RSA key has {n.bit_length()} bits")
    if not _MIN_RSA_EXPONENT <= e <= _MAX_RSA_EXPONENT:
        raise refused("the guest's RSA key has an exponent that is not offered")
    return rsa.RSAPublicNumbers(e, n).public_key()


def member(jwk: Mapping[str, Any], name: str, refused: Refused) -> bytes:
    """The bytes of a base64url member.

    Raises:
        TouchstoneError: ``refused``: it is not there, no text, or too long.
        Malformed: it is not base64url.
    """
    value = jwk.get(name)
    if not isinstance(value, str) or len(value) > _MAX_MEMBER:
        raise refused(f"the guest's key has no usable {name}")
    return b64url_decode(value, what=name)
