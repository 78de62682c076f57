"""DSSE envelopes: strict parsing, pre-authentication encoding, verification with raw keys.

Order: JSON (size, duplicates) -> shape -> canonical base64 -> PAE -> signatures. The payload type is
compared by the caller (``provenance.pipeline``) before the payload is read as anything.

A threshold counts distinct keys (by SubjectPublicKeyInfo), never signatures: two signatures of one key
count once. A signature that names a known key and does not verify refuses the whole envelope.

Source: secure-systems-lab/dsse, protocol.md and envelope.md v1.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.encoding import b64_decode
from common.errors import InputError
from provenance.errors import (
    EnvelopeMalformed,
    SignerUntrusted,
    StatementSignatureInvalid,
    StatementUnsigned,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.keys import VerificationKey

MAX_ENVELOPE_BYTES: Final = 8 << 20
MAX_SIGNATURES: Final = 16
_PAE_HEADER: Final = b"DSSEv1"


class DsseSignature(msgspec.Struct, frozen=True):
    """One signature.

    Attributes:
        signature: raw bytes.
        keyid: the signer's hint, empty if absent.
        certificate: PEM that came beside the signature (old SLSA builders), not trusted by itself.
    """

    signature: bytes
    keyid: str = ""
    certificate: str | None = None


class DsseEnvelope(msgspec.Struct, frozen=True):
    """A parsed envelope; nothing in it is verified.

    Attributes:
        payload_type: as stated.
        payload: decoded bytes.
        signatures: at least one.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[DsseSignature, ...]

    @property
    def pae(self) -> bytes:
        """The bytes that are signed (protocol.md, PAE): lengths are of bytes, not characters."""
        kind = self.payload_type.encode("utf-8")
        return b" ".join((_PAE_HEADER, b"%d" % len(kind), kind, b"%d" % len(self.payload), self.payload))


def load_json(data: bytes) -> dict[str, Any]:
    """Read the one JSON object that an envelope or bundle is.

    Raises:
        EnvelopeMalformed: empty, too large, not one JSON object, a duplicate member.
    """
    try:
        document = strict_json.loads(data, what="the envelope", max_bytes=MAX_ENVELOPE_BYTES)
    except InputError as error:
        raise EnvelopeMalformed(error.message) from error
    if not isinstance(document, dict):
        raise EnvelopeMalformed("the envelope is not a JSON object")
    return document


def require_size(data: bytes) -> None:
    """Bound an envelope that is not JSON.

    Raises:
        EnvelopeMalformed: empty, or larger than ``MAX_ENVELOPE_BYTES``.
    """
    if not 0 < len(data) <= MAX_ENVELOPE_BYTES:
        raise EnvelopeMalformed(f"the envelope is empty or larger than {MAX_ENVELOPE_BYTES} bytes")


def parse(document: Mapping[str, Any]) -> DsseEnvelope:
    """Parse an envelope object.

    Args:
        document: the decoded JSON (``load_json``).

    Raises:
        EnvelopeMalformed: a missing, unknown or ill-typed member, or base64 that is not canonical.
        StatementUnsigned: no signature.
    """
    if set(document) != {"payload", "payloadType", "signatures"}:
        raise EnvelopeMalformed("a DSSE envelope has payload, payloadType and signatures, nothing else")
    signatures = document["signatures"]
    if not isinstance(signatures, list):
        raise EnvelopeMalformed("signatures is not a list")
    if not signatures:
        raise StatementUnsigned("the envelope has no signature")
    if len(signatures) > MAX_SIGNATURES:
        raise EnvelopeMalformed(f"the envelope has {len(signatures)} signatures, limit {MAX_SIGNATURES}")
    payload_type = document["payloadType"]
    if not isinstance(payload_type, str) or not payload_type.isascii():
        raise EnvelopeMalformed("payloadType is not ASCII text")
    return DsseEnvelope(
        payload_type=payload_type,
        payload=_decode(document["payload"], "payload"),
        signatures=tuple(_signature(item) for item in signatures),
    )


def verify_with_keys(
    envelope: DsseEnvelope, keys: Mapping[str, VerificationKey], names: Mapping[str, str]
) -> tuple[str, ...]:
    """Verify raw-key signatures.

    Args:
        envelope: the envelope.
        keys: trusted keys by SHA-256 of their SubjectPublicKeyInfo, hex.
        names: key id as it may stand in an envelope, to the digest that keys ``keys``.

    Returns:
        Digests of the distinct keys that signed, in the order of their first signature.

    Raises:
        StatementSignatureInvalid: a signature that names a known key, or no key, does not verify.
        SignerUntrusted: every signature names a key that is not known here.
    """
    pae = envelope.pae
    signers: dict[str, None] = {}
    for item in envelope.signatures:
        candidates = _candidates(item, keys, names)
        if not candidates:
            continue  # another party's signature: says nothing to this policy
        signer = next((key.spki_sha256 for key in candidates if key.verifies(item.signature, pae)), None)
        if signer is None:
            raise StatementSignatureInvalid("a signature does not verify with the key that it names")
        signers[signer] = None
    if not signers:
        raise SignerUntrusted("no signature is by a key that the trust policy names")
    return tuple(signers)


def _candidates(
    item: DsseSignature, keys: Mapping[str, VerificationKey], names: Mapping[str, str]
) -> Sequence[VerificationKey]:
    # protocol.md: keyid is an optional hint. Present, it must be right; absent, each trusted key is
    # asked, each with its own algorithm.
    if not item.keyid:
        return tuple(keys.values())
    digest = names.get(item.keyid)
    return (keys[digest],) if digest is not None else ()


def _signature(value: object) -> DsseSignature:
    if not isinstance(value, dict) or not set(value) <= {"sig", "keyid", "cert"} or "sig" not in value:
        raise EnvelopeMalformed("a signature has sig and an optional keyid (or cert), nothing else")
    keyid, certificate = value.get("keyid", ""), value.get("cert")
    if not isinstance(keyid, str) or not (certificate is None or isinstance(certificate, str)):
        raise EnvelopeMalformed("a signature's keyid or cert is not a string")
    signature = _decode(value["sig"], "sig")
    if not signature:
        raise StatementUnsigned("a signature is empty")
    return DsseSignature(signature=signature, keyid=keyid, certificate=certificate)


def _decode(value: object, what: str) -> bytes:
    if not isinstance(value, str):
        raise EnvelopeMalformed(f"{what} is not a string")
    try:
        return b64_decode(value, what=what)
    except InputError as error:
        raise EnvelopeMalformed(error.message) from error
