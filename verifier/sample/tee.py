"""The sample TEE as the rest of the product sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from pydantic import Field

from verifier.errors import UnsupportedEvidence
from verifier.sample.verifier import BINDING_SIZE, SampleCocoForm, SampleVerifier
from verifier.tee import Inspection, Surroundings, Tee, TeeSection
from wire.evidence import SampleEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator


class SampleSection(TeeSection):
    """The sample TEE of Confidential Containers: no hardware at all."""

    enabled: bool = Field(
        default=False, description="Accept its evidence, which anybody can make. Development only."
    )


class SampleVersion(TypedDict):
    """A version number."""

    major: int
    minor: int


class SampleClaims(TypedDict):
    """``input.sample``: what the evidence says, and constants."""

    svn: str
    launch_digest: str
    platform_version: SampleVersion
    debug: bool


def build(section: SampleSection, surroundings: Surroundings) -> SampleVerifier:
    """The verifier; it has no settings."""
    del section, surroundings
    return SampleVerifier()


def offline(evidence: SampleEvidence, inspection: Inspection) -> SampleVerifier:
    """Refuse.

    Raises:
        UnsupportedEvidence: always.
    """
    del evidence, inspection
    raise UnsupportedEvidence("sample evidence proves nothing: there is nothing to verify offline")


def insecure_switches(section: SampleSection) -> Iterator[str]:
    """That it is enabled at all."""
    if section.enabled:
        yield "[sample] enabled accepts evidence that anybody can make"


TEE: Final = Tee(
    name="sample",
    title="Sample (no hardware)",
    evidence=SampleEvidence,
    claims=SampleClaims,
    binding_size=BINDING_SIZE,
    section=SampleSection,
    build=build,
    offline=offline,
    coco=SampleCocoForm(),
    insecure=insecure_switches,
    checks=(("report data", "Confidential Containers, sample attester"),),
    unchecked=("Everything else: there is no hardware and no signature.",),
)
