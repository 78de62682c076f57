"""TPMS_ATTEST of a quote and TPMT_SIGNATURE: bytes to typed values, and the signature itself.

Big endian. Sources: TPM 2.0 Library 1.59 Part 2, sections 10.12 (TPMS_ATTEST), 10.6.2
(TPMS_PCR_SELECTION), 11.3.4 (TPMT_SIGNATURE). Every length is checked; trailing bytes are refused.

``verify_signature`` works on the bytes received and takes the algorithm from the *key*; a signature
that names another one is refused, never tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from common.binary import Reader
from common.errors import Malformed
from verifier.errors import SignatureInvalid, UnsupportedEvidence
from verifier.tpm.algorithms import (
    ALG_ECDSA,
    ALG_RSAPSS,
    ALG_RSASSA,
    HASHES,
    SIGNATURE_HASHES,
)

if TYPE_CHECKING:
    from verifier.tpm.public import AttestationPublicKey

GENERATED_MAGIC: Final = 0xFF544347  # TPM_GENERATED_VALUE, Part 2 section 6.2
ST_ATTEST_QUOTE: Final = 0x8018  # TPM_ST_ATTEST_QUOTE, Part 2 section 6.9
PCR_COUNT: Final = 24  # TCG PC Client Platform TPM Profile (PTP), PCR requirements
_SELECT_BYTES: Final = 3  # bytes that hold a bit for each of them
_MAX_BANKS: Final = 16  # TPML_PCR_SELECTION: HASH_COUNT of any TPM is below this
_MAX_ATTEST: Final = 2048
_MAX_SIGNATURE: Final = 1024
_MAX_NAME: Final = 66  # two bytes of algorithm and SHA-512
_MAX_EXTRA_DATA: Final = 64


class PcrSelection(msgspec.Struct, frozen=True):
    """One TPMS_PCR_SELECTION.

    Attributes:
        bank: hash name of the bank (``sha256``).
        indexes: selected registers, ascending.
    """

    bank: str
    indexes: tuple[int, ...]


class Quote(msgspec.Struct, frozen=True):
    """A parsed TPMS_ATTEST of type quote.

    Attributes:
        qualified_signer: qualified name of the signing key.
        extra_data: the caller's qualifying data.
        clock: milliseconds that the TPM has been powered, non-volatile.
        reset_count: TPM resets since it was last cleared.
        restart_count: restarts or resumes since the last reset.
        safe: whether ``clock`` cannot have run backwards.
        firmware_version: vendor's value.
        selections: in the order of the quote.
        pcr_digest: hash over the selected values, by the signature's hash.
    """

    qualified_signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    selections: tuple[PcrSelection, ...]
    pcr_digest: bytes


class Signature(msgspec.Struct, frozen=True):
    """A parsed TPMT_SIGNATURE.

    Attributes:
        scheme: TPM_ALG_RSASSA, TPM_ALG_RSAPSS or TPM_ALG_ECDSA.
        hash_algorithm: TPM_ALG_ID of the hash.
        value: RSA: the signature. ECDSA: DER of (r, s).
    """

    scheme: int
    hash_algorithm: int
    value: bytes


def parse_quote(data: bytes) -> Quote:
    """Parse the bytes that the TPM signed.

    Raises:
        Malformed: too long, cut short, trailing bytes, or a field outside its range.
        UnsupportedEvidence: not made by a TPM (magic), not a quote, or an unknown PCR bank.
    """
    if len(data) > _MAX_ATTEST:
        raise Malformed(f"TPMS_ATTEST has {len(data)} bytes, the limit is {_MAX_ATTEST}")
    reader = Reader(data, "TPMS_ATTEST", "big")
    if reader.u32("magic") != GENERATED_MAGIC:
        raise UnsupportedEvidence("the quote does not start with TPM_GENERATED_VALUE")
    kind = reader.u16("type")
    if kind != ST_ATTEST_QUOTE:
        raise UnsupportedEvidence(f"attestation structure {kind:#06x} is not a quote")
    qualified_signer = reader.sized16("qualifiedSigner", limit=_MAX_NAME)
    extra_data = reader.sized16("extraData", limit=_MAX_EXTRA_DATA)
    clock = reader.u64("clock")
    reset_count = reader.u32("resetCount")
    restart_count = reader.u32("restartCount")
    safe = reader.u8("safe")
    if safe > 1:  # TPMI_YES_NO, Part 2 section 9.2
        raise Malformed(f"TPMS_ATTEST: safe is {safe}, neither YES nor NO")
    firmware_version = reader.u64("firmwareVersion")
    selections = _selections(reader)
    pcr_digest = reader.sized16("pcrDigest", limit=_MAX_NAME)
    reader.finish()
    return Quote(
        qualified_signer=qualified_signer,
        extra_data=extra_data,
        clock=clock,
        reset_count=reset_count,
        restart_count=restart_count,
        safe=bool(safe),
        firmware_version=firmware_version,
        selections=selections,
        pcr_digest=pcr_digest,
    )


def _selections(reader: Reader) -> tuple[PcrSelection, ...]:
    count = reader.u32("pcrSelect count")
    if count > _MAX_BANKS:
        raise Malformed(f"TPMS_ATTEST: {count} PCR selections, the limit is {_MAX_BANKS}")
    selections = []
    for _ in range(count):
        algorithm = reader.u16("pcrSelect hash")
        size = reader.u8("sizeofSelect")
        if not 1 <= size <= _SELECT_BYTES:
            raise Malformed(f"TPMS_ATTEST: sizeofSelect {size}, 1 to {_SELECT_BYTES} are possible")
        bits = int.from_bytes(reader.take(size, "pcrSelect"), "little")  # bit 0 of byte 0 is PCR 0
        if algorithm not in HASHES:
            raise UnsupportedEvidence(f"PCR bank {algorithm:#06x} is not known")
        indexes = tuple(index for index in range(PCR_COUNT) if bits >> index & 1)
        selections.append(PcrSelection(HASHES[algorithm][0], indexes))
    return tuple(selections)


def parse_signature(data: bytes) -> Signature:
    """Parse a TPMT_SIGNATURE.

    Raises:
        Malformed: too long, cut short, or trailing bytes.
        UnsupportedEvidence: a scheme other than RSASSA, RSAPSS, ECDSA, or a hash below SHA-256.
    """
    if len(data) > _MAX_SIGNATURE:
        raise Malformed(f"TPMT_SIGNATURE has {len(data)} bytes, the limit is {_MAX_SIGNATURE}")
    reader = Reader(data, "TPMT_SIGNATURE", "big")
    scheme = reader.u16("sigAlg")
    if scheme not in (ALG_RSASSA, ALG_RSAPSS, ALG_ECDSA):
        raise UnsupportedEvidence(f"signature scheme {scheme:#06x} is not accepted")
    hash_algorithm = reader.u16("hash")
    if hash_algorithm not in SIGNATURE_HASHES:
        raise UnsupportedEvidence(f"signature hash {hash_algorithm:#06x} is not accepted")
    if scheme == ALG_ECDSA:
        r = int.from_bytes(reader.sized16("signatureR"), "big")
        s = int.from_bytes(reader.sized16("signatureS"), "big")
        value = utils.encode_dss_signature(r, s)
    else:
        value = reader.sized16("sig")
    reader.finish()
    return Signature(scheme, hash_algorithm, value)


def verify_signature(
    key: AttestationPublicKey, signature: Signature, message: bytes, *, scheme: int, scheme_hash: int
) -> None:
    """Verify a signature over ``message``, the bytes received.

    Args:
        key: the attestation key.
        signature: parsed signature.
        message: TPMS_ATTEST bytes.
        scheme: TPM_ALG_ID of the scheme that the key fixes.
        scheme_hash: TPM_ALG_ID of the hash that the key fixes.

    Raises:
        SignatureInvalid: it does not verify, or names another scheme or hash than the key's.
    """
    if (signature.scheme, signature.hash_algorithm) != (scheme, scheme_hash):
        raise SignatureInvalid(
            f"the signature is {signature.scheme:#06x} with {signature.hash_algorithm:#06x}, "
            f"the key's scheme is {scheme:#06x} with {scheme_hash:#06x}"
        )
    algorithm = SIGNATURE_HASHES[signature.hash_algorithm]
    try:
        if isinstance(key, rsa.RSAPublicKey) and scheme == ALG_RSASSA:
            key.verify(signature.value, message, padding.PKCS1v15(), algorithm)
        elif isinstance(key, rsa.RSAPublicKey) and scheme == ALG_RSAPSS:
            # Part 1, annex B.7: a TPM salts with as many bytes as fit, or (FIPS) as the hash has.
            pss = padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
            key.verify(signature.value, message, pss, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and scheme == ALG_ECDSA:
            key.verify(signature.value, message, ec.ECDSA(algorithm))
        else:
            raise SignatureInvalid("the signature scheme does not fit the type of the key")
    except InvalidSignature as error:
        raise SignatureInvalid("the quote's signature does not verify with the attestation key") from error
