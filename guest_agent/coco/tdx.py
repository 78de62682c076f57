"""Intel TDX evidence: a quote over configfs-tsm, the event log; RTMRs that Linux lets software extend.

The kernel's ``/dev/tdx_guest`` gives a TDREPORT, which only a quoting service makes a quote of: without
configfs-tsm (Linux 6.7) there is no evidence here.

Sources: Linux, Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest
(``measurements/rtmrN:sha384``: reading gives the value, writing extends by a digest); UEFI 2.11 section
38.4.1 (PCR to CC register).
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64_encode
from common.runtime_data import fitted
from guest_agent.attesters.configfs_tsm import REPORT_FOLDER, TDX, TsmReports
from guest_agent.coco import ccmr, event_log
from guest_agent.coco.quotes import mr_config_id
from guest_agent.errors import EvidenceNotMade, TeeUnavailable

if TYPE_CHECKING:
    from guest_agent.coco.protocol import Registers

MEASUREMENTS: Final = "sys/devices/virtual/misc/tdx_guest/measurements"
_REPORT_DATA: Final = 64
_RTMR_BYTES: Final = 48


class TdxRegisters:
    """RTMR 0 to 3, which the CC event log numbers 1 to 4 (``guest_agent.coco.protocol.Registers``)."""

    algorithm = "sha384"

    def __init__(self, measurements: Path) -> None:
        """Keep where the attributes are."""
        self._measurements = measurements
        self.lock = threading.RLock()

    def register_of(self, pcr: int) -> int:
        """CC measurement register 1 to 4; errors as ``Registers.register_of``."""
        return ccmr.register_of(pcr)

    def read(self, register: int) -> bytes:
        """The RTMR's 48 bytes; errors as ``Registers.read``."""
        path = self._path(register)
        try:
            value = path.read_bytes()
        except OSError as error:
            raise TeeUnavailable(f"cannot read {path.name} ({error.strerror})") from error
        if len(value) != _RTMR_BYTES:
            raise EvidenceNotMade(f"{path.name} has {len(value)} bytes, not {_RTMR_BYTES}")
        return value

    def extend(self, register: int, digest: bytes) -> None:
        """Write the digest in one call; errors as ``Registers.extend``."""
        path = self._path(register)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                written = os.write(descriptor, digest)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise TeeUnavailable(f"cannot extend {path.name} ({error.strerror})") from error
        if written != len(digest):
            raise EvidenceNotMade(f"{path.name} took {written} of {len(digest)} bytes")

    def _path(self, register: int) -> Path:
        return self._measurements / f"rtmr{register - 1}:sha384"


class TdxAttester:
    """Makes TDX evidence.

    Args:
        root: of the file system.
        tsm: makes quotes.
        agent_log: the agent's event log; None for its usual place.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        tsm: TsmReports | None = None,
        agent_log: Path | None = None,
    ) -> None:
        """Keep the paths; nothing is opened yet."""
        self._root = root
        self._agent_log = agent_log or root / event_log.AAEL
        self._tsm = tsm or TsmReports(root / REPORT_FOLDER.relative_to("/"))
        self._registers = TdxRegisters(root / MEASUREMENTS)

    @property
    def tee(self) -> str:
        """``tdx``."""
        return "tdx"

    @property
    def registers(self) -> Registers | None:
        """The RTMRs; None where the kernel does not show them."""
        return self._registers if (self._root / MEASUREMENTS).is_dir() else None

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Quote and event log, of one moment.

        Raises:
            TeeUnavailable: no configfs-tsm, or it serves another TEE.
            EvidenceNotMade: no quote.
            EventLogBroken: the agent's entries cannot be put after the firmware's log.
        """
        with self._registers.lock:
            quote = self._tsm.report(fitted(report_data, _REPORT_DATA), TDX).outblob
            log = event_log.cc_event_log(self._root / event_log.CCEL, self._agent_log)
        if not quote:
            raise EvidenceNotMade("the quoting service gave an empty quote")
        return {"cc_eventlog": None if log is None else b64_encode(log), "quote": b64_encode(quote)}

    def init_data_digest(self) -> bytes | None:
        """MRCONFIGID, 48 bytes; errors as ``evidence``."""
        return mr_config_id(self._tsm.report(bytes(_REPORT_DATA), TDX).outblob)
