"""What is attached to an image: every envelope that a registry holds for one manifest digest.

Looked for, in this order: referrers (OCI 1.1 API, otherwise the referrers tag) that carry Sigstore bundles,
DSSE envelopes or cosign signatures; the tag ``sha256-<hex>.att``; the tag ``sha256-<hex>.sig``.

The reference is resolved once; everything after that is about that digest, whatever its tag does
meanwhile. What a registry lists proves nothing: a referrer must name the image as its subject, a
simple-signing payload must name its digest, and a statement's subject is compared after verification
(``require_subject``), by whoever uses it. Something attached that cannot be read is a ``Fault``: it does
not hide the rest, since anybody who may push could otherwise silence an image. A registry that does not
answer is an error of the whole: a partial list would pass for a whole one.

Not looked for: attachments of the platform manifests below an index (name the platform's digest for
those), unsigned attestations of build tools inside an index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.encoding import b64_decode
from common.errors import InputError, NotFound, StatementError
from provenance import dsse
from provenance.errors import StatementMalformed, SubjectMismatch
from provenance.oci import cosign, manifest, signature
from provenance.oci.errors import AttachmentMisplaced, RegistryContentInvalid
from provenance.oci.reference import hex_of
from provenance.sigstore import bundle_format
from provenance.statement import find_subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provenance.model import Statement
    from provenance.oci.manifest import Descriptor, Manifest
    from provenance.oci.reference import Reference
    from provenance.oci.registry import RegistryClient

MAX_ATTACHMENTS: Final = 128
MAX_TOTAL_BYTES: Final = 64 << 20
_BUNDLE_TYPES: Final = (bundle_format.V03, bundle_format.V03_OLD, bundle_format.V02, bundle_format.V01)
# Artefact types of referrers that may hold what is read here; of others not even the manifest is fetched.
_ARTIFACT_TYPES: Final = (
    *_BUNDLE_TYPES,
    cosign.DSSE_LAYER,
    "application/vnd.in-toto+json",
    # sigstore/cosign pkg/oci/remote: its referrers of the time before bundles.
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.cosign.artifact.att.v1+json",
    # Types of a configuration that say nothing: some registries list these in place of the artefact type.
    "application/vnd.oci.empty.v1+json",
    "application/vnd.oci.image.config.v1+json",
)
# sigstore/cosign pkg/types: what `cosign sign` states in its new bundles.
_SIGNATURE_TYPES: Final = (signature.PREDICATE_TYPE, "https://sigstore.dev/cosign/sign/v1")
_REFERRER: Final = "referrer"


class FoundEnvelope(msgspec.Struct, frozen=True):
    """An envelope, ready for the pipeline; nothing in it is verified.

    Attributes:
        data: the envelope.
        media_type: of the layer that it came from.
        place: ``referrer``, or the tag that it was found under.
        manifest: digest of the manifest that holds it.
        layer: digest of its layer.
        is_signature: an image signature, rather than an attestation.
        claimed_type: predicate type as the payload states it, for people; None where it cannot be told.
    """

    data: bytes
    media_type: str
    place: str
    manifest: str
    layer: str
    is_signature: bool
    claimed_type: str | None = None


class Fault(msgspec.Struct, frozen=True):
    """Something attached that was not used.

    Attributes:
        place: as ``FoundEnvelope.place``.
        digest: of the manifest or layer.
        code: error code.
        message: what is wrong.
    """

    place: str
    digest: str
    code: str
    message: str


class Attachments(msgspec.Struct, frozen=True):
    """Everything attached to one image.

    Attributes:
        image: digest of the image's manifest or index, ``sha256:<hex>``.
        media_type: of that manifest.
        found: envelopes, each once.
        faults: what was not used.
    """

    image: str
    media_type: str
    found: tuple[FoundEnvelope, ...]
    faults: tuple[Fault, ...]

    @property
    def attestations(self) -> tuple[FoundEnvelope, ...]:
        """Those that attest."""
        return tuple(item for item in self.found if not item.is_signature)

    @property
    def signatures(self) -> tuple[FoundEnvelope, ...]:
        """Those that only sign."""
        return tuple(item for item in self.found if item.is_signature)


def attachments_of(client: RegistryClient, reference: Reference) -> Attachments:
    """Find and fetch what is attached to an image.

    Raises:
        NotFound: no such image.
        RegistryContentInvalid: the image's manifest, or a list, is not what it should be.
        RegistryUnavailable, RegistryAccessDenied, RegistryForbidden: the registry could not be read.
    """
    image = client.manifest(reference)
    return _Search(client, reference, image.digest).run(image.media_type)


def attestations_of(client: RegistryClient, reference: Reference) -> Sequence[FoundEnvelope]:
    """The attestations of ``attachments_of``."""
    return attachments_of(client, reference).attestations


def signatures_of(client: RegistryClient, reference: Reference) -> Sequence[FoundEnvelope]:
    """The image signatures of ``attachments_of``."""
    return attachments_of(client, reference).signatures


def require_subject(statement: Statement, digest: str) -> None:
    """Demand that a verified statement is about an image.

    Raises:
        SubjectMismatch: the digest is not a subject's SHA-256.
    """
    if find_subject(statement, "sha256", hex_of(digest)) is None:
        raise SubjectMismatch(
            "the statement is attached to the image and is not about it",
            details={"image": digest},
        )


class _Search:
    """One search; bounded in count and bytes."""

    def __init__(self, client: RegistryClient, reference: Reference, image: str) -> None:
        self._client = client
        self._reference = reference
        self._image = image
        self._left = MAX_TOTAL_BYTES
        self._found: dict[bytes, FoundEnvelope] = {}
        self._faults: list[Fault] = []

    def run(self, media_type: str) -> Attachments:
        for place, digest in self._manifests():
            try:
                self._read_manifest(place, digest)
            except (StatementError, InputError) as error:
                self._note(place, digest, error)
        return Attachments(self._image, media_type, tuple(self._found.values()), tuple(self._faults))

    def _manifests(self) -> Iterator[tuple[str, str]]:
        listed = [
            item
            for item in self._client.referrers(self._reference, self._image)
            if item.artifact_type is None or item.artifact_type in _ARTIFACT_TYPES
        ]
        if len(listed) > MAX_ATTACHMENTS:
            raise RegistryContentInvalid(f"{len(listed)} attachments, the limit is {MAX_ATTACHMENTS}")
        for item in listed:
            yield _REFERRER, item.digest
        for suffix in (cosign.ATTESTATION_SUFFIX, cosign.SIGNATURE_SUFFIX):
            tag = cosign.tag_of(self._image, suffix)
            yield tag, tag

    def _read_manifest(self, place: str, wanted: str) -> None:
        content = self._client.find_manifest(self._reference, wanted)
        if content is None:
            if place == _REFERRER:
                raise NotFound("the registry lists it and does not have it")
            return
        parsed = manifest.parse_manifest(content.data)
        self._require_subject_of(parsed, place)
        for layer in parsed.layers:
            try:
                self._read_layer(place, content.digest, layer)
            except (StatementError, InputError) as error:
                self._note(place, layer.digest, error)

    def _require_subject_of(self, parsed: Manifest, place: str) -> None:
        # Manifests under cosign's tags have no subject; one that has one must have the right one.
        subject = None if parsed.subject is None else parsed.subject.digest
        if subject != self._image and (subject is not None or place == _REFERRER):
            raise AttachmentMisplaced("the manifest names another image as its subject, or none")

    def _read_layer(self, place: str, holder: str, layer: Descriptor) -> None:
        kind = layer.media_type
        if kind not in (*_BUNDLE_TYPES, cosign.DSSE_LAYER, cosign.SIMPLE_SIGNING_LAYER):
            return
        if len(self._found) >= MAX_ATTACHMENTS:
            raise RegistryContentInvalid(f"more than {MAX_ATTACHMENTS} attachments")
        if layer.size > self._left:
            raise RegistryContentInvalid(f"the attachments have more than {MAX_TOTAL_BYTES} bytes together")
        self._left -= layer.size
        data = self._client.blob(self._reference, layer, max_bytes=dsse.MAX_ENVELOPE_BYTES)
        claimed: str | None
        if kind == cosign.SIMPLE_SIGNING_LAYER:
            envelope, claimed = self._signature(data, layer), signature.PREDICATE_TYPE
        elif kind == cosign.DSSE_LAYER:
            envelope = cosign.envelope_of_dsse_layer(data, layer.annotations)
            claimed = _claimed_type(dsse.load_json(data))
        else:
            envelope, claimed = data, _claimed_type(_content_of_bundle(data))
        is_signature = claimed in _SIGNATURE_TYPES
        found = FoundEnvelope(envelope, kind, place, holder, layer.digest, is_signature, claimed)
        self._found.setdefault(envelope, found)

    def _signature(self, payload: bytes, layer: Descriptor) -> bytes:
        if signature.parse_payload(payload).digest != self._image:
            raise AttachmentMisplaced("the signature is of another image")
        return signature.document_of_layer(payload, layer.annotations)

    def _note(self, place: str, digest: str, error: StatementError | InputError) -> None:
        self._faults.append(Fault(place, digest, error.code, error.message))


def _content_of_bundle(data: bytes) -> dict[str, Any]:
    """The DSSE envelope in a Sigstore bundle; one that signs no statement has nothing to say here."""
    content = dsse.load_json(data).get("dsseEnvelope")
    if not isinstance(content, dict):
        raise StatementMalformed("the Sigstore bundle signs an artefact and holds no statement")
    return content


def _claimed_type(envelope: dict[str, Any]) -> str | None:
    """The predicate type in an unverified payload: to show and to sort, never to decide."""
    try:
        payload = b64_decode(envelope["payload"], what="payload")
        claimed = strict_json.loads(payload, max_bytes=dsse.MAX_ENVELOPE_BYTES)["predicateType"]
    except (InputError, KeyError, TypeError, AttributeError):
        return None
    return claimed if isinstance(claimed, str) and claimed.isprintable() else None
