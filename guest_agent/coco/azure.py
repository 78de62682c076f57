"""Evidence of Azure confidential VMs: quote of the vTPM, HCL report, and VCEK (SNP) or TD quote (TDX).

The quote's qualifying data are the report data as they are, up to 64 bytes. Binary members are base64url
with padding, quote and registers hex, the signature without the TPM's header, as the reference attester
writes them.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any, Final

from common.errors import Malformed
from common.init_data import PCR
from guest_agent.attesters.azure import AK_HANDLE, HCL_REPORT_INDEX, SNP, TDX, HclReport, Imds
from guest_agent.attesters.vtpm import MAX_QUALIFYING_DATA, Vtpm
from guest_agent.errors import TeeUnavailable

if TYPE_CHECKING:
    from guest_agent.attesters.azure import AzureMetadata
    from guest_agent.coco.protocol import Registers

_TEES: Final = {"az-snp-vtpm": SNP, "az-tdx-vtpm": TDX}
# 2 would say that the HCL report was renewed and carries the report data as its user-data: it was not.
_VERSION: Final = 1


class AzureAttester:
    """Makes evidence of ``az-snp-vtpm`` or ``az-tdx-vtpm``.

    Args:
        tee: which.
        vtpm: the vTPM, with the paravisor's attestation key.
        metadata: the instance metadata service.
    """

    def __init__(
        self, tee: str, *, vtpm: Vtpm | None = None, metadata: AzureMetadata | None = None
    ) -> None:
        """Keep the parts; nothing is asked yet."""
        if tee not in _TEES:
            raise Malformed("an Azure TEE is az-snp-vtpm or az-tdx-vtpm")
        self._tee = tee
        self._vtpm = vtpm or Vtpm(handle=AK_HANDLE)
        self._metadata = metadata or Imds()

    @property
    def tee(self) -> str:
        """``az-snp-vtpm`` or ``az-tdx-vtpm``."""
        return self._tee

    @property
    def registers(self) -> Registers | None:
        """The vTPM's PCRs."""
        return self._vtpm

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Quote over ``report_data``, HCL report, and what the metadata service adds.

        Raises:
            Malformed: more than 64 bytes.
            TeeUnavailable: no vTPM, or a VM of another kind.
            UnavailableError: the vTPM refuses, or the metadata service does not answer.
        """
        if len(report_data) > MAX_QUALIFYING_DATA:
            raise Malformed(f"a vTPM quote takes at most {MAX_QUALIFYING_DATA} bytes of report data")
        report = HclReport.parse(self._vtpm.nv_read(HCL_REPORT_INDEX))
        if report.kind != _TEES[self._tee]:
            raise TeeUnavailable(f"the paravisor's report is not one of {self._tee}")
        quote = self._vtpm.quote(report_data)
        document = {
            "version": _VERSION,
            "tpm_quote": {
                "signature": quote.rsa_signature().hex(),
                "message": quote.message.hex(),
                "pcrs": [value.hex() for value in quote.pcrs],
            },
            "hcl_report": _encoded(report.data),
        }
        if self._tee == "az-snp-vtpm":
            return document | {"vcek": _encoded(self._metadata.vcek())}
        return document | {"td_quote": _encoded(self._metadata.td_quote(report.td_report))}

    def init_data_digest(self) -> bytes | None:
        """The value of PCR 8; errors as ``evidence``."""
        return self._vtpm.read(PCR)


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode("ascii")
