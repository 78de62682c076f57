"""What cosign attaches to an image, as envelopes that the pipeline reads. Nothing is verified here.

* DSSE layers: with a Rekor bundle beside them a Sigstore bundle of version 0.1, so that one verifier
  verifies all of them; without one the DSSE envelope as it is, for a key of the trust policy. A certificate
  without a log entry goes beside the signature, where the reader calls it incomplete.
* Simple-signing layers: a cosign-signature document (``provenance.oci.signature``).
* Sigstore bundles: as they are.

The result is a function of the layer and its annotations alone, so that its digest is stable. Certificates
of the chain annotation are left out: no path is ever built from certificates that come with a signature.

Source: sigstore/cosign, specs/SIGNATURE_SPEC.md, ATTESTATION_SPEC.md, BUNDLE_SPEC.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from common import strict_json
from common.encoding import b64_decode, b64_encode, hex_decode
from common.errors import InputError
from provenance import dsse
from provenance.errors import EnvelopeMalformed
from provenance.oci.reference import hex_of
from provenance.sigstore.bundle_format import V01

if TYPE_CHECKING:
    from collections.abc import Mapping

DSSE_LAYER: Final = "application/vnd.dsse.envelope.v1+json"
SIMPLE_SIGNING_LAYER: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
ATTESTATION_SUFFIX: Final = ".att"
SIGNATURE_SUFFIX: Final = ".sig"

_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_CERTIFICATE: Final = "dev.sigstore.cosign/certificate"
_LOG_BUNDLE: Final = "dev.sigstore.cosign/bundle"
_TIMESTAMP: Final = "dev.sigstore.cosign/rfc3161timestamp"
_MAX_ANNOTATION: Final = 1 << 20
_LOG_ID_BYTES: Final = 32


def tag_of(digest: str, suffix: str = "") -> str:
    """Tag of cosign's schema for an image (SIGNATURE_SPEC, "Tag-based Discovery").

    Without a suffix: the referrers tag schema (distribution-spec v1.1, "Referrers Tag Schema").
    """
    return f"sha256-{hex_of(digest)}{suffix}"


def envelope_of_dsse_layer(data: bytes, annotations: Mapping[str, str]) -> bytes:
    """The envelope that a DSSE layer stands for.

    Raises:
        EnvelopeMalformed: not an envelope, or annotations that cannot be read.
    """
    document = dsse.load_json(data)
    parsed = dsse.parse(document)
    certificate = _annotation(annotations, _CERTIFICATE)
    if _annotation(annotations, _LOG_BUNDLE) is not None and len(parsed.signatures) == 1:
        material = _material(annotations, certificate)
        return canonical({"mediaType": V01, "verificationMaterial": material, "dsseEnvelope": document})
    if certificate is None:
        return data
    beside = [
        {"cert": certificate} | {name: value for name, value in item.items() if name != "cert"}
        for item in document["signatures"]
    ]
    return canonical(document | {"signatures": beside})


def parts_of_signature_layer(annotations: Mapping[str, str]) -> dict[str, Any]:
    """What proves a simple-signing layer: ``bundle``, or ``signature`` and perhaps ``certificate``.

    Raises:
        EnvelopeMalformed: no signature, or annotations that cannot be read.
    """
    signature = _annotation(annotations, _SIGNATURE)
    if not signature:
        raise EnvelopeMalformed("the layer has no signature annotation")
    _decode(signature, "signature")
    certificate = _annotation(annotations, _CERTIFICATE)
    if _annotation(annotations, _LOG_BUNDLE) is not None:
        material = _material(annotations, certificate)
        message = {"signature": signature}
        return {"bundle": {"mediaType": V01, "verificationMaterial": material, "messageSignature": message}}
    parts = {"signature": signature}
    return parts if certificate is None else parts | {"certificate": certificate}


def canonical(document: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes of a document made of foreign parts.

    Raises:
        EnvelopeMalformed: it has text that is not Unicode, or a number that is not exact.
    """
    try:
        return strict_json.canonical(document)
    except (InputError, UnicodeEncodeError) as error:
        raise EnvelopeMalformed("the layer has text or a number that no JSON can carry exactly") from error


def _material(annotations: Mapping[str, str], certificate: str | None) -> dict[str, Any]:
    """VerificationMaterial of a version 0.1 bundle (sigstore_bundle.proto), from the annotations."""
    material: dict[str, Any] = {"tlogEntries": [_log_entry(annotations[_LOG_BUNDLE])]}
    if certificate is None:
        material["publicKey"] = {"hint": ""}
    else:
        material["x509CertificateChain"] = {"certificates": [{"rawBytes": _der_of(certificate)}]}
    timestamp = _annotation(annotations, _TIMESTAMP)
    if timestamp is not None:
        response = _member(_json(timestamp), "SignedRFC3161Timestamp", str)
        material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": response}]}
    return material


def _log_entry(text: str) -> dict[str, Any]:
    """TransparencyLogEntry of a Rekor bundle (SIGNATURE_SPEC, ``bundle``)."""
    outer = _json(text)
    payload = _member(outer, "Payload", dict)
    body = _member(payload, "body", str)
    entry = _json_of(_decode(body, "log entry"))
    log_id = _member(payload, "logID", str)
    try:
        key_id = hex_decode(log_id, what="logID", length=_LOG_ID_BYTES)
    except InputError as error:
        raise EnvelopeMalformed(error.message) from error
    return {
        "logIndex": str(_member(payload, "logIndex", int)),
        "logId": {"keyId": b64_encode(key_id)},
        "kindVersion": {"kind": _member(entry, "kind", str), "version": _member(entry, "apiVersion", str)},
        "integratedTime": str(_member(payload, "integratedTime", int)),
        "inclusionPromise": {"signedEntryTimestamp": _member(outer, "SignedEntryTimestamp", str)},
        "canonicalizedBody": body,
    }


def _annotation(annotations: Mapping[str, str], name: str) -> str | None:
    """An annotation; absent and empty are the same (cosign writes empty ones)."""
    value = annotations.get(name)
    if value is not None and len(value) > _MAX_ANNOTATION:
        raise EnvelopeMalformed(f"the annotation {name} is too large")
    return value or None


def _der_of(pem: str) -> str:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("utf-8"))
    except (ValueError, x509.InvalidVersion) as error:
        raise EnvelopeMalformed("the certificate annotation cannot be read") from error
    return b64_encode(certificate.public_bytes(serialization.Encoding.DER))


def _json(text: str) -> dict[str, Any]:
    return _json_of(text.encode("utf-8", "replace"))


def _json_of(data: bytes) -> dict[str, Any]:
    return dsse.load_json(data)


def _member(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise EnvelopeMalformed(f"{name} of a cosign annotation is missing or of another type")
    return value


def _decode(text: str, what: str) -> bytes:
    try:
        return b64_decode(text, what=what)
    except InputError as error:
        raise EnvelopeMalformed(error.message) from error
