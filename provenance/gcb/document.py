"""The document that ``gcloud artifacts docker images describe --format json --show-provenance`` prints.

Only the payload of an envelope is signed. Around it ``gcloud`` prints an image summary, the resource that
the occurrence is about, and a readable copy of the statement; each is taken along here and held against
the payload in ``provenance.gcb.consistency``.

Members that are read have their types checked; others are Artifact Analysis's own and are ignored, since
nothing is decided by them. Signatures are base64 in either alphabet (DSSE envelope.md allows both, and
Cloud Build writes both).

Source: slsa-framework/slsa-verifier v2.7.1, verifiers/internal/gcb/provenance.go (member names).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.encoding import b64_decode
from common.errors import InputError
from provenance.dsse import DsseEnvelope, DsseSignature
from provenance.errors import EnvelopeMalformed

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY: Final = "image_summary"
PROVENANCE: Final = "provenance_summary"
MAX_PROVENANCES: Final = 64
MAX_SIGNATURES: Final = 16
_URL_TO_STANDARD: Final = str.maketrans("-_", "+/")


class ImageSummary(msgspec.Struct, frozen=True):
    """``image_summary``; unsigned."""

    digest: str = ""
    fully_qualified_digest: str = ""


class WireSignature(msgspec.Struct, frozen=True):
    """A signature as printed."""

    sig: str = ""
    keyid: str = ""


class WireEnvelope(msgspec.Struct, frozen=True):
    """An envelope as printed."""

    payload: str = ""
    payload_type: str = msgspec.field(name="payloadType", default="")
    signatures: tuple[WireSignature, ...] | None = None


class TextCopies(msgspec.Struct, frozen=True):
    """``build``: readable copies of the statement, by provenance version; unsigned."""

    v01: dict[str, Any] | None = msgspec.field(name="intotoStatement", default=None)
    v1: dict[str, Any] | None = msgspec.field(name="inTotoSlsaProvenanceV1", default=None)


class Occurrence(msgspec.Struct, frozen=True):
    """One member of ``provenance_summary.provenance``.

    Attributes:
        kind: ``BUILD``.
        resource_uri: the image, ``...@sha256:<hex>``.
        build: readable copies.
        envelope: the signed part.
    """

    kind: str = ""
    resource_uri: str = msgspec.field(name="resourceUri", default="")
    build: TextCopies = TextCopies()
    envelope: WireEnvelope = WireEnvelope()


class _Provenances(msgspec.Struct, frozen=True):
    provenance: tuple[Occurrence, ...] | None = None


class Description(msgspec.Struct, frozen=True):
    """The document.

    Attributes:
        summary: what image it describes.
        occurrences: its provenances.
    """

    summary: ImageSummary
    occurrences: tuple[Occurrence, ...]


class _Document(msgspec.Struct, frozen=True):
    image_summary: ImageSummary = ImageSummary()
    provenance_summary: _Provenances = _Provenances()


def recognises(document: Mapping[str, Any]) -> bool:
    """Whether a JSON object means to be such a document."""
    return SUMMARY in document or PROVENANCE in document


def parse(document: Mapping[str, Any]) -> Description:
    """Read the document.

    Args:
        document: decoded JSON.

    Raises:
        EnvelopeMalformed: a member of another type, no provenance, or too many.
    """
    try:
        found = msgspec.convert(document, _Document)
    except msgspec.ValidationError as error:
        raise EnvelopeMalformed(
            f"the image description is not of the schema: {str(error)[:200]}"
        ) from error
    occurrences = found.provenance_summary.provenance or ()
    if not occurrences:
        raise EnvelopeMalformed("the image description has no provenance")
    if len(occurrences) > MAX_PROVENANCES:
        raise EnvelopeMalformed(f"the image description has more than {MAX_PROVENANCES} provenances")
    return Description(summary=found.image_summary, occurrences=occurrences)


def envelope_of(occurrence: Occurrence) -> DsseEnvelope:
    """The envelope of an occurrence; a signature that cannot be decoded is left empty.

    Raises:
        EnvelopeMalformed: no payload, base64 that is not canonical, a payload type that is not ASCII, or
            too many signatures.
    """
    wire = occurrence.envelope
    if not wire.payload or not wire.payload_type.isascii():
        raise EnvelopeMalformed("a provenance has no payload, or a payload type that is not ASCII")
    signatures = wire.signatures or ()
    if len(signatures) > MAX_SIGNATURES:
        raise EnvelopeMalformed(f"a provenance has more than {MAX_SIGNATURES} signatures")
    try:
        payload = b64_decode(wire.payload, what="payload")
    except InputError as error:
        raise EnvelopeMalformed(error.message) from error
    return DsseEnvelope(
        payload_type=wire.payload_type,
        payload=payload,
        signatures=tuple(DsseSignature(_decoded(item.sig), item.keyid) for item in signatures),
    )


def _decoded(text: str) -> bytes:
    # One alphabet per signature; a mixture decodes as neither.
    standard = text.translate(_URL_TO_STANDARD) if set(text).isdisjoint("+/") else text
    try:
        return b64_decode(standard, what="sig")
    except InputError:
        return b""
