"""Cosign's image signatures as one document each: format ``urn:touchstone:cosign-signature:v1``.

A signature in a registry is a payload, an annotation and perhaps more annotations: no single thing that a
digest could name. The document holds all of it: ``payload`` (base64, the simple-signing JSON that was
signed) and either ``bundle`` (a Sigstore bundle with the signature over the payload) or ``signature``
(base64) with an optional ``certificate`` (PEM). docs/formats.md specifies it.

Simple signing says "this manifest digest is signed". The claimed reference is the signer's word; cosign
ignores it and so does admission. The manifest digest becomes the subject of the statement.

Source: containers/image, docs/containers-signature.5.md, "JSON data format"; sigstore/cosign,
specs/SIGNATURE_SPEC.md, "Simple Signing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.encoding import b64_decode, b64_encode
from common.errors import InputError
from provenance.errors import EnvelopeMalformed, StatementMalformed, StatementUnsigned
from provenance.model import Statement, Subject
from provenance.oci import cosign
from provenance.oci.reference import hex_of, is_digest
from provenance.statement import STATEMENT_V1

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = "urn:touchstone:cosign-signature:v1"
PREDICATE_TYPE: Final = FORMAT
# SIGNATURE_SPEC, "Simple Signing": the one value of critical.type.
_TYPE: Final = "cosign container image signature"
_MAX_PAYLOAD: Final = 1 << 20


class SignatureDocument(msgspec.Struct, frozen=True):
    """A document; nothing in it is verified.

    Attributes:
        payload: the bytes that were signed.
        bundle: Sigstore bundle over them, or None.
        signature: raw signature over them, where there is no bundle.
        certificate: PEM that came beside ``signature``.
    """

    payload: bytes
    bundle: dict[str, Any] | None
    signature: bytes | None
    certificate: str | None


class ImageSignature(msgspec.Struct, frozen=True):
    """What a simple-signing payload says.

    Attributes:
        digest: manifest digest, ``sha256:<hex>``.
        reference: the claimed docker reference.
        optional: the signer's further claims.
    """

    digest: str
    reference: str
    optional: dict[str, Any]


def document_of_layer(payload: bytes, annotations: Mapping[str, str]) -> bytes:
    """The document of a simple-signing layer.

    Raises:
        EnvelopeMalformed: no signature, or annotations that cannot be read.
    """
    parts = cosign.parts_of_signature_layer(annotations)
    return cosign.canonical({"format": FORMAT, "payload": b64_encode(payload), **parts})


def parse_document(document: Mapping[str, Any]) -> SignatureDocument:
    """Parse a document.

    Raises:
        EnvelopeMalformed: a missing, unknown or ill-typed member.
        StatementUnsigned: the signature is empty.
    """
    members = set(document)
    with_bundle = {"format", "payload", "bundle"}
    bare = {"format", "payload", "signature"}
    if document.get("format") != FORMAT or members not in (with_bundle, bare, bare | {"certificate"}):
        raise EnvelopeMalformed("a cosign signature has payload, and bundle or signature (and certificate)")
    bundle, certificate = document.get("bundle"), document.get("certificate")
    if not isinstance(bundle, dict | None) or not isinstance(certificate, str | None):
        raise EnvelopeMalformed("bundle is not an object, or certificate not text")
    signature = _decode(document["signature"], "signature") if "signature" in members else None
    if signature == b"":
        raise StatementUnsigned("the signature is empty")
    return SignatureDocument(_decode(document["payload"], "payload"), bundle, signature, certificate)


def parse_payload(payload: bytes) -> ImageSignature:
    """Parse a simple-signing payload.

    Raises:
        StatementMalformed: another shape, another type, or a digest that is not SHA-256.
    """
    try:
        value = strict_json.loads(payload, what="the simple-signing payload", max_bytes=_MAX_PAYLOAD)
    except InputError as error:
        raise StatementMalformed(error.message) from error
    outer = _members(value, {"critical"}, {"optional"})
    critical = _members(outer["critical"], {"identity", "image", "type"}, set())
    reference = _members(critical["identity"], {"docker-reference"}, set())["docker-reference"]
    digest = _members(critical["image"], {"docker-manifest-digest"}, set())["docker-manifest-digest"]
    optional = outer.get("optional") or {}
    if critical["type"] != _TYPE:
        raise StatementMalformed("critical.type is not that of cosign's image signatures")
    if not isinstance(digest, str) or not is_digest(digest):
        raise StatementMalformed("docker-manifest-digest is not SHA-256 in lower-case hex")
    if not isinstance(reference, str) or not reference.isprintable() or not isinstance(optional, dict):
        raise StatementMalformed("docker-reference is not printable text, or optional not an object")
    return ImageSignature(digest, reference, optional)


def statement_of(signed: ImageSignature) -> Statement:
    """The signature as a statement: the manifest is its subject, the rest its predicate."""
    return Statement(
        type=STATEMENT_V1,
        subjects=(Subject(name=signed.reference, digest={"sha256": hex_of(signed.digest)}),),
        predicate_type=PREDICATE_TYPE,
        predicate={"dockerReference": signed.reference, "type": _TYPE, "optional": signed.optional},
    )


def _members(value: object, required: set[str], allowed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or not required <= set(value) <= required | allowed:
        raise StatementMalformed("the payload is not of the simple-signing format")
    return value


def _decode(value: object, what: str) -> bytes:
    if not isinstance(value, str):
        raise EnvelopeMalformed(f"{what} is not text")
    try:
        return b64_decode(value, what=what)
    except InputError as error:
        raise EnvelopeMalformed(error.message) from error
