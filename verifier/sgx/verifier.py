"""The SGX verifier: an enclave's quote, of an endorsed platform, bound and held against the settings.

Order: the quote's authenticity (``verifier.intel.verify``); report data; init-data (CONFIGID); the
enclave's attributes and identity, held against the settings; status of the platform. Each of these raises,
except the settings: failures of those are recorded and set engine floors. Then claims.

Not done here: policy, reference values (``verifier.appraisal``); see docs/verifier-sgx.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.checks import Checks
from common.errors import Malformed
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.findings import NOT_RECOGNISED, Findings
from verifier.intel.checks import require_init_data, require_report_data
from verifier.intel.enclave import EnclaveReport
from verifier.intel.quote import MAX_QUOTE_BYTES
from verifier.intel.transport import carried_collateral, decoded
from verifier.intel.verify import QuoteChecker
from verifier.model import Unbound, VerifiedEvidence
from verifier.sgx.assessment import assess
from verifier.sgx.claims import common_claims, sgx_claims
from verifier.sgx.evidence import SgxEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from verifier.intel.endorsements import IntelEndorsements
    from verifier.intel.quote import Quote
    from verifier.intel.second_opinion import SecondOpinion
    from verifier.model import Expectation, InitDataClaim
    from verifier.sgx.settings import SgxSettings
    from wire.evidence import Evidence

BINDING_SIZE: Final = 64  # REPORTDATA, filled by SHA-512


class SgxVerifier:
    """Verifies SGX evidence (``verifier.model.TeeVerifier``).

    Args:
        settings: what the operator decided.
        endorsements: where Intel's collateral comes from.
        extra_anchors: roots that are trusted besides Intel's, see ``QuoteChecker``.
        second_opinion: the second implementation; of the settings by default.

    Raises:
        InvalidSetting: an extra anchor is no root, or the pinned certificate was altered.
        DependencyMissing: the second opinion is wanted, and dcap-qvl is not installed.
    """

    def __init__(
        self,
        settings: SgxSettings,
        endorsements: IntelEndorsements,
        *,
        extra_anchors: Sequence[x509.Certificate] = (),
        second_opinion: SecondOpinion | None = None,
    ) -> None:
        """Load the anchors."""
        self._settings = settings
        self._checker = QuoteChecker(
            "sgx", settings.versions, settings.platform, endorsements,
            extra_anchors=extra_anchors, second_opinion=second_opinion,
        )  # fmt: skip

    @property
    def tee(self) -> str:
        """``sgx``."""
        return "sgx"

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify evidence at ``now``.

        Raises:
            InputError: the document or the quote cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: certificates, collateral or their dates do not hold.
            UnavailableError: collateral had to be fetched, and its source does not answer.
        """
        if not isinstance(evidence, SgxEvidence):
            raise Malformed("this verifier takes SGX evidence")
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        quote = decoded(evidence.quote, "quote", MAX_QUOTE_BYTES)
        carried = carried_collateral(evidence.collateral)
        checks = Checks()
        authentic = self._checker.authenticate(quote, now, checks, carried)
        report = _report_of(authentic.quote)
        require_report_data(report.report_data, wanted, "sgx", checks)
        bound_init_data = require_init_data(report.config_id, init_data, "sgx.config_id", checks)
        findings = Findings(checks)
        assess(report, self._settings, findings)
        checked = self._checker.judge(authentic, now, findings, checks)
        claims: dict[str, Any] = {
            "sgx": sgx_claims(checked, report),
            "report_data": report.report_data.hex(),
            "common": common_claims(checked, report),
        }
        if bound_init_data == "bound":
            claims["init_data"] = report.config_id.hex()
        floors = findings.floors
        if isinstance(expected, Unbound):
            floors = floors | {"instance-identity": NOT_RECOGNISED}
        return VerifiedEvidence(
            tee="sgx",
            evidence_digest=checked.digest,
            claims=claims,
            comparable=("sgx",),
            checks=checks.records,
            floors=floors,
            bound=bound_to(expected),
            init_data=bound_init_data,
            endorsements=checked.endorsements,
            not_after=checked.not_after,
            identity=checked.identity,
            tee_pubkey=bound_key(expected),
        )


def _report_of(quote: Quote) -> EnclaveReport:
    if not isinstance(quote.body, EnclaveReport):
        raise Malformed("the quote is of a TD, not of an enclave")
    return quote.body
