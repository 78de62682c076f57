"""The configured TEE verifiers, from their sections of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service import collateral
from verifier.tee import Surroundings
from verifier.tees import TEES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.settings import Settings
    from verifier.model import CocoForm, TeeVerifier


def tee_verifiers(settings: Settings) -> dict[str, tuple[TeeVerifier, int]]:
    """TEE tag to its verifier and the size of its binding digest, for each TEE that is enabled.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    surroundings = _surroundings(settings)
    found: dict[str, tuple[TeeVerifier, int]] = {}
    for tee in TEES.values():
        section = settings.tee_section(tee.name)
        if section.enabled:
            found[tee.name] = (tee.build(section, surroundings), tee.binding_size)
    return found


def coco_forms(tees: Iterable[str]) -> dict[str, CocoForm]:
    """How Confidential Containers spells the evidence of these TEEs, of those that it knows."""
    forms = {tee: TEES[tee].coco for tee in tees}
    return {tee: form for tee, form in forms.items() if form is not None}


def _surroundings(settings: Settings) -> Surroundings:
    sources = collateral.sources_of(collateral.section_of(settings))
    fetcher = collateral.fetcher_of(settings, sources) if settings.fetch.enabled else None
    return Surroundings(collateral=settings.collateral_dir, fetcher=fetcher, sources=sources)
