"""Runs ``csv`` cases (Hygon), and mutations of them, on the CSV verifier.

What a case does not state is taken so that only what it is about decides: every guest policy but debug is
accepted, nothing is expected where the report data is all zero, and HSK and CEK are those in the evidence
or in the case's file ``hsk_cek``. Nothing but Hygon's pinned root is trusted.

Claims are compared with what the report says, also where the chain is refused. Three of them the manifest
gives as bytes stand in the report: signature usage and algorithm are masked, and ``sn`` is the field with
the mask put over it, also where the guest had taken the mask off already.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.encoding import b64url_decode, hex_decode
from service.conformance.case_files import CaseFiles
from service.conformance.evidence import judged, raise_failed
from verifier.csv.claims import report_claims
from verifier.csv.coco import CsvCocoForm
from verifier.csv.endorsements import FixedEndorsements
from verifier.csv.report import BINDING_SIZE
from verifier.csv.settings import CsvSettings
from verifier.csv.verifier import CsvVerifier, read_report, split_hsk_cek
from verifier.model import ReportDataBinding, Unbound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome
    from verifier.csv.evidence import CsvEvidence
    from verifier.model import Expectation

KINDS: Final = ("csv",)
_FORM: Final = CsvCocoForm()
_SETTINGS: Final = CsvSettings(
    permit_key_sharing=True, permit_send=True, permit_asid_reuse=True, require_es=False
)
_SERIAL: Final = {1: slice(0x974, 0x9B4), 2: slice(0xCB4, 0xCF4)}
_MAX_EVIDENCE: Final = 16 << 20
# The certificates have no dates: a case without a time may be verified at any.
_ANY_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""
    return judged(case, lambda differing: _verified(case, folder, differing))


def _verified(case: Mapping[str, Any], folder: Path, differing: list[str]) -> str:
    files = CaseFiles(case, folder)
    data = files.read("evidence")
    evidence = _FORM.evidence_of(strict_json.loads(data, what="evidence", max_bytes=_MAX_EVIDENCE))
    differing.extend(_differing(files.case.get("expect", {}).get("claims", {}), evidence))
    stored = {}
    if files.has("hsk_cek"):
        stored[read_report(evidence).serial_number] = split_hsk_cek(files.read("hsk_cek"))
    verifier = CsvVerifier(_SETTINGS, FixedEndorsements(stored))
    verified = verifier.verify(evidence, _expectation(files.case), None, _time(files.case))
    raise_failed(verified)
    return str(verified.identity)


def _differing(stated: Mapping[str, Any], evidence: CsvEvidence) -> list[str]:
    """Names of stated claims that are not what the report says; unknown names are among them."""
    report = read_report(evidence)
    mask = report.anonce.to_bytes(4, "little")
    serial = b64url_decode(evidence.report)[_SERIAL[report.version]]
    covered = bytes(byte ^ mask[index % 4] for index, byte in enumerate(serial))
    said = dict(report_claims(report)) | {
        "sig_usage": report.sig_usage ^ report.anonce,
        "sig_algo": report.sig_algo ^ report.anonce,
        "sn": covered.rstrip(b"\0").decode("latin-1"),
    }
    return [name for name, value in stated.items() if name not in said or said[name] != value]


def _expectation(case: Mapping[str, Any]) -> Expectation:
    data = hex_decode(str(case["report_data"]), what="report_data")
    if not any(data):
        return Unbound()
    # A manifest may leave out trailing zeros; what is longer than the field stays longer and is refused.
    return ReportDataBinding(data.ljust(BINDING_SIZE, b"\0"))


def _time(case: Mapping[str, Any]) -> datetime:
    text = str(case.get("verification_time", "any"))
    return _ANY_TIME if text.startswith("any") else datetime.fromisoformat(text)
