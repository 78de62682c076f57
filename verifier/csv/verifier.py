"""The Hygon CSV verifier: a report, signed by a PEK that Hygon endorses through the chip's CEK.

Order: parse; version and algorithm; the report's signature by its PEK; what was sent twice is alike; HSK
and CEK, from the evidence or the store; chain to a pinned root (cached); report data; event log. Each of
these raises. Then init-data and the settings: failures are recorded and set engine floors. Then claims.

The signature comes before the chain, so that a changed report is called changed whether or not certificates
are at hand. It proves nothing before the chain holds.

Performance: a chain is verified once per distinct set of certificates; what remains per report is one SM2
verification (about 50 ms, in Python).

CSV binds no init-data: no field of either version is the host's to fill at launch. It is reported as
``unsupported``, stays out of the claims, and bounds ``configuration`` at 36.

Not done: policy, reference values (``verifier.appraisal``); see docs/verifier-csv.md.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from common.checks import Check, Checks, Verdict
from common.encoding import b64url_decode
from common.errors import Malformed, TooLarge, TouchstoneError
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.csv.assessment import NOT_RECOGNISED, assess
from verifier.csv.certificates import CA_BYTES, HSK_CEK_BYTES, parse_csv_certificate
from verifier.csv.chain import Anchors, VerifiedChain, verify_chain
from verifier.csv.checks import (
    note_what_is_unsigned,
    require_format,
    require_one_pek,
    require_report_data,
    require_serial_number,
    require_signature,
)
from verifier.csv.claims import common_claims, csv_claims
from verifier.csv.eventlog import event_log_claims
from verifier.csv.evidence import (
    MAX_CERTIFICATES_TEXT,
    MAX_LOG_TEXT,
    MAX_PEK_TEXT,
    MAX_REPORT_TEXT,
    CsvEvidence,
)
from verifier.csv.layout import SOURCE
from verifier.csv.report import BINDING_SIZE, Report, parse_report
from verifier.errors import EndorsementMissing
from verifier.model import Unbound, VerifiedEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from verifier.csv.endorsements import CsvEndorsements
    from verifier.csv.settings import CsvSettings
    from verifier.model import Expectation, InitDataClaim
    from wire.evidence import Evidence

_CACHED_CHAINS: Final = 512
_CONFIGURATION_UNAVAILABLE: Final = 36
_STRUCTURE: Final = Check(
    "csv.report.structure", Verdict.PASS, expected="a report, and zeros up to a page", source=SOURCE
)


class CsvVerifier:
    """Verifies Hygon CSV evidence (``verifier.model.TeeVerifier``).

    Args:
        settings: what the operator decided.
        endorsements: HSK and CEK that evidence does not carry.
        extra_anchors: HRK certificates (832 bytes) that are trusted besides Hygon's. Everything they sign
            counts as hardware: the production profile of the service refuses them.

    Raises:
        InvalidSetting: an extra anchor is no HRK, or the pinned certificate was altered.
    """

    def __init__(
        self,
        settings: CsvSettings,
        endorsements: CsvEndorsements,
        *,
        extra_anchors: Sequence[bytes] = (),
    ) -> None:
        """Load the anchors."""
        self._settings = settings
        self._endorsements = endorsements
        self._anchors = Anchors(extra_anchors)
        self._chain_of = lru_cache(maxsize=_CACHED_CHAINS)(self._verify_chain)

    @property
    def tee(self) -> str:
        """``csv``."""
        return "csv"

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify evidence at ``now``.

        Raises:
            InputError: the document, the report, its PEK or the event log cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: HSK or CEK are missing, or the chain does not hold.
            UnavailableError: endorsements had to be fetched, and their source does not answer.
        """
        if not isinstance(evidence, CsvEvidence):
            raise Malformed("this verifier takes Hygon CSV evidence")
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        report = read_report(evidence)
        checks = Checks()
        checks.extend((_STRUCTURE,))
        require_format(report, self._settings, checks)
        require_signature(report, parse_csv_certificate(report.pek, "PEK"), checks)
        require_one_pek(report, _decoded(evidence.pek, "pek", MAX_PEK_TEXT), checks)
        require_serial_number(report, evidence.serial_number, checks)
        chain = self._chain(evidence, report, checks, now)
        require_report_data(report, wanted, checks)
        note_what_is_unsigned(report, checks)
        log = _decoded(evidence.event_log, "event_log", MAX_LOG_TEXT)
        logged = event_log_claims(report, log, self._settings, checks)
        floors = assess(report, self._settings, checks)
        if isinstance(expected, Unbound):
            floors["instance-identity"] = NOT_RECOGNISED
        bound_init_data = _init_data(init_data, floors, checks)
        claims: dict[str, Any] = {
            "csv": csv_claims(report, chain) | logged,
            "report_data": report.report_data.hex(),
            "common": common_claims(report),
        }
        return VerifiedEvidence(
            tee=self.tee,
            evidence_digest=hashlib.sha256(report.signed).hexdigest(),
            claims=claims,
            comparable=("csv",),
            checks=checks.records,
            floors=floors,
            bound=bound_to(expected),
            init_data=bound_init_data,
            endorsements=chain.endorsements,
            identity=chain.identity,
            tee_pubkey=bound_key(expected),
        )

    def _chain(self, evidence: CsvEvidence, report: Report, checks: Checks, now: datetime) -> VerifiedChain:
        hsk, cek = self._hsk_cek(evidence, report, checks, now)
        try:
            chain = self._chain_of(hsk, cek, report.pek)
        except TouchstoneError as error:
            error.checks = (*checks.records, *error.checks)
            raise
        checks.extend(chain.checks)
        return chain

    def _hsk_cek(
        self, evidence: CsvEvidence, report: Report, checks: Checks, now: datetime
    ) -> tuple[bytes, bytes]:
        """HSK and CEK of the evidence; those of the store where it brings none."""
        sent = _decoded(evidence.hsk_cek, "hsk_cek", MAX_CERTIFICATES_TEXT)
        if sent is not None:
            return split_hsk_cek(sent)
        stored = self._endorsements.hsk_cek(report.serial_number, now)
        if stored is None:
            checks.fail(
                "csv.endorsements",
                EndorsementMissing,
                expected="HSK and CEK of the chip",
                observed=report.serial_number,
                source="CoCo: csv/hsk_cek/<serial number>/hsk_cek.cert",
                note="HSK and CEK are neither in the evidence nor in the store",
            )
        return stored

    def _verify_chain(self, hsk: bytes, cek: bytes, pek: bytes) -> VerifiedChain:
        return verify_chain(hsk, cek, pek, self._anchors)


def read_report(evidence: CsvEvidence) -> Report:
    """The report of an evidence document, unverified.

    Raises:
        Malformed, TooLarge: it cannot be parsed.
    """
    data = _decoded(evidence.report, "report", MAX_REPORT_TEXT)
    return parse_report(data or b"", evidence.version)


def split_hsk_cek(data: bytes) -> tuple[bytes, bytes]:
    """HSK and CEK of the form in which Hygon publishes them: one after the other.

    Raises:
        Malformed: another length.
    """
    if len(data) != HSK_CEK_BYTES:
        raise Malformed(f"HSK and CEK have {HSK_CEK_BYTES} bytes together, these have {len(data)}")
    return data[:CA_BYTES], data[CA_BYTES:]


def _decoded(text: str | None, what: str, limit: int) -> bytes | None:
    if text is None:
        return None
    if len(text) > limit:
        raise TooLarge(f"{what} of more than {limit} characters")
    return b64url_decode(text, what=what)


def _init_data(init_data: InitDataClaim | None, floors: dict[str, int], checks: Checks) -> str:
    if init_data is None:
        return "absent"
    checks.warn(
        "csv.init_data",
        source=f"{SOURCE}: no field for it",
        note="CSV does not bind init-data: it is not part of the claims",
    )
    floors["configuration"] = max(floors.get("configuration", 0), _CONFIGURATION_UNAVAILABLE)
    return "unsupported"
