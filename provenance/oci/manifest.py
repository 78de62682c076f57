"""Image manifests and indexes, read strictly where they are read: descriptors, subject, artefact type.

A manifest describes what others fetch: every digest and size in it is a demand on bytes that come later.
Members that nothing here reads are left alone, as the image-spec demands; ``urls`` and ``data`` of a
descriptor are never used. A document that is both a manifest and an index is refused: two readers could
take it for two things (CVE-2021-41190).

Source: OCI image-spec v1.1, manifest.md, image-index.md, descriptor.md.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from common import strict_json
from common.errors import InputError
from provenance.oci.errors import RegistryContentInvalid
from provenance.oci.reference import is_digest

IMAGE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES: Final = (IMAGE_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES: Final = (IMAGE_INDEX, DOCKER_LIST)

# distribution-spec v1.1, "Pushing manifests": registries take at least 4 MiB, few take more.
MAX_MANIFEST_BYTES: Final = 4 << 20
MAX_LAYERS: Final = 256
MAX_INDEX_ENTRIES: Final = 1024
_SCHEMA_VERSION: Final = 2
_T = TypeVar("_T")


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a manifest says of content.

    Attributes:
        media_type: of the content.
        digest: ``sha256:<hex>``.
        size: bytes.
        artifact_type: of the manifest that it points to, in an index.
        annotations: as stated; nobody vouches for them.
    """

    media_type: str
    digest: str
    size: int
    artifact_type: str | None = None
    annotations: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """An image manifest.

    Attributes:
        schema_version: 2.
        config: configuration; its media type stands for a missing artefact type.
        layers: content.
        media_type: of this document, if stated.
        artifact_type: of an artefact.
        subject: what it is attached to.
        annotations: as stated.
    """

    schema_version: int
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str | None = None
    artifact_type: str | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """An image index; also how a registry lists referrers.

    Attributes:
        schema_version: 2.
        manifests: what it points to.
        media_type: of this document, if stated.
    """

    schema_version: int
    manifests: tuple[Descriptor, ...]
    media_type: str | None = None


def parse_manifest(data: bytes) -> Manifest:
    """Parse an image manifest.

    Raises:
        RegistryContentInvalid: not one, or over the limits.
    """
    manifest = _parse(data, Manifest, MANIFEST_TYPES, foreign="manifests")
    if len(manifest.layers) > MAX_LAYERS:
        raise RegistryContentInvalid(
            f"the manifest has {len(manifest.layers)} layers, the limit is {MAX_LAYERS}"
        )
    subject = () if manifest.subject is None else (manifest.subject,)
    for descriptor in (manifest.config, *manifest.layers, *subject):
        _check(descriptor)
    return manifest


def parse_index(data: bytes) -> Index:
    """Parse an image index.

    Raises:
        RegistryContentInvalid: not one, or over the limits.
    """
    index = _parse(data, Index, INDEX_TYPES, foreign="layers")
    if len(index.manifests) > MAX_INDEX_ENTRIES:
        raise RegistryContentInvalid(
            f"the index has {len(index.manifests)} entries, the limit is {MAX_INDEX_ENTRIES}"
        )
    for descriptor in index.manifests:
        _check(descriptor)
    return index


def stated_type(data: bytes) -> str | None:
    """The ``mediaType`` that a manifest or index states of itself, whichever of the two it is.

    Raises:
        RegistryContentInvalid: not a JSON object, or both a manifest and an index.
    """
    document = _object(data)
    if "manifests" in document and ("layers" in document or "config" in document):
        raise RegistryContentInvalid("the document is both a manifest and an index")
    stated = document.get("mediaType")
    if stated is not None and not isinstance(stated, str):
        raise RegistryContentInvalid("mediaType is not text")
    return stated


def _parse(data: bytes, kind: type[_T], types: tuple[str, ...], *, foreign: str) -> _T:
    document = _object(data)
    if foreign in document:
        raise RegistryContentInvalid(
            "the document is both a manifest and an index, or the other of the two"
        )
    try:
        parsed = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise RegistryContentInvalid(f"the manifest is not of the schema: {str(error)[:200]}") from error
    if document.get("schemaVersion") != _SCHEMA_VERSION:
        raise RegistryContentInvalid("schemaVersion is not 2")
    if document.get("mediaType") not in (None, *types):
        raise RegistryContentInvalid("the manifest states another media type")
    return parsed


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = strict_json.loads(data, what="the manifest", max_bytes=MAX_MANIFEST_BYTES)
    except InputError as error:
        raise RegistryContentInvalid(error.message) from error
    if not isinstance(document, dict):
        raise RegistryContentInvalid("the manifest is not a JSON object")
    return document


def _check(descriptor: Descriptor) -> None:
    if not is_digest(descriptor.digest):
        raise RegistryContentInvalid("a descriptor's digest is not SHA-256 in lower-case hex")
    if descriptor.size < 0:
        raise RegistryContentInvalid("a descriptor's size is negative")
