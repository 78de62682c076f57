"""What the evidence documents of both kinds of VM share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.encoding import b64url_decode
from common.errors import TooLarge
from verifier.azure.hcl import MAX_REPORT_BYTES, HclReport, parse_hcl
from verifier.tpm.binding import material_of
from wire.evidence import EvidenceDocument

if TYPE_CHECKING:
    from verifier.tpm.checks import QuoteMaterial

_MAX_TEXT = MAX_REPORT_BYTES // 3 * 4 + 4


class VtpmDocument(EvidenceDocument, frozen=True, kw_only=True):
    """Members of both documents. Binary ones are base64url without padding.

    Attributes:
        hcl_report: of NV index 0x01400001, as read.
        quote: TPMS_ATTEST that the vTPM signed.
        signature: TPMT_SIGNATURE.
        pcrs: bank to index (decimal text) to value (hex).
        event_log: TCG PC Client event log of the guest's boot.
        ima_log: Linux IMA measurement list.
        fresh_report: the guest wrote its report data into the vTPM and waited for a new HCL report, which
            must then carry them as its user-data. False: the report is of an earlier time, and only the
            quote is fresh.
    """

    hcl_report: str
    quote: str
    signature: str
    pcrs: dict[str, dict[str, str]]
    event_log: str | None = None
    ima_log: str | None = None
    fresh_report: bool = False

    def hcl(self) -> HclReport:
        """The HCL report; errors as ``parse_hcl``."""
        if len(self.hcl_report) > _MAX_TEXT:
            raise TooLarge(f"HCL report of more than {MAX_REPORT_BYTES} bytes")
        return parse_hcl(b64url_decode(self.hcl_report, what="hcl_report"))

    def material(self) -> QuoteMaterial:
        """The quote and what goes with it; errors as ``material_of``."""
        return material_of(self.quote, self.signature, self.pcrs, self.event_log, self.ima_log)
