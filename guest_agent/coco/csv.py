"""Hygon CSV evidence: report, PEK certificate as JSON, serial number, event log.

HSK and CEK are not sent: they come from the vendor, whom the verifier asks.

Source: crate ``csv-rs`` (serde layout of its certificates); guest-components, attester ``csv``.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common.binary import Reader
from common.encoding import b64_encode
from common.runtime_data import fitted
from guest_agent.attesters import csv_guest
from guest_agent.attesters.ioctl import Device
from guest_agent.coco import ccmr, event_log

if TYPE_CHECKING:
    from guest_agent.coco.protocol import Registers

_USER_DATA: Final = 64


class CsvRegisters:
    """Runtime registers 1 to 4 (``guest_agent.coco.protocol.Registers``)."""

    algorithm = "sm3"

    def __init__(self, device: Device) -> None:
        """Keep the device."""
        self._device = device
        self.lock = threading.RLock()

    def register_of(self, pcr: int) -> int:
        """CC measurement register 1 to 4; errors as ``Registers.register_of``."""
        return ccmr.register_of(pcr)

    def read(self, register: int) -> bytes:
        """The register's 32 bytes; errors as ``Registers.read``."""
        return csv_guest.read_register(self._device, register)

    def extend(self, register: int, digest: bytes) -> None:
        """Extend by an SM3 digest; errors as ``Registers.extend``."""
        csv_guest.extend_register(self._device, register, digest)


class CsvAttester:
    """Makes CSV evidence.

    Args:
        root: of the file system.
        device: ``/dev/csv-guest``.
        agent_log: the agent's event log; None for its usual place.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        device: Device | None = None,
        agent_log: Path | None = None,
    ) -> None:
        """Keep the paths; nothing is opened yet."""
        self._root = root
        self._agent_log = agent_log or root / event_log.AAEL
        self._device = device or Device(root / csv_guest.DEVICE.relative_to("/"))
        self._registers = CsvRegisters(self._device)

    @property
    def tee(self) -> str:
        """``csv``."""
        return "csv"

    @property
    def registers(self) -> Registers | None:
        """The runtime registers. Firmware before version 1.4 refuses them."""
        return self._registers

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """A report over ``report_data``, and what goes with it.

        Raises:
            TeeUnavailable: no such device.
            EvidenceNotMade: no report, or one that does not answer our request.
            EventLogBroken: the agent's entries cannot be put after the firmware's log.
        """
        with self._registers.lock:
            report = csv_guest.get_report(self._device, fitted(report_data, _USER_DATA))
            log = event_log.cc_event_log(self._root / event_log.CCEL, self._agent_log)
        extended = report.version > 1
        document: dict[str, Any] = {
            "attestation_report": {
                "magic": list(csv_guest.MAGIC if extended else bytes(16)),
                "flags": int(extended),
                "data": list(report.data),
            },
            "cert_chain": {"pek": certificate_json(report.pek)},
            "serial_number": list(report.serial_number),
        }
        if log is not None:
            document["cc_eventlog"] = b64_encode(log)
        return document

    def init_data_digest(self) -> bytes | None:
        """None: CSV has no field for init-data."""
        return None


def certificate_json(data: bytes) -> dict[str, Any]:
    """A CSV certificate (PEK, CEK; 2084 bytes, little endian) as the reference attester writes it.

    Raises:
        Malformed: another length.
    """
    reader = Reader(data, "CSV certificate", "little")
    body = {
        "ver": reader.u32("version"),
        "data": {
            "firmware": {"major": reader.u8("major"), "minor": reader.u8("minor")},
            "reserved1": reader.u16("reserved1"),
            "pubkey": {
                "usage": reader.u32("usage"),
                "algo": reader.u32("algorithm"),
                "key": {
                    "g": reader.u32("curve"),
                    "x": list(reader.take(72, "x")),
                    "y": list(reader.take(72, "y")),
                },
            },
            "uid_size": reader.u16("uid size"),
            "user_id": list(reader.take(254, "user id")),
            "sid": list(reader.take(16, "sid")),
            "reserved2": list(reader.take(608, "reserved2")),
        },
    }
    signatures = [_signature(reader) for _ in range(2)]
    reader.finish()
    return {"body": body, "sigs": signatures}


def _signature(reader: Reader) -> dict[str, Any]:
    return {
        "usage": reader.u32("usage"),
        "algo": reader.u32("algorithm"),
        "signature": {"r": list(reader.take(72, "r")), "s": list(reader.take(72, "s"))},
        "_reserved": list(reader.take(368, "reserved")),
    }
