"""``[se]``: the settings as they are written, and the verifier that they make."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from common.errors import InvalidSetting
from common.files import read_limited
from common.section import Section
from verifier import vendor_roots
from verifier.reading import certificate_files
from verifier.se.challenge import SEAL_KEY_BYTES
from verifier.se.collateral import FolderCollateral
from verifier.se.header import MAX_HEADER, ImageHeader, parse_header
from verifier.se.settings import Additional, SeSettings
from verifier.se.verifier import SeVerifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

    from verifier.tee import Surroundings

# The public authority below which IBM's host-key signing keys are certified.
PINNED: Final = ("digicert/trusted-root-g4.pem",)


class SeSection(Section):
    """``[se]``: IBM Secure Execution.

    Attributes:
        enabled: whether evidence of this TEE is accepted.
        challenge_key_file: file of exactly 32 random bytes, the same on every replica: it seals challenges.
        challenge_minutes: how long a challenge's request may be answered.
        extra_roots: PEM files of roots that are trusted besides the pinned one.
        image_headers: header files of known images (``pvextract-hdr``); the first is the one that a
            Confidential Containers challenge is made for.
        additional: what to ask the Ultravisor for besides the two host-key hashes.
    """

    enabled: bool = False
    challenge_key_file: Path | None = None
    challenge_minutes: Annotated[int, Field(ge=1, le=1440)] = 15
    extra_roots: tuple[Path, ...] = ()
    image_headers: tuple[Path, ...] = ()
    additional: tuple[Additional, ...] = ()


def roots() -> tuple[x509.Certificate, ...]:
    """The pinned roots."""
    return tuple(vendor_roots.load(file) for file in PINNED)


def read_header(path: Path) -> ImageHeader:
    """An image's header from its file.

    Raises:
        InputError: it cannot be read, or is none.
    """
    return parse_header(read_limited(path, what="[se] image_headers", max_bytes=MAX_HEADER))


def build(section: SeSection, surroundings: Surroundings) -> SeVerifier:
    """The configured verifier.

    Raises:
        InvalidSetting: no challenge key, or a file that is not what it should be.
    """
    if section.challenge_key_file is None:
        raise InvalidSetting("[se] challenge_key_file is needed: it seals the secrets of challenges")
    key = read_limited(section.challenge_key_file, what="[se] challenge_key_file", max_bytes=SEAL_KEY_BYTES)
    settings = SeSettings(
        challenge_key=key,
        roots=(*roots(), *certificate_files(section.extra_roots, what="[se] extra_roots")),
        image_headers=tuple(read_header(path) for path in section.image_headers),
        challenge_lifetime=timedelta(minutes=section.challenge_minutes),
        additional=section.additional,
    )
    return SeVerifier(settings, FolderCollateral(surroundings.collateral))


def insecure(section: SeSection) -> Iterator[str]:
    """What in a section weakens a verdict."""
    if section.enabled and section.extra_roots:
        yield "[se] extra_roots: host keys below these roots count as IBM's"
