"""``[se]``: the settings as they are written, and the verifier that they make."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import TYPE_CHECKING, Final

from pydantic import Field

from common.errors import InvalidSetting
from common.files import read_limited, read_private
from verifier import vendor_roots
from verifier.reading import certificate_files
from verifier.se.collateral import FolderCollateral
from verifier.se.header import MAX_HEADER, ImageHeader, parse_header
from verifier.se.settings import Additional, SeSettings
from verifier.se.verifier import SeVerifier
from verifier.tee import TeeSection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

    from verifier.tee import Surroundings

# The public authority below which IBM's host-key signing keys are certified.
PINNED: Final = ("digicert/trusted-root-g4.pem",)


class SeSection(TeeSection):
    """IBM Secure Execution."""

    enabled: bool = Field(
        default=False, description="Accept its evidence; needs `challenge_key_file` and host-key documents."
    )
    challenge_key_file: Path | None = Field(
        default=None,
        description="File of exactly 32 random bytes that seal challenges, the same on every replica.",
    )
    challenge_minutes: int = Field(
        default=15, ge=1, le=1440, description="How long the request of a challenge may be answered."
    )
    extra_roots: tuple[Path, ...] = Field(
        default=(), description="PEM files of roots of host-key signing keys besides the pinned one."
    )
    image_headers: tuple[Path, ...] = Field(
        default=(),
        description="Header files of known images; the first is the one that challenges are made for.",
    )
    permit_dumps: bool = Field(
        default=False, description="Accept known images whose header lets the host ask for dumps."
    )
    additional: tuple[Additional, ...] = Field(
        default=(), description="What to ask for besides the two host-key hashes."
    )


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
    key = read_private(section.challenge_key_file, what="[se] challenge_key_file")
    settings = SeSettings(
        challenge_key=key,
        roots=(*roots(), *certificate_files(section.extra_roots, what="[se] extra_roots")),
        image_headers=tuple(read_header(path) for path in section.image_headers),
        challenge_lifetime=timedelta(minutes=section.challenge_minutes),
        permit_dumps=section.permit_dumps,
        additional=section.additional,
    )
    return SeVerifier(settings, FolderCollateral(surroundings.collateral))


def insecure(section: SeSection) -> Iterator[str]:
    """What in a section weakens a verdict."""
    if section.enabled and section.extra_roots:
        yield "[se] extra_roots: host keys below these roots count as IBM's"
