"""SEV-SNP evidence as Confidential Containers has it: the report as JSON, and the host's certificates.

The report comes from configfs-tsm where the kernel has it, else from ``/dev/sev-guest``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common import snp_certificates_json, snp_report_json
from common.errors import InputError
from common.runtime_data import fitted
from guest_agent.attesters.configfs_tsm import REPORT_FOLDER, TsmReports, snp_report
from guest_agent.attesters.ioctl import Device
from guest_agent.attesters.sev_guest import DEVICE, extended_report
from guest_agent.errors import EvidenceNotMade

if TYPE_CHECKING:
    from pathlib import Path

    from guest_agent.attesters.configfs_tsm import TsmReport
    from guest_agent.coco.protocol import Registers

_REPORT_DATA: Final = 64
_HOST_DATA: Final = slice(0x0C0, 0x0E0)


class SnpCocoAttester:
    """Makes SNP evidence.

    Args:
        reports: folder of configfs-tsm; where it does not exist the device is used.
        tsm: makes reports there.
        device: ``/dev/sev-guest``.
    """

    def __init__(
        self,
        reports: Path = REPORT_FOLDER,
        *,
        tsm: TsmReports | None = None,
        device: Device | None = None,
    ) -> None:
        """Keep both ways; nothing is opened yet."""
        self._reports = reports
        self._tsm = tsm or TsmReports(reports)
        self._device = device or Device(DEVICE)

    @property
    def tee(self) -> str:
        """``snp``."""
        return "snp"

    @property
    def registers(self) -> Registers | None:
        """None: SNP has no registers that a guest extends."""
        return None

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """A report over ``report_data``, and the certificates that came with it.

        Raises:
            TeeUnavailable: neither configfs-tsm nor the device serves SNP.
            EvidenceNotMade: no report, or one that its JSON form cannot hold.
        """
        made = self._report(fitted(report_data, _REPORT_DATA))
        try:
            return {
                "attestation_report": snp_report_json.to_json(made.outblob),
                "cert_chain": snp_certificates_json.to_json(made.auxblob),
            }
        except InputError as error:
            raise EvidenceNotMade(f"the firmware's report cannot be sent: {error}") from error

    def init_data_digest(self) -> bytes | None:
        """HOST_DATA, 32 bytes.

        Raises:
            TeeUnavailable, EvidenceNotMade: as ``evidence``.
        """
        return self._report(bytes(_REPORT_DATA)).outblob[_HOST_DATA]

    def _report(self, report_data: bytes) -> TsmReport:
        if self._reports.is_dir():
            return snp_report(self._tsm, report_data)
        return extended_report(self._device, report_data)
