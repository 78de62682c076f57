"""The settings section ``[az_tdx_vtpm]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from verifier.azure.section import VtpmSection
from verifier.intel.section import insecure_anchors
from verifier.tdx.section import TdxSection

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION: Final = "az_tdx_vtpm"


class AzTdxVtpmSection(TdxSection, VtpmSection):
    """Azure VMs on Intel TDX: the TD quote as in `[tdx]`, and the vTPM's quote.

    Azure launches TDs with SEPT_VE_DISABLE clear (seen in 2025): they need `permit_septve`.
    """


def insecure_switches(section: AzTdxVtpmSection) -> Iterator[str]:
    """One sentence for each switch that weakens a verdict."""
    yield from insecure_anchors(section, SECTION)
