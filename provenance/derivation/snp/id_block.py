"""SNP ID block and ID authentication information: bytes, keys, signatures.

The owner of a guest states in the *ID block* which launch digest, identity and policy it is to have, and
signs it with the *ID key*; an *author key* may sign the ID key. The firmware refuses a launch that does
not fit, and reports the SHA-384 digests of both keys.

Invariants:

* both structures are read and written whole: every reserved byte is zero, the version is 1, the only
  algorithm is ECDSA over P-384 with SHA-384, and points are on the curve;
* nothing of an ID authentication structure is given out before its signatures hold.

All integers are little-endian. A private key is used, never kept.

Source: SEV-SNP firmware ABI specification (56860), section 8.18 (SNP_LAUNCH_FINISH) with the tables "ID
block" and "ID authentication information"; chapter 10 (ECDSA key and signature formats, algorithm ids).
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from common.binary import Reader
from provenance.errors import IdBlockInvalid

ID_BLOCK_BYTES: Final = 96
ID_AUTH_BYTES: Final = 4096
KEY_BYTES: Final = 0x404
SIGNATURE_BYTES: Final = 0x200
LAUNCH_DIGEST_BYTES: Final = 48
ID_BYTES: Final = 16
_ID_BLOCK_VERSION: Final = 1
_ECDSA_P384_SHA384: Final = 1  # chapter 10, signature algorithm
_NO_ALGORITHM: Final = 0
_CURVE_P384: Final = 2  # chapter 10, curve id
_NUMBER_BYTES: Final = 72  # of R, S, Qx and Qy, little-endian
_RESERVED_1: Final = 0x40 - 0x08
_RESERVED_2: Final = 0x680 - 0x644
_RESERVED_3: Final = 0x1000 - 0xC84
_P384_BYTES: Final = 48
_UINT32: Final = 1 << 32
_UINT64: Final = 1 << 64


class IdBlock(msgspec.Struct, frozen=True):
    """What the owner states of the guest.

    Attributes:
        launch_digest: expected MEASUREMENT, 48 bytes.
        family_id: 16 bytes, opaque.
        image_id: 16 bytes, opaque.
        guest_svn: 32 bits.
        policy: guest policy, 64 bits.
    """

    launch_digest: bytes
    family_id: bytes
    image_id: bytes
    guest_svn: int
    policy: int

    def encode(self) -> bytes:
        """The 96 bytes that the ID key signs.

        Raises:
            IdBlockInvalid: a member has another length or width.
        """
        widths = (
            (len(self.launch_digest), LAUNCH_DIGEST_BYTES),
            (len(self.family_id), ID_BYTES),
            (len(self.image_id), ID_BYTES),
        )
        if any(found != wanted for found, wanted in widths):
            raise IdBlockInvalid("a launch digest has 48 bytes, a family id and an image id 16")
        if not (0 <= self.guest_svn < _UINT32 and 0 <= self.policy < _UINT64):
            raise IdBlockInvalid("a guest SVN has 32 bits, a policy 64")
        numbers = _ID_BLOCK_VERSION.to_bytes(4, "little") + self.guest_svn.to_bytes(4, "little")
        return (
            self.launch_digest
            + self.family_id
            + self.image_id
            + numbers
            + self.policy.to_bytes(8, "little")
        )


class IdKeys(msgspec.Struct, frozen=True):
    """The keys behind a verified ID block.

    Attributes:
        id_key: digest of the ID key as the attestation report gives it, 48 bytes.
        author_key: digest of the author key, or None where there is none.
    """

    id_key: bytes
    author_key: bytes | None


def parse_id_block(data: bytes) -> IdBlock:
    """Read an ID block.

    Raises:
        IdBlockInvalid: not 96 bytes, or of another version.
    """
    if len(data) != ID_BLOCK_BYTES:
        raise IdBlockInvalid(f"an ID block has {ID_BLOCK_BYTES} bytes, not {len(data)}")
    reader = Reader(data, "ID block", "little")
    digest = reader.take(LAUNCH_DIGEST_BYTES, "LD")
    family, image = reader.take(ID_BYTES, "FAMILY_ID"), reader.take(ID_BYTES, "IMAGE_ID")
    if reader.u32("VERSION") != _ID_BLOCK_VERSION:
        raise IdBlockInvalid("the ID block's version is not 1")
    return IdBlock(digest, family, image, reader.u32("GUEST_SVN"), reader.u64("POLICY"))


def encode_key(key: ec.EllipticCurvePublicKey) -> bytes:
    """The 1028 bytes of a public key, whose SHA-384 is the key digest of the report.

    Raises:
        IdBlockInvalid: not a P-384 key.
    """
    if not isinstance(key.curve, ec.SECP384R1):
        raise IdBlockInvalid("an ID key or author key is on another curve than P-384")
    point = key.public_numbers()
    encoded = _CURVE_P384.to_bytes(4, "little")
    encoded += point.x.to_bytes(_NUMBER_BYTES, "little") + point.y.to_bytes(_NUMBER_BYTES, "little")
    return encoded.ljust(KEY_BYTES, b"\0")


def key_digest(key: ec.EllipticCurvePublicKey) -> bytes:
    """ID_KEY_DIGEST or AUTHOR_KEY_DIGEST of the attestation report, 48 bytes.

    Raises:
        IdBlockInvalid: not a P-384 key.
    """
    return hashlib.sha384(encode_key(key)).digest()


def sign(
    block: IdBlock,
    id_key: ec.EllipticCurvePrivateKey,
    author_key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """The ID authentication information (4096 bytes) of a block.

    Raises:
        IdBlockInvalid: a key that is not P-384, or a block that cannot be encoded.
    """
    encoded = encode_key(id_key.public_key())
    author_algorithm, endorsement = _NO_ALGORITHM, bytes(SIGNATURE_BYTES + KEY_BYTES)
    if author_key is not None:
        author = encode_key(author_key.public_key())
        author_algorithm, endorsement = _ECDSA_P384_SHA384, _signature(author_key, encoded) + author
    return b"".join(
        (
            _ECDSA_P384_SHA384.to_bytes(4, "little"),
            author_algorithm.to_bytes(4, "little"),
            bytes(_RESERVED_1),
            _signature(id_key, block.encode()),
            encoded,
            bytes(_RESERVED_2),
            endorsement,
            bytes(_RESERVED_3),
        )
    )


def verify(block: IdBlock, auth: bytes) -> IdKeys:
    """Check the ID authentication information of a block.

    Raises:
        IdBlockInvalid: another length, algorithm or curve; reserved bytes that are not zero; a point off
            the curve; an author key without its algorithm; a signature that does not hold.
    """
    if len(auth) != ID_AUTH_BYTES:
        raise IdBlockInvalid(f"ID authentication information has {ID_AUTH_BYTES} bytes, not {len(auth)}")
    reader = Reader(auth, "ID authentication", "little")
    algorithm, author_algorithm = reader.u32("ID_KEY_ALGO"), reader.u32("AUTH_KEY_ALGO")
    _zero(reader, _RESERVED_1)
    block_signature, id_key = reader.take(SIGNATURE_BYTES, "sig"), reader.take(KEY_BYTES, "key")
    _zero(reader, _RESERVED_2)
    key_signature, author_key = reader.take(SIGNATURE_BYTES, "sig"), reader.take(KEY_BYTES, "key")
    _zero(reader, _RESERVED_3)
    if algorithm != _ECDSA_P384_SHA384 or author_algorithm not in (_ECDSA_P384_SHA384, _NO_ALGORITHM):
        raise IdBlockInvalid("the algorithm of an ID key or author key is not ECDSA P-384 with SHA-384")
    _check(id_key, block_signature, block.encode(), "the ID key's over the ID block")
    if author_algorithm == _NO_ALGORITHM:
        if any(key_signature) or any(author_key):
            raise IdBlockInvalid("there is an author key, and its algorithm says that there is none")
        return IdKeys(hashlib.sha384(id_key).digest(), None)
    _check(author_key, key_signature, id_key, "the author key's over the ID key")
    return IdKeys(hashlib.sha384(id_key).digest(), hashlib.sha384(author_key).digest())


def _signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA384())))
    return (r.to_bytes(_NUMBER_BYTES, "little") + s.to_bytes(_NUMBER_BYTES, "little")).ljust(
        SIGNATURE_BYTES, b"\0"
    )


def _check(key: bytes, signature: bytes, message: bytes, what: str) -> None:
    r, s = _numbers(signature, "signature")
    try:
        _public_key(key).verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise IdBlockInvalid(f"the signature does not hold: {what}") from error


def _public_key(encoded: bytes) -> ec.EllipticCurvePublicKey:
    if int.from_bytes(encoded[:4], "little") != _CURVE_P384:
        raise IdBlockInvalid("an ID key or author key is on another curve than P-384")
    x, y = _numbers(encoded[4:], "key")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
    except ValueError as error:
        raise IdBlockInvalid("an ID key or author key is not a point of P-384") from error


def _numbers(encoded: bytes, what: str) -> tuple[int, int]:
    """Two numbers of 72 bytes, of which P-384 fills 48; the rest of the structure is zero."""
    first, second = encoded[:_NUMBER_BYTES], encoded[_NUMBER_BYTES : 2 * _NUMBER_BYTES]
    if any(first[_P384_BYTES:]) or any(second[_P384_BYTES:]) or any(encoded[2 * _NUMBER_BYTES :]):
        raise IdBlockInvalid(f"a {what} of the ID authentication has reserved bytes that are not zero")
    return int.from_bytes(first, "little"), int.from_bytes(second, "little")


def _zero(reader: Reader, count: int) -> None:
    if any(reader.take(count, "reserved")):
        raise IdBlockInvalid("the ID authentication has reserved bytes that are not zero")
