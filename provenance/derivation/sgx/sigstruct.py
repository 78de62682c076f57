"""SGX SIGSTRUCT: what an enclave's author signed, given out only after the signature holds.

Order: length -> constants and reserved bytes, as EINIT checks them -> key -> RSA-3072 signature with
exponent 3 (PKCS#1 v1.5, SHA-256) over both signed ranges -> Q1 and Q2 -> values.

* MRSIGNER is the SHA-256 of the modulus as it stands in the structure (little-endian).
* Q1 and Q2 are not signed; EINIT needs them to be right, so a structure with wrong ones cannot start.
* CONFIGID and CONFIGSVN are not here: the loader states them at launch (SECS), only whether an enclave
  may have them is signed (ATTRIBUTES.KSS).

Sources: Intel SDM volume 3D, section 38.13 (Enclave Signature Structure, with its table of fields) and
section 40.3 (EINIT); RFC 8017 section 8.2.2.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from common.binary import Reader
from provenance.errors import SigstructInvalid

SIGSTRUCT_BYTES: Final = 1808
ATTRIBUTE_INIT: Final = 1 << 0
ATTRIBUTE_DEBUG: Final = 1 << 1
ATTRIBUTE_MODE64BIT: Final = 1 << 2
ATTRIBUTE_PROVISIONKEY: Final = 1 << 4
ATTRIBUTE_EINITTOKENKEY: Final = 1 << 5
ATTRIBUTE_KSS: Final = 1 << 7
_HEADER: Final = bytes.fromhex("06000000e10000000000010000000000")
_HEADER2: Final = bytes.fromhex("01010000600000006000000001000000")
_VENDORS: Final = frozenset({0x0000, 0x8086})
_RSA_BYTES: Final = 384
_RSA_BITS: Final = 3072
_EXPONENT: Final = 3
# The signed ranges: header to SWDEFINED with its padding, and MISCSELECT to ISVSVN.
_SIGNED: Final = (slice(0, 128), slice(900, 1028))


class Sigstruct(msgspec.Struct, frozen=True):
    """A SIGSTRUCT whose signature holds.

    Attributes:
        mr_enclave: expected enclave measurement, 32 bytes.
        mr_signer: digest of the signing key's modulus, 32 bytes.
        isv_prod_id: product, 16 bits.
        isv_svn: security version, 16 bits.
        attributes: ATTRIBUTES.FLAGS (64 bits) that the enclave must have, as far as the mask covers it.
        xfrm: XFRM (64 bits), likewise.
        attributes_mask: mask over ``attributes``.
        xfrm_mask: mask over ``xfrm``.
        misc_select: MISCSELECT.
        misc_mask: mask over ``misc_select``.
        isv_family_id: 16 bytes (KSS), else zeros.
        isv_ext_prod_id: 16 bytes (KSS), else zeros.
        vendor: 0, or 8086h for Intel's own.
        date: build date as signed, eight hex digits yyyymmdd.
    """

    mr_enclave: bytes
    mr_signer: bytes
    isv_prod_id: int
    isv_svn: int
    attributes: int
    xfrm: int
    attributes_mask: int
    xfrm_mask: int
    misc_select: int
    misc_mask: int
    isv_family_id: bytes
    isv_ext_prod_id: bytes
    vendor: int
    date: str

    @property
    def debug_excluded(self) -> bool:
        """Whether an enclave with this SIGSTRUCT can never be a debug enclave."""
        return bool(self.attributes_mask & ATTRIBUTE_DEBUG) and not self.attributes & ATTRIBUTE_DEBUG


def parse_sigstruct(data: bytes) -> Sigstruct:
    """Read a SIGSTRUCT and verify its own signature.

    Args:
        data: exactly 1808 bytes.

    Raises:
        SigstructInvalid: another length; a constant, reserved byte, exponent or key size that EINIT
            refuses; a signature that does not hold; a Q1 or Q2 that is not the signature's.
    """
    if len(data) != SIGSTRUCT_BYTES:
        raise SigstructInvalid(f"a SIGSTRUCT has {SIGSTRUCT_BYTES} bytes, not {len(data)}")
    reader = Reader(data, "SIGSTRUCT", "little")
    _constant(reader, _HEADER, "HEADER")
    vendor, date = reader.u32("VENDOR"), reader.u32("DATE")
    _constant(reader, _HEADER2, "HEADER2")
    reader.u32("SWDEFINED")
    _constant(reader, bytes(84), "the reserved bytes at 44")
    modulus = reader.take(_RSA_BYTES, "MODULUS")
    exponent = reader.u32("EXPONENT")
    signature = reader.take(_RSA_BYTES, "SIGNATURE")
    misc_select, misc_mask = reader.u32("MISCSELECT"), reader.u32("MISCMASK")
    reader.take(2, "CET_ATTRIBUTES")
    _constant(reader, bytes(2), "the reserved bytes at 910")
    family_id = reader.take(16, "ISVFAMILYID")
    attributes, xfrm = reader.u64("ATTRIBUTES"), reader.u64("XFRM")
    attributes_mask, xfrm_mask = reader.u64("ATTRIBUTEMASK"), reader.u64("XFRM mask")
    mr_enclave = reader.take(32, "ENCLAVEHASH")
    _constant(reader, bytes(16), "the reserved bytes at 992")
    ext_prod_id = reader.take(16, "ISVEXTPRODID")
    prod_id, svn = reader.u16("ISVPRODID"), reader.u16("ISVSVN")
    _constant(reader, bytes(12), "the reserved bytes at 1028")
    q1, q2 = (int.from_bytes(reader.take(_RSA_BYTES, name), "little") for name in ("Q1", "Q2"))
    if vendor not in _VENDORS:
        raise SigstructInvalid("the SIGSTRUCT's VENDOR is neither 0 nor Intel's")
    if exponent != _EXPONENT:
        raise SigstructInvalid("the SIGSTRUCT's exponent is not 3")
    _verify(data, modulus, signature, (q1, q2))
    return Sigstruct(
        mr_enclave=mr_enclave,
        mr_signer=hashlib.sha256(modulus).digest(),
        isv_prod_id=prod_id,
        isv_svn=svn,
        attributes=attributes,
        xfrm=xfrm,
        attributes_mask=attributes_mask,
        xfrm_mask=xfrm_mask,
        misc_select=misc_select,
        misc_mask=misc_mask,
        isv_family_id=family_id,
        isv_ext_prod_id=ext_prod_id,
        vendor=vendor,
        date=f"{date:08x}",
    )


def _constant(reader: Reader, expected: bytes, what: str) -> None:
    if reader.take(len(expected), what) != expected:
        raise SigstructInvalid(f"the SIGSTRUCT is not one that EINIT takes: {what}")


def _verify(data: bytes, modulus: bytes, signature: bytes, quotients: tuple[int, int]) -> None:
    n, s = int.from_bytes(modulus, "little"), int.from_bytes(signature, "little")
    if n.bit_length() != _RSA_BITS or s >= n:
        raise SigstructInvalid(
            "the SIGSTRUCT's modulus has not 3072 bits, or its signature is not below it"
        )
    signed = b"".join(data[part] for part in _SIGNED)
    try:
        key = rsa.RSAPublicNumbers(_EXPONENT, n).public_key()
        key.verify(signature[::-1], signed, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError) as error:
        raise SigstructInvalid("the SIGSTRUCT's signature does not hold") from error
    # SDM, table of fields: Q1 = floor(S^2 / N), Q2 = floor((S^3 - Q1*S*N) / N).
    q1 = s * s // n
    if quotients != (q1, (s * s - q1 * n) * s // n):
        raise SigstructInvalid("the SIGSTRUCT's Q1 or Q2 is not its signature's: EINIT would refuse it")
