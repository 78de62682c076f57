"""Reports over configfs-tsm: one report folder per report, checked for interference.

Order: make a folder of our own name; check the provider; note the generation; write ``inblob``; read
``outblob`` and ``auxblob``; check that the generation counts our one write and no other; remove the folder.

Providers: ``sev_guest`` (SEV-SNP: report and certificate table), ``tdx_guest`` (TDX: quote),
``arm_cca_guest`` (Arm CCA: token).

Source: Linux, Documentation/ABI/testing/configfs-tsm (attributes ``inblob``, ``outblob``, ``auxblob``,
``provider``, ``generation``; the last counts writes, so that a caller can tell its own from another's).

Not done: ``privlevel`` (reports are requested at the guest's own VMPL) and service providers (SVSM).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from common.encoding import b64url_encode
from common.errors import Malformed
from guest_agent.errors import EvidenceNotMade, TeeUnavailable
from wire.evidence import SnpEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wire.rcar import Challenge, TpmEndorsement

BINDING_SIZE: Final = 64
REPORT_FOLDER: Final = Path("/sys/kernel/config/tsm/report")
SNP: Final = "sev_guest"
TDX: Final = "tdx_guest"
CCA: Final = "arm_cca_guest"
REPORT_BYTES: Final = 1184  # ATTESTATION_REPORT, SEV-SNP ABI specification, table 23
_MAX_BLOB: Final = 64 << 10
_ATTEMPTS: Final = 3


class TsmReport(msgspec.Struct, frozen=True):
    """What the provider gave.

    Attributes:
        outblob: report, quote or token.
        auxblob: what came with it; empty where there is none.
    """

    outblob: bytes
    auxblob: bytes


class TsmReports:
    """Makes reports in a folder of configfs.

    Args:
        reports: the folder in which report folders are made.
        make_folder: how one is made; in configfs this makes its attributes too.
        remove_folder: how one is removed; in configfs its attributes go with it.
    """

    def __init__(
        self,
        reports: Path = REPORT_FOLDER,
        *,
        make_folder: Callable[[Path], None] = Path.mkdir,
        remove_folder: Callable[[Path], None] = Path.rmdir,
    ) -> None:
        """Keep where to work; nothing is opened yet."""
        self._reports = reports
        self._make_folder = make_folder
        self._remove_folder = remove_folder

    def provider(self) -> str:
        """Name of the provider.

        Raises:
            TeeUnavailable: there is no configfs-tsm.
            EvidenceNotMade: its attribute cannot be read.
        """
        with self._entry() as entry:
            return _provider(entry)

    def report(self, inblob: bytes, provider: str) -> TsmReport:
        """A report over ``inblob``.

        Raises:
            TeeUnavailable: no configfs-tsm, or it serves another TEE.
            EvidenceNotMade: the firmware gave no report, or another writer interfered each time.
        """
        for _ in range(_ATTEMPTS):
            with self._entry() as entry:
                report = _report(entry, inblob, provider)
            if report is not None:
                return report
        raise EvidenceNotMade(
            f"another writer changed the report folder in each of {_ATTEMPTS} attempts",
            advice="Find out what else uses configfs-tsm in this guest: the folder's name is ours alone.",
        )

    @contextlib.contextmanager
    def _entry(self) -> Iterator[Path]:
        entry = self._reports / f"touchstone-{secrets.token_hex(8)}"
        try:
            self._make_folder(entry)
        except OSError as error:
            raise TeeUnavailable(f"cannot make {entry} ({error.strerror})") from error
        try:
            yield entry
        finally:
            with contextlib.suppress(OSError):  # a folder left behind harms nothing
                self._remove_folder(entry)


class ConfigfsTsmAttester:
    """Makes SNP evidence (``guest_agent.attesters.Attester``); arguments as ``TsmReports``."""

    def __init__(
        self,
        reports: Path = REPORT_FOLDER,
        *,
        make_folder: Callable[[Path], None] = Path.mkdir,
        remove_folder: Callable[[Path], None] = Path.rmdir,
    ) -> None:
        """Keep where to work; nothing is opened yet."""
        self._tsm = TsmReports(reports, make_folder=make_folder, remove_folder=remove_folder)

    @property
    def tee(self) -> str:
        """``snp``."""
        return "snp"

    @property
    def binding_size(self) -> int:
        """64: the report's REPORT_DATA."""
        return BINDING_SIZE

    def endorsement(self) -> TpmEndorsement | None:
        """None: SNP needs no credential."""
        return None

    def collect(self, report_data: bytes, challenge: Challenge) -> SnpEvidence:  # noqa: ARG002
        """Get a report over ``report_data``.

        Raises:
            Malformed: ``report_data`` has another size than 64.
            TeeUnavailable: no configfs-tsm, or it serves another TEE.
            EvidenceNotMade: the firmware gave no report, or another writer interfered each time.
        """
        if len(report_data) != BINDING_SIZE:
            raise Malformed(
                f"an SNP report takes {BINDING_SIZE} bytes of report data, not {len(report_data)}"
            )
        report = snp_report(self._tsm, report_data)
        return SnpEvidence(
            report=b64url_encode(report.outblob),
            auxblob=b64url_encode(report.auxblob) if report.auxblob else None,
        )


def snp_report(tsm: TsmReports, report_data: bytes) -> TsmReport:
    """An SNP report and its certificate table.

    Raises:
        TeeUnavailable, EvidenceNotMade: as ``TsmReports.report``; or a report of another size.
    """
    report = tsm.report(report_data, SNP)
    if len(report.outblob) != REPORT_BYTES:
        raise EvidenceNotMade(
            f"the firmware gave a report of {len(report.outblob)} bytes, not {REPORT_BYTES}"
        )
    return report


def _provider(entry: Path) -> str:
    return _read(entry / "provider").decode("ascii", "replace").strip()


def _report(entry: Path, inblob: bytes, expected: str) -> TsmReport | None:
    """One report; None if somebody else wrote to its folder meanwhile."""
    provider = _provider(entry)
    if provider != expected:
        raise TeeUnavailable(f"configfs-tsm serves {provider or 'nothing'}, not {expected}")
    before = _generation(entry)
    _write(entry / "inblob", inblob)
    report = TsmReport(_read(entry / "outblob"), _read_optional(entry / "auxblob"))
    return report if _generation(entry) == before + 1 else None


def _generation(entry: Path) -> int:
    text = _read(entry / "generation").strip()
    if not text.isdigit():
        raise EvidenceNotMade("configfs-tsm's generation is not a number")
    return int(text)


def _read_optional(path: Path) -> bytes:
    """An attribute that not every provider has."""
    return _read(path) if path.exists() else b""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BLOB + 1)
    except OSError as error:
        raise EvidenceNotMade(f"cannot read configfs-tsm's {path.name} ({error.strerror})") from error
    if len(data) > _MAX_BLOB:
        raise EvidenceNotMade(f"configfs-tsm's {path.name} is larger than {_MAX_BLOB} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    """Write a binary attribute in one call: the kernel takes it as a whole."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise EvidenceNotMade(f"cannot write configfs-tsm's {path.name} ({error.strerror})") from error
    if written != len(data):
        raise EvidenceNotMade(f"configfs-tsm took {written} of {len(data)} bytes")
