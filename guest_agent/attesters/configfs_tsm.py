"""SEV-SNP attester over configfs-tsm: one report folder per report, checked for interference.

Order: make a folder of our own name; check the provider; note the generation; write ``inblob``; read
``outblob`` and ``auxblob``; check that the generation counts our one write and no other; remove the folder.

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

from common.encoding import b64url_encode
from common.errors import Malformed
from guest_agent.errors import EvidenceNotMade, TeeUnavailable
from wire.evidence import SnpEvidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from wire.rcar import Challenge, TpmEndorsement

BINDING_SIZE: Final = 64
REPORT_FOLDER: Final = Path("/sys/kernel/config/tsm/report")
PROVIDER: Final = "sev_guest"
REPORT_BYTES: Final = 1184  # ATTESTATION_REPORT, SEV-SNP ABI specification, table 23
_MAX_BLOB: Final = 64 << 10
_ATTEMPTS: Final = 3


class ConfigfsTsmAttester:
    """Makes SNP evidence from configfs-tsm (``guest_agent.attesters.Attester``).

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
        for _ in range(_ATTEMPTS):
            evidence = self._attempt(report_data)
            if evidence is not None:
                return evidence
        raise EvidenceNotMade(
            f"another writer changed the report folder in each of {_ATTEMPTS} attempts",
            advice="Find out what else uses configfs-tsm in this guest: the folder's name is ours alone.",
        )

    def _attempt(self, report_data: bytes) -> SnpEvidence | None:
        """One report; None if somebody else wrote to its folder meanwhile."""
        entry = self._reports / f"touchstone-{secrets.token_hex(8)}"
        try:
            self._make_folder(entry)
        except OSError as error:
            raise TeeUnavailable(f"cannot make {entry} ({error.strerror})") from error
        try:
            return _report(entry, report_data)
        finally:
            with contextlib.suppress(OSError):  # a folder left behind harms nothing
                self._remove_folder(entry)


def _report(entry: Path, report_data: bytes) -> SnpEvidence | None:
    provider = _read(entry / "provider").decode("ascii", "replace").strip()
    if provider != PROVIDER:
        raise TeeUnavailable(f"configfs-tsm serves {provider or 'nothing'}, not {PROVIDER}")
    before = _generation(entry)
    _write(entry / "inblob", report_data)
    report, certificates = _read(entry / "outblob"), _read(entry / "auxblob")
    if _generation(entry) != before + 1:
        return None
    if len(report) != REPORT_BYTES:
        raise EvidenceNotMade(f"the firmware gave a report of {len(report)} bytes, not {REPORT_BYTES}")
    return SnpEvidence(
        report=b64url_encode(report), auxblob=b64url_encode(certificates) if certificates else None
    )


def _generation(entry: Path) -> int:
    text = _read(entry / "generation").strip()
    if not text.isdigit():
        raise EvidenceNotMade("configfs-tsm's generation is not a number")
    return int(text)


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
