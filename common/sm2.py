"""SM2 signatures (GB/T 32918.2-2016) over the curve of GB/T 32918.5-2017, with SM3: verification only.

The arithmetic is gmalg's (docs/adr/0017-sm2-library.md); what it leaves to its caller is done here before
it is asked: coordinates are below p and the point is on the curve (cofactor 1, so that it then has the
right order and is not the point at infinity), r and s are in [1, n-1], the user id fits ENTL.

Everything here is public: nothing is secret, and time may depend on the values.
"""

from __future__ import annotations

from typing import Final

import gmalg  # type: ignore[import-untyped]
import msgspec

from common.errors import Malformed

P: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A: Final = P - 3
B: Final = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
SIZE: Final = 32
MAX_USER_ID: Final = 0xFFFF // 8  # ENTL: bits of the user id, in 16 bits


class PublicKey(msgspec.Struct, frozen=True):
    """A point of the curve. Constructing one that is not raises, so that holding one proves it is.

    Attributes:
        x: affine coordinate.
        y: affine coordinate.

    Raises:
        Malformed: coordinates out of range, or not on the curve.
    """

    x: int
    y: int

    def __post_init__(self) -> None:
        """Refuse what is no point of the curve."""
        if not on_curve(self.x, self.y):
            raise Malformed("the SM2 public key is not a point of the curve")

    @property
    def raw(self) -> bytes:
        """Both coordinates, big endian, 64 bytes."""
        return self.x.to_bytes(SIZE, "big") + self.y.to_bytes(SIZE, "big")


class Signature(msgspec.Struct, frozen=True):
    """An SM2 signature as read: not yet known to be in range.

    Attributes:
        r: first integer.
        s: second integer.
    """

    r: int
    s: int


def on_curve(x: int, y: int) -> bool:
    """Whether the pair is an affine point of the curve (GB/T 32918.1 section 6.2.1)."""
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x * x + A * x + B)) % P == 0


def verify(key: PublicKey, user_id: bytes, message: bytes, signature: Signature) -> bool:
    """Whether ``signature`` is of ``message`` by ``key`` (GB/T 32918.2 section 7.1).

    Args:
        key: the signer's.
        user_id: what the signer's Z value is made with, 1 to 8191 bytes.
        message: the bytes that were signed; Z and SM3 are added here.
        signature: integers; out of range is a bad signature.
    """
    if not 0 < len(user_id) <= MAX_USER_ID:
        return False
    if not (0 < signature.r < N and 0 < signature.s < N):
        return False
    verifier = gmalg.SM2(uid=user_id, pk=b"\x04" + key.raw)
    return bool(verifier.verify(message, _bytes(signature.r), _bytes(signature.s)))


def _bytes(number: int) -> bytes:
    return number.to_bytes(SIZE, "big")
