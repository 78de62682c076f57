"""Offline inspection: which registers a quote had to cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import InvalidSetting, Malformed
from verifier.tpm.settings import TpmSettings

if TYPE_CHECKING:
    from verifier.azure.documents import VtpmDocument
    from verifier.tee import Inspection


def inspected_selection(evidence: VtpmDocument, inspection: Inspection) -> dict[str, tuple[int, ...]]:
    """Those that were named, else those that the evidence states.

    Raises:
        Malformed: what the evidence states cannot be a selection.
    """
    if inspection.pcr_selection is not None:
        return inspection.pcr_selection
    try:
        stated = {bank: tuple(sorted(map(int, values))) for bank, values in evidence.pcrs.items()}
        return TpmSettings(pcr_selection=stated).pcr_selection
    except (ValueError, InvalidSetting) as error:
        raise Malformed("the registers that the evidence states cannot be quoted") from error
