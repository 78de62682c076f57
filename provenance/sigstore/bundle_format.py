"""The Sigstore bundle, strictly parsed; nothing in it is verified here.

Versions 0.1, 0.2 and 0.3. Exactly one log entry; one signing certificate or key hint; one DSSE envelope
with one signature, or one message signature. By version (sigstore_bundle.proto, ``media_type`` and
``verification_material``): 0.3 carries one certificate, older ones a chain whose first is the signer's;
0.1 needs an inclusion promise, 0.2 and later an inclusion proof with checkpoint.

A chain that carries a self-signed certificate is refused: a root comes from the trust policy alone.
``legacy`` lifts that for version 0.1, whose writers included it; it is ignored either way, no path is
ever built from certificates of the bundle.

Source: sigstore/protobuf-specs, protos/sigstore_bundle.proto, sigstore_rekor.proto, in protobuf JSON
(64-bit integers are decimal strings, bytes are base64).
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec
from cryptography import x509

from common.encoding import b64_decode
from common.errors import InputError
from common.x509_names import with_names
from provenance import dsse
from provenance.errors import EnvelopeMalformed, LogEntryInvalid, StatementIncomplete, StatementUnsigned
from provenance.sigstore import bundle_schema

V01: Final = "application/vnd.dev.sigstore.bundle+json;version=0.1"
V02: Final = "application/vnd.dev.sigstore.bundle+json;version=0.2"
V03_OLD: Final = "application/vnd.dev.sigstore.bundle+json;version=0.3"
V03: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_CHAIN_VERSIONS: Final = (V01, V02)
_VERSIONS: Final = (V01, V02, V03_OLD, V03)
# sigstore-go pkg/verify/tsa.go: the same bound on timestamps.
MAX_TIMESTAMPS: Final = 32
_MAX_CHAIN: Final = 8
_T = TypeVar("_T")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")


class LogEntry(msgspec.Struct, frozen=True):
    """A transparency-log entry as it stands in the bundle.

    Attributes:
        log_id: the log's id.
        log_index: index in the log.
        kind: ``dsse``, ``hashedrekord``, ``intoto``.
        version: of the kind.
        body: canonicalised body, the bytes that the log hashed.
        integrated_time: seconds since the epoch, if stated.
        promise: signed entry timestamp, if any.
        document: the JSON object, for the proof's verification.
        has_proof: it has an inclusion proof with a checkpoint.
    """

    log_id: bytes
    log_index: int
    kind: str
    version: str
    body: bytes
    integrated_time: int | None
    promise: bytes | None
    document: dict[str, Any]
    has_proof: bool


class MessageSignature(msgspec.Struct, frozen=True):
    """A signature over an artefact.

    Attributes:
        signature: raw bytes.
        digest: SHA-256 that the bundle states, a hint that must nevertheless be right.
    """

    signature: bytes
    digest: bytes | None


class Bundle(msgspec.Struct, frozen=True):
    """A parsed bundle.

    Attributes:
        media_type: version of the format.
        certificate: the signer's, None for a managed key.
        key_hint: for a managed key.
        entry: the one log entry.
        timestamps: RFC 3161 responses, DER.
        envelope: DSSE content, or None.
        message: message-signature content, or None.
    """

    media_type: str
    certificate: x509.Certificate | None
    key_hint: str | None
    entry: LogEntry
    timestamps: tuple[bytes, ...]
    envelope: dsse.DsseEnvelope | None
    message: MessageSignature | None

    @property
    def signature(self) -> bytes:
        """The one signature."""
        if self.envelope is not None:
            return self.envelope.signatures[0].signature
        assert self.message is not None  # parse() lets exactly one of the two through
        return self.message.signature


def is_bundle(document: dict[str, Any]) -> bool:
    """Whether a JSON object means to be a bundle (rather than a bare DSSE envelope)."""
    return "mediaType" in document or "verificationMaterial" in document


def parse(document: dict[str, Any], *, legacy: bool = False) -> Bundle:
    """Parse a bundle object (``dsse.load_json``).

    Args:
        document: the decoded JSON.
        legacy: let a version 0.1 chain contain its root certificate.

    Raises:
        EnvelopeMalformed: not of the schema; certificates unreadable; a root certificate in the chain.
        StatementIncomplete: no log entry.
        StatementUnsigned: no signature.
        LogEntryInvalid: neither the proof nor the promise that this version needs; more than one entry.
    """
    raw = _convert(document, bundle_schema.BundleDocument)
    if raw.media_type not in _VERSIONS:
        raise EnvelopeMalformed("mediaType is not a bundle of version 0.1, 0.2 or 0.3")
    material = raw.verification_material
    certificate, hint = _signer(raw.media_type, material, legacy=legacy)
    envelope, message = _content(raw)
    return Bundle(
        media_type=raw.media_type,
        certificate=certificate,
        key_hint=hint,
        entry=_entry(raw.media_type, material),
        timestamps=_timestamps(material),
        envelope=envelope,
        message=message,
    )


def _signer(
    media_type: str, material: bundle_schema.MaterialDocument, *, legacy: bool
) -> tuple[x509.Certificate | None, str | None]:
    given = (material.certificate, material.x509_certificate_chain, material.public_key)
    if sum(item is not None for item in given) != 1:
        raise EnvelopeMalformed("a bundle names its signer by exactly one certificate, chain or key")
    if material.public_key is not None:
        return None, material.public_key.hint
    if material.x509_certificate_chain is not None:
        if media_type not in _CHAIN_VERSIONS:
            raise EnvelopeMalformed("a version 0.3 bundle carries one certificate, not a chain")
        root_allowed = legacy and media_type == V01
        return _leaf_of(material.x509_certificate_chain, root_allowed=root_allowed), None
    assert material.certificate is not None
    if media_type in _CHAIN_VERSIONS:
        raise EnvelopeMalformed("a bundle before version 0.3 carries a certificate chain")
    return _certificate(material.certificate), None


def _leaf_of(chain: bundle_schema.ChainDocument, *, root_allowed: bool) -> x509.Certificate:
    if not 1 <= len(chain.certificates) <= _MAX_CHAIN:
        raise EnvelopeMalformed("the bundle's certificate chain is empty or too long")
    leaf, *others = (_certificate(item) for item in chain.certificates)
    if not root_allowed and any(other.issuer == other.subject for other in others):
        raise EnvelopeMalformed("the bundle's certificate chain contains a root certificate")
    return leaf


def _certificate(raw: bundle_schema.RawDocument) -> x509.Certificate:
    try:
        return with_names(x509.load_der_x509_certificate(_bytes(raw.raw_bytes, "certificate")))
    except (ValueError, x509.InvalidVersion) as error:
        raise EnvelopeMalformed("the bundle's certificate cannot be read") from error


def _entry(media_type: str, material: bundle_schema.MaterialDocument) -> LogEntry:
    if not material.tlog_entries:
        raise StatementIncomplete("the bundle has no transparency-log entry")
    if len(material.tlog_entries) != 1:
        raise LogEntryInvalid("the bundle has more than one transparency-log entry")
    document = material.tlog_entries[0]
    raw = _convert(document, bundle_schema.EntryDocument)
    proof = raw.inclusion_proof
    has_proof = proof is not None and proof.checkpoint is not None
    promise = raw.inclusion_promise
    if media_type == V01 and promise is None:
        raise LogEntryInvalid("a version 0.1 bundle needs an inclusion promise")
    if media_type != V01 and not has_proof:
        raise LogEntryInvalid("the log entry has no inclusion proof with a checkpoint")
    return LogEntry(
        log_id=_bytes(raw.log_id.key_id, "log id"),
        log_index=_integer(raw.log_index, "log index"),
        kind=raw.kind_version.kind,
        version=raw.kind_version.version,
        body=_bytes(raw.canonicalized_body, "log entry"),
        integrated_time=None if raw.integrated_time is None else _integer(raw.integrated_time, "time"),
        promise=None if promise is None else _bytes(promise.signed_entry_timestamp, "inclusion promise"),
        document=document,
        has_proof=has_proof,
    )


def _timestamps(material: bundle_schema.MaterialDocument) -> tuple[bytes, ...]:
    data = material.timestamp_verification_data
    if data is None:
        return ()
    timestamps = tuple(_bytes(item.signed_timestamp, "timestamp") for item in data.rfc3161_timestamps)
    if len(timestamps) > MAX_TIMESTAMPS or len(set(timestamps)) != len(timestamps):
        raise EnvelopeMalformed("the bundle has too many timestamps, or one twice")
    return timestamps


def _content(raw: bundle_schema.BundleDocument) -> tuple[dsse.DsseEnvelope | None, MessageSignature | None]:
    if raw.dsse_envelope is not None and raw.message_signature is None:
        envelope = dsse.parse(raw.dsse_envelope)
        if len(envelope.signatures) != 1:
            raise EnvelopeMalformed("the envelope in a bundle has exactly one signature")
        return envelope, None
    if raw.message_signature is not None and raw.dsse_envelope is None:
        return None, _message(raw.message_signature)
    raise EnvelopeMalformed("a bundle has either a DSSE envelope or a message signature")


def _message(raw: bundle_schema.MessageDocument) -> MessageSignature:
    signature = _bytes(raw.signature, "signature")
    if not signature:
        raise StatementUnsigned("the message signature is empty")
    digest = raw.message_digest
    if digest is not None and digest.algorithm != "SHA2_256":
        raise EnvelopeMalformed("the message digest is not SHA2_256")
    return MessageSignature(signature, None if digest is None else _bytes(digest.digest, "digest"))


def _convert(document: dict[str, Any], kind: type[_T]) -> _T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise EnvelopeMalformed(f"the bundle is not of the schema: {str(error)[:200]}") from error


def _bytes(text: str, what: str) -> bytes:
    try:
        return b64_decode(text, what=what)
    except InputError as error:
        raise EnvelopeMalformed(error.message) from error


def _integer(text: str, what: str) -> int:
    if not _DECIMAL.match(text):
        raise EnvelopeMalformed(f"the {what} is not a decimal 64-bit integer")
    return int(text)
