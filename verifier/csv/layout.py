"""What Hygon's structures share: little-endian keys and signatures in 72-byte fields.

Of a 72-byte field all bytes count: a coordinate or a scalar with something above its 32 bytes is out of
range, so that no value has a second spelling. (Hygon's own library reads the first 32 bytes of keys.)

Sources: hygon csv-rs (``crypto/key/ecc.rs``, ``crypto/sig/ecdsa.rs``) and the verifier that Hygon gave to
rats-tls (``verifiers/csv/hygoncert.c``); both agree, and the HRK and a real PEK verify so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.errors import Malformed
from common.sm2 import PublicKey, Signature

if TYPE_CHECKING:
    from common.binary import Reader

FIELD: Final = 72
USER_ID: Final = 254
CURVE_SM2: Final = 3

# Usage of a key, and of the key that made a signature (csv-rs ``certs::Usage``).
USAGE_HRK: Final = 0x0000
USAGE_HSK: Final = 0x0013
USAGE_NONE: Final = 0x1000
USAGE_OCA: Final = 0x1001
USAGE_PEK: Final = 0x1002
USAGE_CEK: Final = 0x1004
ALGORITHM_SM2: Final = 0x0004  # SM2 with SM3, signature

SOURCE: Final = "Hygon csv-rs and rats-tls"


def take_key(reader: Reader) -> PublicKey:
    """Curve id and both coordinates.

    Raises:
        Malformed: another curve, or no point of it.
    """
    curve = reader.u32("curve")
    x, y = (int.from_bytes(reader.take(FIELD, name), "little") for name in ("qx", "qy"))
    if curve != CURVE_SM2:
        raise Malformed(f"the key's curve is {curve}, only SM2 ({CURVE_SM2}) is known")
    return PublicKey(x, y)


def take_user_id(reader: Reader) -> bytes:
    """The user id that Z is made with: a 16-bit length in a field of 254 bytes.

    Raises:
        Malformed: empty, or longer than its field.
    """
    size = reader.u16("user id size")
    field = reader.take(USER_ID, "user id")
    if not 0 < size <= USER_ID:
        raise Malformed(f"the SM2 user id has {size} bytes, not 1 to {USER_ID}")
    return field[:size]


def take_signature(reader: Reader) -> Signature:
    """R and S; whether they are in range is for the verification."""
    r, s = (int.from_bytes(reader.take(FIELD, name), "little") for name in ("r", "s"))
    return Signature(r, s)
