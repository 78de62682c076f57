"""The SEV-SNP verifier: a report, signed by a key that AMD endorses for this chip (or provider) and TCB.

Order: parse; format; chain to a pinned root (cached); the report's signature; dates and revocation at
``now``; TCB and chip; report data; init-data. Each of these raises. Then the settings: failures are
recorded and set engine floors. Then claims.

The report's signature comes before the dates, so that a foreign certificate is called foreign.

Performance: a chain is parsed and verified once per distinct set of certificates (``lru_cache`` on the
exact texts received, which compares them whole); a revocation list once per list and root. Dates and
revocation are judged at every use. What remains per report is one P-384 verification.

Not done here: policy, reference values (``verifier.appraisal``); see docs/verifier.md.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from common.checks import Check, Checks, Verdict
from common.encoding import b64url_decode
from common.errors import Malformed, TouchstoneError
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.errors import CrlInvalid, CrlMissing
from verifier.findings import NOT_RECOGNISED
from verifier.model import Unbound, VerifiedEvidence
from verifier.snp.assessment import Assessment
from verifier.snp.chain import Anchors, VerifiedChain, certificates_of, verify_chain
from verifier.snp.checks import (
    ABI,
    require_chip,
    require_dates,
    require_format,
    require_init_data,
    require_report_data,
    require_signature,
    require_tcb,
)
from verifier.snp.claims import common_claims, snp_claims
from verifier.snp.platform import PlatformTcbs, tcbs_of
from verifier.snp.products import HWID_BYTES, Product, SigningKey
from verifier.snp.report import Report, parse_report
from verifier.snp.revocation import RevocationList, require_not_revoked, verify_list
from wire.evidence import SnpEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from verifier.model import Expectation, InitDataClaim
    from verifier.snp.collateral import SnpCollateral
    from verifier.snp.settings import SnpSettings
    from wire.evidence import Evidence, SnpCertificate

BINDING_SIZE: Final = 64  # REPORT_DATA, filled by SHA-512
_MAX_REPORT_TEXT: Final = 2048  # a report is 1579 characters of base64url
_CACHED_CHAINS: Final = 512
_CACHED_LISTS: Final = 32
_STRUCTURE: Final = Check(
    "snp.report.structure",
    Verdict.PASS,
    expected="1184 bytes, reserved ranges zero",
    source=ABI,
)


class CheckedReport(msgspec.Struct, frozen=True):
    """An authentic report, its chain and what revokes it.

    Attributes:
        report: the report.
        product: product line.
        tcbs: its TCB versions.
        chain: the verified chain.
        crl: the revocation list that was consulted, if any.
        identity: of the chip or the cloud provider, if it is proven.
    """

    report: Report
    product: Product
    tcbs: PlatformTcbs
    chain: VerifiedChain
    crl: RevocationList | None
    identity: str | None

    @property
    def endorsements(self) -> tuple[str, ...]:
        """SHA-256 of each certificate and list relied on, hex."""
        endorsements = self.chain.endorsements
        return endorsements if self.crl is None else (*endorsements, self.crl.sha256)

    @property
    def not_after(self) -> datetime:
        """Earliest expiry of those."""
        not_after = self.chain.not_after
        return not_after if self.crl is None else min(not_after, self.crl.next_update)


class SnpVerifier:
    """Verifies SEV-SNP evidence (``verifier.model.TeeVerifier``).

    Args:
        settings: what the operator decided.
        collateral: revocation lists, and VCEKs that evidence does not carry.
        extra_anchors: ARKs that are trusted besides AMD's (test firmware). Everything they sign counts
            as hardware: the production profile of the service refuses them.

    Raises:
        InvalidSetting: an extra anchor is no ARK, or a pinned certificate was altered.
    """

    def __init__(
        self,
        settings: SnpSettings,
        collateral: SnpCollateral,
        *,
        extra_anchors: Sequence[x509.Certificate] = (),
    ) -> None:
        """Load the anchors."""
        self._settings = settings
        self._collateral = collateral
        self._anchors = Anchors(extra_anchors)
        self._assessment = Assessment(settings)
        self._chain_of = lru_cache(maxsize=_CACHED_CHAINS)(self._verify_chain)
        # Hosts may give a table without a leaf, or an empty one.
        self._table_types = lru_cache(maxsize=_CACHED_CHAINS)(_types_of_table)
        self._list_of = lru_cache(maxsize=_CACHED_LISTS)(self._verify_list)

    @property
    def tee(self) -> str:
        """``snp``."""
        return "snp"

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify evidence at ``now``.

        Raises:
            InputError: the document, the report or the certificate table cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: certificates, their dates or revocation data do not hold.
            UnavailableError: collateral had to be fetched, and its source does not answer.
        """
        if not isinstance(evidence, SnpEvidence):
            raise Malformed("this verifier takes SNP evidence")
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        checks = Checks()
        checked = self.check_report(evidence, wanted, now, checks)
        report = checked.report
        bound_init_data = require_init_data(report, init_data, checks)
        floors = self.assess(checked, checks)
        if isinstance(expected, Unbound):
            floors["instance-identity"] = NOT_RECOGNISED
        claims = {
            "snp": snp_claims(report, checked.product, checked.tcbs, checked.chain),
            "report_data": report.report_data.hex(),
            "common": common_claims(report, checked.product),
        }
        if bound_init_data == "bound":
            claims["init_data"] = report.host_data.hex()
        return VerifiedEvidence(
            tee="snp",
            evidence_digest=hashlib.sha256(report.signed).hexdigest(),
            claims=claims,
            comparable=("snp",),
            checks=checks.records,
            floors=floors,
            bound=bound_to(expected),
            init_data=bound_init_data,
            endorsements=checked.endorsements,
            not_after=checked.not_after,
            identity=checked.identity,
            tee_pubkey=bound_key(expected),
        )

    def check_report(
        self, evidence: SnpEvidence, wanted: bytes | None, now: datetime, checks: Checks
    ) -> CheckedReport:
        """Decide authenticity and binding of a report, for whoever verifies evidence that carries one.

        Args:
            evidence: report and certificates.
            wanted: the 64 bytes of its REPORT_DATA; None for no expectation.
            now: verification time.
            checks: where the checks are recorded.

        Raises:
            as ``verify``.
        """
        report = _parse(evidence)
        checks.extend((_STRUCTURE,))
        slot = require_format(report, self._settings, checks)
        product, _ = slot
        tcbs = tcbs_of(report, product)
        chain = self._chain(evidence, report, slot, checks, now)
        require_signature(report, chain, checks)
        require_dates(chain, now, checks)
        crl = self._require_not_revoked(chain, product, now, checks)
        require_tcb(tcbs, chain, checks)
        identity = require_chip(report, chain, checks)
        require_report_data(report, wanted, checks)
        return CheckedReport(report, product, tcbs, chain, crl, identity)

    def assess(self, checked: CheckedReport, checks: Checks) -> dict[str, int]:
        """Hold an authentic report against the settings; returns the floors that failures set."""
        return self._assessment.assess(checked.report, checked.product, checked.tcbs, checked.chain, checks)

    def _chain(
        self,
        evidence: SnpEvidence,
        report: Report,
        slot: tuple[Product, SigningKey],
        checks: Checks,
        now: datetime,
    ) -> VerifiedChain:
        stored = self._stored_leaf(evidence, report, slot, now)
        try:
            chain = self._chain_of(evidence.certificates, evidence.auxblob, stored, slot)
        except TouchstoneError as error:
            error.checks = (*checks.records, *error.checks)
            raise
        checks.extend(chain.checks)
        return chain

    def _stored_leaf(
        self, evidence: SnpEvidence, report: Report, slot: tuple[Product, SigningKey], now: datetime
    ) -> bytes | None:
        """The VCEK from the collateral, where the evidence brings none.

        A masked chip id names no certificate. VLEKs are not public: they come with the evidence.
        """
        product, kind = slot
        if kind is not SigningKey.VCEK or not any(report.chip_id) or self._brings_leaf(evidence, kind):
            return None
        hardware_id = report.chip_id[: HWID_BYTES[product]]
        return self._collateral.vcek(product, hardware_id, tcbs_of(report, product).reported, now)

    def _brings_leaf(self, evidence: SnpEvidence, kind: SigningKey) -> bool:
        if evidence.auxblob is not None:
            return kind in self._table_types(evidence.auxblob)
        return any(entry.type == kind for entry in evidence.certificates)

    def _verify_chain(
        self,
        certificates: tuple[SnpCertificate, ...],
        auxblob: str | None,
        stored: bytes | None,
        slot: tuple[Product, SigningKey],
    ) -> VerifiedChain:
        product, kind = slot
        found = certificates_of(certificates, auxblob)
        if stored is not None:
            found[str(kind)] = stored
        return verify_chain(found, kind, product, self._anchors)

    def _verify_list(self, data: bytes, anchor: str) -> RevocationList:
        return verify_list(data, self._anchors.by_digest(anchor))

    def _require_not_revoked(
        self, chain: VerifiedChain, product: Product, now: datetime, checks: Checks
    ) -> RevocationList | None:
        data = self._collateral.crl(product, chain.leaf.kind, chain.anchor.sha256, now)
        if data is None:
            if self._settings.revocation == "require":
                checks.fail("snp.crl", CrlMissing, expected=f"a current CRL of ARK-{product}")
            checks.skip("snp.crl", "no revocation list is at hand, and the settings demand none")
            return None
        try:
            crl = self._list_of(data, chain.anchor.sha256)
        except CrlInvalid as error:
            checks.fail("snp.crl", CrlInvalid, expected=f"a CRL of ARK-{product}", note=error.message)
        require_not_revoked(crl, chain, now, checks)
        return crl


def _parse(evidence: SnpEvidence) -> Report:
    if len(evidence.report) > _MAX_REPORT_TEXT:
        raise Malformed("an SNP report has 1184 bytes, this one has more")
    return parse_report(b64url_decode(evidence.report, what="report"))


def _types_of_table(auxblob: str) -> frozenset[str]:
    return frozenset(certificates_of((), auxblob))
