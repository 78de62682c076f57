"""What a transparency-log entry says was signed, held against the bundle.

Rekor hashes a canonicalised body; a proof shows that *that body* is in the log. Unless the body names
the same payload, signature and verifier as the bundle, the proof is about somebody else's entry
(CVE-2022-36056). Every supported kind is read into one form, ``LoggedSignature`` list and digest, and
compared once.

Certificates are compared as parsed DER, not as PEM text: producers differ in line ends and a trailing
newline. Kinds: ``dsse`` 0.0.1, ``intoto`` 0.0.2, ``hashedrekord`` 0.0.1 (Rekor v1) and 0.0.2 (Rekor v2,
for artefacts and, over the PAE, for DSSE). ``intoto`` 0.0.1 logs no signature and is refused.

The ``envelopeHash`` of ``dsse`` and the ``hash`` of ``intoto`` cover JSON that bundles do not keep;
they cannot be checked and are not needed: payload digest, signatures and verifiers are.

Source: sigstore/rekor, pkg/types/*/v*/*_schema.json; sigstore/rekor-tiles, rekor-v2-spec section 6.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from common import strict_json
from common.encoding import b64_decode
from common.errors import InputError
from provenance.errors import LogEntryInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.sigstore.bundle_format import Bundle, LogEntry

_MAX_BODY: Final = 8 << 20
# Rekor v1 schemas name hashes in lower case, Rekor v2 by protobuf enumerator.
_HASHES: Final = {
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
    "SHA2_256": hashlib.sha256,
    "SHA2_384": hashlib.sha384,
    "SHA2_512": hashlib.sha512,
}


class LoggedSignature(msgspec.Struct, frozen=True):
    """A signature and its verifier as logged.

    Attributes:
        signature: raw bytes.
        verifier: DER of the certificate, or of the SubjectPublicKeyInfo.
    """

    signature: bytes
    verifier: bytes


class LogBody(msgspec.Struct, frozen=True):
    """An entry's body in one form for all kinds.

    Attributes:
        over_payload: the digest is of the DSSE payload; otherwise of the bytes that were signed.
        algorithm: a key of ``_HASHES``.
        digest: the logged digest.
        signatures: as logged.
    """

    over_payload: bool
    algorithm: str
    digest: bytes
    signatures: tuple[LoggedSignature, ...]


def check(bundle: Bundle, signed: bytes, verifier_der: bytes) -> None:
    """Hold the log entry against the bundle.

    Args:
        bundle: the bundle.
        signed: the bytes that were signed: the PAE of an envelope, or the artefact.
        verifier_der: DER of the signing certificate, or of the key's SubjectPublicKeyInfo.

    Raises:
        LogEntryInvalid: an unsupported kind, a malformed body, or any difference.
    """
    body = _parse(bundle.entry, is_dsse=bundle.envelope is not None)
    data = signed
    if body.over_payload:
        if bundle.envelope is None:
            _refuse("the log entry is about an envelope, the bundle has none")
        data = bundle.envelope.payload
    if _HASHES[body.algorithm](data).digest() != body.digest:
        _refuse("the log entry's digest is not that of what was signed")
    if body.signatures != (LoggedSignature(bundle.signature, verifier_der),):
        _refuse("the log entry's signature or verifier is not the bundle's")


def _parse(entry: LogEntry, *, is_dsse: bool) -> LogBody:
    reader = _READERS.get((entry.kind, entry.version, is_dsse))
    if reader is None:
        _refuse("the log entry's kind is not supported for this content")
    try:
        document = strict_json.loads(entry.body, what="the log entry's body", max_bytes=_MAX_BODY)
    except InputError as error:
        raise LogEntryInvalid(error.message) from error
    if not isinstance(document, dict) or set(document) != {"apiVersion", "kind", "spec"}:
        _refuse("the log entry's body is not an entry")
    if (document["kind"], document["apiVersion"]) != (entry.kind, entry.version):
        _refuse("the log entry's body is of another kind than the entry states")
    try:
        return reader(document["spec"])
    except (msgspec.ValidationError, InputError, ValueError) as error:
        raise LogEntryInvalid("the log entry's body is not of its kind's schema") from error


class _Wire(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class _Hash(_Wire):
    algorithm: str
    value: str


class _DsseSignature(_Wire):
    signature: str
    verifier: str


class _DsseSpec(_Wire):
    envelope_hash: _Hash
    payload_hash: _Hash
    signatures: tuple[_DsseSignature, ...]


class _IntotoSignature(_Wire):
    sig: str
    public_key: str
    keyid: str = ""


class _IntotoEnvelope(_Wire):
    payload_type: str
    signatures: tuple[_IntotoSignature, ...]
    payload: str | None = None


class _IntotoContent(_Wire):
    envelope: _IntotoEnvelope
    hash: _Hash
    payload_hash: _Hash


class _IntotoSpec(_Wire):
    content: _IntotoContent


class _RekordKey(_Wire):
    content: str


class _RekordSignature(_Wire):
    content: str
    public_key: _RekordKey


class _RekordData(_Wire):
    hash: _Hash


class _RekordSpec(_Wire):
    data: _RekordData
    signature: _RekordSignature


class _Raw(_Wire):
    raw_bytes: str


class _VerifierV2(_Wire):
    key_details: str
    x509_certificate: _Raw | None = msgspec.field(name="x509Certificate", default=None)
    public_key: _Raw | None = None


class _SignatureV2(_Wire):
    content: str
    verifier: _VerifierV2


class _DigestV2(_Wire):
    algorithm: str
    digest: str


class _RekordV2(_Wire):
    data: _DigestV2
    signature: _SignatureV2


class _RekordV2Spec(_Wire):
    hashed_rekord_v002: _RekordV2 = msgspec.field(name="hashedRekordV002")


def _dsse_001(spec: Any) -> LogBody:
    parsed = msgspec.convert(spec, _DsseSpec)
    signatures = tuple(
        LoggedSignature(b64_decode(item.signature), _der_of_pem(item.verifier))
        for item in parsed.signatures
    )
    return _body(parsed.payload_hash, signatures, over_payload=True)


def _intoto_002(spec: Any) -> LogBody:
    content = msgspec.convert(spec, _IntotoSpec).content
    # The schema's ``sig`` is the base64 of the envelope's base64 text.
    signatures = tuple(
        LoggedSignature(
            b64_decode(b64_decode(item.sig).decode("ascii")),
            _der_of_pem(item.public_key),
        )
        for item in content.envelope.signatures
    )
    return _body(content.payload_hash, signatures, over_payload=True)


def _hashedrekord_001(spec: Any) -> LogBody:
    parsed = msgspec.convert(spec, _RekordSpec)
    signature = LoggedSignature(
        b64_decode(parsed.signature.content), _der_of_pem(parsed.signature.public_key.content)
    )
    return _body(parsed.data.hash, (signature,), over_payload=False)


def _hashedrekord_002(spec: Any) -> LogBody:
    parsed = msgspec.convert(spec, _RekordV2Spec).hashed_rekord_v002
    verifier = parsed.signature.verifier
    given = [raw for raw in (verifier.x509_certificate, verifier.public_key) if raw is not None]
    if len(given) != 1 or parsed.data.algorithm not in _HASHES:
        raise ValueError("one verifier and a known hash")
    signature = LoggedSignature(b64_decode(parsed.signature.content), b64_decode(given[0].raw_bytes))
    return LogBody(
        over_payload=False,
        algorithm=parsed.data.algorithm,
        digest=b64_decode(parsed.data.digest),
        signatures=(signature,),
    )


# (kind, version, content is DSSE) to reader.
_READERS: Final[dict[tuple[str, str, bool], Callable[[Any], LogBody]]] = {
    ("dsse", "0.0.1", True): _dsse_001,
    ("intoto", "0.0.2", True): _intoto_002,
    ("hashedrekord", "0.0.2", True): _hashedrekord_002,
    ("hashedrekord", "0.0.1", False): _hashedrekord_001,
    ("hashedrekord", "0.0.2", False): _hashedrekord_002,
}


def _body(logged: _Hash, signatures: tuple[LoggedSignature, ...], *, over_payload: bool) -> LogBody:
    if logged.algorithm not in _HASHES:
        raise ValueError("unknown hash")
    return LogBody(
        over_payload=over_payload,
        algorithm=logged.algorithm,
        digest=bytes.fromhex(logged.value),
        signatures=signatures,
    )


def _der_of_pem(text: str) -> bytes:
    """DER of a base64-encoded PEM certificate or public key."""
    pem = b64_decode(text)
    if pem.lstrip().startswith(b"-----BEGIN CERTIFICATE-----"):
        return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    key = serialization.load_pem_public_key(pem)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _refuse(message: str) -> NoReturn:
    raise LogEntryInvalid(message)
