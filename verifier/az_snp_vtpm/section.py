"""The settings section ``[az_snp_vtpm]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from verifier.azure.section import VtpmSection
from verifier.snp import section as snp_section
from verifier.snp.section import SnpSection

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION: Final = "az_snp_vtpm"


class AzSnpVtpmSection(SnpSection, VtpmSection):
    """Azure VMs on AMD SEV-SNP: the hardware report as in `[snp]`, and the vTPM's quote."""


def insecure_switches(section: AzSnpVtpmSection) -> Iterator[str]:
    """One sentence for each switch that weakens a verdict."""
    yield from snp_section.insecure_switches(section, SECTION)
    if section.enabled and any(section.vmpls):
        yield f"[{SECTION}] vmpls accepts reports that the guest's own kernel can ask for"
