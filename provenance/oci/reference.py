"""Image references: ``[registry/]repository[:tag][@digest]``.

A first component is a registry if it has a dot or a colon, or is ``localhost``; without one the
registry is ``docker.io``, and a repository of one component there is below ``library/``.
Neither tag nor digest means the tag ``latest``. A digest wins over a tag beside it, which then says
nothing. Digests are SHA-256 only. What passes here is safe in a URL path as it stands.

Source: distribution/reference, regexp.go and normalize.go; OCI distribution-spec v1.1, "Pulling manifests".
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from provenance.oci.errors import ImageReferenceInvalid

DOCKER_HUB: Final = "docker.io"
_HUB_ALIAS: Final = "index.docker.io"
_HUB_API: Final = "registry-1.docker.io"
# Token services and stores of content that registries hand their callers on to.
_COMPANIONS: Final = {
    DOCKER_HUB: ("auth.docker.io", "production.cloudflare.docker.com"),
    "ghcr.io": ("pkg-containers.githubusercontent.com",),
}
_LIBRARY: Final = "library/"
_DEFAULT_TAG: Final = "latest"
_MAX_REFERENCE: Final = 1024
_MAX_NAME: Final = 255  # distribution/reference, RepositoryNameTotalLengthMax
_MAX_PORT: Final = 65_535

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"({_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]{{2,39}}\])(?::([1-9][0-9]{{0,4}}))?\Z")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class Reference(msgspec.Struct, frozen=True):
    """A parsed reference.

    Attributes:
        registry: ``host`` or ``host:port``, lower case, as people write it.
        repository: path of the repository.
        tag: None where the digest alone counts.
        digest: ``sha256:<hex>``, or None.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def api_host(self) -> str:
        """Who answers for the registry."""
        return _HUB_API if self.registry == DOCKER_HUB else self.registry

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that pulling from the registry means to contact, as far as they are known."""
        return (self.api_host, *_COMPANIONS.get(self.registry, ()))

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest, otherwise the tag."""
        return self.digest or self.tag or _DEFAULT_TAG

    def __str__(self) -> str:
        """The reference in full."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.wanted}"

    def at(self, digest: str) -> Reference:
        """The same repository at a digest."""
        return Reference(self.registry, self.repository, None, digest)


def parse(text: str) -> Reference:
    """Parse a reference.

    Raises:
        ImageReferenceInvalid: another shape, a digest that is not SHA-256, or a name that is too long.
    """
    if not text or len(text) > _MAX_REFERENCE or not text.isascii() or not text.isprintable():
        raise ImageReferenceInvalid("the image reference is empty, too long or not printable ASCII")
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise ImageReferenceInvalid(
            "the digest of an image reference is sha256: and 64 lower-case hex characters"
        )
    registry, path = _split_registry(name)
    repository, colon, tag = path.partition(":")
    if colon and not _TAG.match(tag):
        raise ImageReferenceInvalid("the tag of the image reference is not one")
    if registry == DOCKER_HUB and "/" not in repository:
        repository = _LIBRARY + repository
    if not _REPOSITORY.match(repository) or len(registry) + 1 + len(repository) > _MAX_NAME:
        raise ImageReferenceInvalid("the repository of the image reference is not one, or is too long")
    if digest:
        return Reference(registry, repository, None, digest)
    return Reference(registry, repository, tag or _DEFAULT_TAG, None)


def is_digest(text: str) -> bool:
    """Whether ``text`` is ``sha256:`` and 64 lower-case hex characters (image-spec, descriptor.md)."""
    return _DIGEST.match(text) is not None


def is_tag(text: str) -> bool:
    """Whether ``text`` may be a tag (distribution-spec, "Pulling manifests")."""
    return _TAG.match(text) is not None


def hex_of(digest: str) -> str:
    """The hex of a digest that ``is_digest``."""
    return digest.removeprefix("sha256:")


def registry_of(text: str) -> str:
    """A registry by itself, normalised.

    Raises:
        ImageReferenceInvalid: not ``host`` or ``host:port``.
    """
    found = _REGISTRY.match(text)
    if found is None or int(found[2] or 1) > _MAX_PORT:
        raise ImageReferenceInvalid("the registry of an image reference is host or host:port")
    lower = text.lower()
    return DOCKER_HUB if lower == _HUB_ALIAS else lower


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_registry = slash and (
        "." in first or ":" in first or first.startswith("[") or first.lower() == "localhost"
    )
    # An upper-case first component without a dot or colon is a registry to some readers and a repository
    # to others, once it is written in lower case: no repository has upper case, so it is refused below.
    return (registry_of(first), rest) if is_registry else (DOCKER_HUB, name)
