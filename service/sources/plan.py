"""What to pull: the settings' sources, checked and read once at start."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING

import msgspec

from common.errors import InvalidSetting, TouchstoneError
from provenance.model import DerivationRequest  # noqa: TC001 (msgspec resolves it at run time)
from provenance.oci import credentials, reference
from provenance.oci.reference import Reference  # noqa: TC001 (msgspec resolves it at run time)
from provenance.oci.registry import RegistryClient
from provenance.oci.transport import Transport, TransportOptions
from service.publishing import read_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.sections import SourceSection
    from service.settings import Settings


class Source(msgspec.Struct, frozen=True):
    """One source.

    Attributes:
        name: in logs, metrics, ``/v1/sources`` and the audit log (``source:<name>``).
        interval_s: from one pull to the next.
        trust_policy: that everything is held against.
        requests: what to derive from each attestation.
        image: of a registry source.
        signatures: take image signatures too.
        folder: of a directory source.
        pattern: glob below ``folder``.
    """

    name: str
    interval_s: int
    trust_policy: str
    requests: tuple[DerivationRequest, ...]
    image: Reference | None = None
    signatures: bool = False
    folder: Path | None = None
    pattern: str = ""

    @property
    def kind(self) -> str:
        """``registry`` or ``directory``."""
        return "directory" if self.image is None else "registry"

    @property
    def location(self) -> str:
        """What is pulled, for people."""
        return str(self.image) if self.image is not None else f"{self.folder}/{self.pattern}"


def sources_of(settings: Settings) -> tuple[Source, ...]:
    """Every source of the settings.

    Raises:
        InvalidSetting: a name twice, a reference, glob or derivation file that cannot be used.
    """
    sources = tuple(_source(item) for item in settings.sources)
    names = [source.name for source in sources]
    if len(set(names)) != len(names):
        raise InvalidSetting("[[sources]] has one name twice")
    return sources


def check(settings: Settings) -> None:
    """Hold the sources and what they need against what is there, before anything is served.

    Raises:
        InvalidSetting: see ``sources_of``.
        NotFound, RegistryCredentialsInvalid: the docker configuration cannot be used.
    """
    if any(source.image is not None for source in sources_of(settings)):
        client_of(settings, time.sleep)


def client_of(settings: Settings, sleep: Callable[[float], None]) -> RegistryClient:
    """The client for every registry source.

    Raises:
        NotFound, RegistryCredentialsInvalid: the docker configuration cannot be used.
    """
    section = settings.registry
    images = [source.image for source in sources_of(settings) if source.image is not None]
    options = TransportOptions(
        allowed_hosts=(*(host for image in images for host in image.hosts), *section.allowed_hosts),
        plain_http=section.plain_http_loopback,
        ca_file=section.ca_file,
        timeout_s=section.timeout_s,
    )
    path = section.docker_config
    known = credentials.ANONYMOUS if path is None else credentials.load(path, private=True)
    return RegistryClient(Transport(options, sleep=sleep), known)


def _source(section: SourceSection) -> Source:
    where = f"[[sources]] {section.name}"
    try:
        requests = () if section.derivation is None else read_requests(section.derivation)
        image = None if section.reference is None else reference.parse(section.reference)
    except TouchstoneError as error:
        raise InvalidSetting(f"{where}: {error.message}") from error
    parts = section.pattern.split("/")
    if section.pattern.startswith("/") or ".." in parts or "" in parts:
        raise InvalidSetting(f"{where}: pattern is a glob below path")
    given = (image is not None, section.path is not None)
    if given != ((True, False) if section.kind == "registry" else (False, True)):
        raise InvalidSetting(f"{where}: a registry has a reference, a directory a path, and not both")
    return Source(
        name=section.name,
        interval_s=section.interval_s,
        trust_policy=section.trust_policy,
        requests=requests,
        image=image,
        signatures=section.signatures,
        folder=section.path,
        pattern=section.pattern,
    )
