"""The settings section ``[sev]``, and the verifier that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from common.encoding import hex_decode
from common.errors import InputError, InvalidSetting
from verifier.sev.products import Product
from verifier.sev.settings import DEFAULT_REQUIRED, SevSettings
from verifier.sev.verifier import SevVerifier
from verifier.tee import TeeSection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from verifier.tee import Surroundings

_SHA256_BYTES = 32


class SevSection(TeeSection):
    """AMD SEV and SEV-ES, without SNP."""

    enabled: bool = Field(
        default=False, description="Accept its evidence, which is never affirming by itself."
    )
    products: tuple[Literal["Naples", "Rome", "Milan", "Genoa", "Turin"], ...] = Field(
        default=("Naples", "Rome", "Milan", "Genoa", "Turin"),
        min_length=1,
        description="Accepted product lines.",
    )
    policy_required: int = Field(
        default=DEFAULT_REQUIRED,
        ge=0,
        description="Guest policy bits that must be set; by default NODBG, NOKS, ES and NOSEND.",
    )
    minimum_api: tuple[int, int] = Field(
        default=(0, 0), description="Lowest firmware API (major, minor) that the policy must demand."
    )
    owners: tuple[str, ...] = Field(
        default=(), description="SHA-256 (hex) of accepted owners' OCA keys in AMD's format; empty: any."
    )
    chips: tuple[str, ...] = Field(
        default=(), description="SHA-256 (hex) of accepted chips' CEKs in AMD's format; empty: any."
    )


def build(section: SevSection, surroundings: Surroundings) -> SevVerifier:
    """The configured verifier.

    Raises:
        InvalidSetting: policy bits that do not exist, digests that are not hex.
    """
    del surroundings
    return SevVerifier(
        SevSettings(
            products=frozenset(Product(name) for name in section.products),
            policy_required=section.policy_required,
            minimum_api=section.minimum_api,
            owners=_digests(section.owners, "[sev] owners"),
            chips=_digests(section.chips, "[sev] chips"),
        )
    )


def insecure(section: SevSection) -> Iterator[str]:
    """One sentence for each switch that weakens a verdict."""
    if section.enabled and DEFAULT_REQUIRED & ~section.policy_required:
        yield "[sev] policy_required leaves out protections that guests should demand"


def _digests(texts: Iterable[str], what: str) -> frozenset[str]:
    try:
        return frozenset(hex_decode(text, what=what, length=_SHA256_BYTES).hex() for text in texts)
    except InputError as error:
        raise InvalidSetting(error.message) from error
