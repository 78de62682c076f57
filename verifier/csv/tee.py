"""Hygon CSV as the rest of the product sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.encoding import b64url_encode
from common.errors import TouchstoneError
from verifier.csv import collateral
from verifier.csv.chain import Anchors
from verifier.csv.claims import CsvClaims, report_claims
from verifier.csv.coco import CsvCocoForm
from verifier.csv.evidence import CsvEvidence
from verifier.csv.report import BINDING_SIZE, REGISTERS, looks_like_report
from verifier.csv.section import CsvSection, csv_settings, extra_anchors, insecure_switches
from verifier.csv.settings import CsvSettings
from verifier.csv.store import HskCekStore
from verifier.csv.verifier import CsvVerifier, read_report
from verifier.tee import Inspection, Surroundings, Tee

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim, VerifiedEvidence
    from wire.evidence import Evidence

_ENDORSEMENTS: Final = "endorsements"
_EVENT_LOG: Final = "event-log"
_ROOT: Final = "root"


def build(section: CsvSection, surroundings: Surroundings) -> CsvVerifier:
    """The configured verifier.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    anchors = extra_anchors(section)
    folder = section.collateral_dir or surroundings.collateral
    return CsvVerifier(
        csv_settings(section),
        HskCekStore(folder, surroundings.fetcher, anchors=Anchors(anchors)),
        extra_anchors=anchors,
    )


def offline(evidence: CsvEvidence, inspection: Inspection) -> OfflineCsvVerifier:
    """The verifier for an inspection: files ``endorsements`` (HSK, CEK), ``event-log``, ``root`` (HRK)."""
    del evidence
    return OfflineCsvVerifier(inspection)


class OfflineCsvVerifier:
    """Verifies with the files that were given (``verifier.model.TeeVerifier``)."""

    def __init__(self, inspection: Inspection) -> None:
        """Keep what was given."""
        roots = (inspection.files[_ROOT],) if _ROOT in inspection.files else ()
        store = HskCekStore(inspection.collateral, anchors=Anchors(roots))
        self._verifier = CsvVerifier(CsvSettings(), store, extra_anchors=roots)
        self._given = {
            member: b64url_encode(inspection.files[role])
            for member, role in (("hsk_cek", _ENDORSEMENTS), ("event_log", _EVENT_LOG))
            if role in inspection.files
        }

    @property
    def tee(self) -> str:
        """``csv``."""
        return self._verifier.tee

    def verify(
        self, evidence: Evidence, expected: Expectation, init_data: InitDataClaim | None, now: datetime
    ) -> VerifiedEvidence:
        """Verify, as ``CsvVerifier.verify``; what was given stands for what the evidence holds."""
        if isinstance(evidence, CsvEvidence):
            evidence = msgspec.structs.replace(evidence, **self._given)
        return self._verifier.verify(evidence, expected, init_data, now)


def recognise(data: bytes) -> CsvEvidence | None:
    """A raw report: told by the PEK certificate in it, whose place says the version."""
    if looks_like_report(data, 1):
        return CsvEvidence(report=b64url_encode(data), version=1)
    if looks_like_report(data, 2):
        return CsvEvidence(report=b64url_encode(data), version=2)
    return None


def contents(evidence: CsvEvidence) -> dict[str, Any]:
    """The report's claims and the serial number beside them; empty where it cannot be parsed."""
    try:
        report = read_report(evidence)
    except TouchstoneError:
        return {}
    return {**report_claims(report), "serial_number": report.serial_number}


TEE: Final = Tee(
    name="csv",
    title="Hygon CSV",
    evidence=CsvEvidence,
    claims=CsvClaims,
    binding_size=BINDING_SIZE,
    section=CsvSection,
    build=build,
    offline=offline,
    inspects=frozenset({f"files.{_ENDORSEMENTS}", f"files.{_EVENT_LOG}", f"files.{_ROOT}"}),
    recognise=recognise,
    contents=contents,
    coco=CsvCocoForm(),
    reference_names={
        "csv_measure": "measure",
        "csv_api_major": "policy.api_major",
        "csv_api_minor": "policy.api_minor",
        "csv_build": "build",
        "csv_vm_id": "vm_id",
        "csv_vm_version": "vm_version",
        "csv_user_pubkey_digest": "user_pubkey_digest",
        "csv_cek": "cek",
    }
    | {f"csv_rtmr{index}": f"rtmr{index}" for index in range(REGISTERS)},
    identities=frozenset({"csv_cek"}),
    insecure=insecure_switches,
    collateral=collateral.kinds(),
    checks=(
        ("length, zeros after the end, version, usage and algorithm of the signature", "Hygon csv-rs"),
        ("signature over the bytes received, by the PEK in the report", "Hygon csv-rs and rats-tls"),
        ("chain HRK (pinned), HSK, CEK, PEK: usage, algorithm, SM2 over SM3", "Hygon csv-rs and rats-tls"),
        ("public keys are points of the curve, r and s in range", "GB/T 32918.2 section 7.1"),
        ("report data, all 64 bytes", "Hygon csv-rs"),
        (
            "guest policy: debug, key sharing, ES, sending, CSV3, shared ASIDs, firmware floor",
            "Hygon csv-rs",
        ),
        ("event log replays to the registers of version 2", "Linux psp-hygon.h"),
    ),
    unchecked=(
        "The chip's serial number: nothing signs it. The chip's identity is the key of its CEK.",
        "Dates and revocation: the certificates have no dates, and Hygon publishes no revocation list.",
        "The platform owner's signature over the PEK (OCA): its certificate is not part of evidence.",
        "The MAC over PEK and serial number: its key stands in the report.",
        "ANONCE of version 1 is not signed: values count together with a known measurement alone.",
    ),
)
