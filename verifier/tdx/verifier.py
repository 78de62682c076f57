"""The TDX verifier: a TD's quote, of a platform that Intel endorses, bound and held against the settings.

Order: the quote's authenticity (``verifier.intel.verify``); report data; init-data (MRCONFIGID); the TD's
attributes and identity, held against the settings; status of the platform; event log against the runtime
registers. Each of these raises, except the settings: failures of those are recorded and set engine floors.
Then claims.

Not done here: policy, reference values (``verifier.appraisal``); see docs/verifier-tdx.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.checks import Checks
from common.errors import Malformed
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.ccel import check_event_log
from verifier.findings import NOT_RECOGNISED, Findings
from verifier.intel.checks import require_init_data, require_report_data
from verifier.intel.quote import MAX_QUOTE_BYTES
from verifier.intel.td import TdBody
from verifier.intel.transport import carried_collateral, decoded
from verifier.intel.verify import AuthenticQuote, CheckedQuote, QuoteChecker
from verifier.model import Unbound, VerifiedEvidence
from verifier.tdx.assessment import assess
from verifier.tdx.claims import common_claims, registers, tdx_claims
from verifier.tdx.evidence import TdxEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from verifier.intel.endorsements import FixedEndorsements, IntelEndorsements
    from verifier.intel.quote import Quote
    from verifier.intel.second_opinion import SecondOpinion
    from verifier.model import Expectation, InitDataClaim
    from verifier.tdx.settings import TdxSettings
    from wire.evidence import Evidence

BINDING_SIZE: Final = 64  # REPORTDATA, filled by SHA-512
_MAX_LOG_BYTES: Final = 4 << 20
_FIRST_REGISTER: Final = 1  # a CC event log numbers MRTD 0 and RTMR0 to RTMR3 from 1


class CheckedTdQuote(msgspec.Struct, frozen=True):
    """An authentic quote of a TD.

    Attributes:
        body: the TD's report body.
        checked: quote, chain, collateral, status, digests and dates.
        floors: what failed settings set; the failures are among the records of the checks.
    """

    body: TdBody
    checked: CheckedQuote
    floors: dict[str, int]


class TdxVerifier:
    """Verifies TDX evidence (``verifier.model.TeeVerifier``).

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
        settings: TdxSettings,
        endorsements: IntelEndorsements,
        *,
        extra_anchors: Sequence[x509.Certificate] = (),
        second_opinion: SecondOpinion | None = None,
    ) -> None:
        """Load the anchors."""
        self._settings = settings
        self._checker = QuoteChecker(
            "tdx", settings.versions, settings.platform, endorsements,
            extra_anchors=extra_anchors, second_opinion=second_opinion,
        )  # fmt: skip

    @property
    def tee(self) -> str:
        """``tdx``."""
        return "tdx"

    def check_quote(
        self, quote: bytes, now: datetime, checks: Checks, *, collateral: FixedEndorsements | None = None
    ) -> CheckedTdQuote:
        """Verify a quote by itself, whatever its report data is.

        Args:
            quote: the quote's bytes.
            now: verification time.
            checks: where the checks are recorded, failed settings among them.
            collateral: that came along, used where the verifier's own store has none.

        Raises:
            InputError: it cannot be parsed.
            EvidenceError: not authentic, or of a platform that Intel has no level for.
            EndorsementError: certificates or collateral do not hold.
        """
        return self._judged(self._checker.authenticate(quote, now, checks, collateral), now, checks)

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify evidence at ``now``.

        Raises:
            InputError: the document, the quote or the log cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: certificates, collateral or their dates do not hold.
            UnavailableError: collateral had to be fetched, and its source does not answer.
        """
        if not isinstance(evidence, TdxEvidence):
            raise Malformed("this verifier takes TDX evidence")
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        quote = decoded(evidence.quote, "quote", MAX_QUOTE_BYTES)
        carried = carried_collateral(evidence.collateral)
        checks = Checks()
        authentic = self._checker.authenticate(quote, now, checks, carried)
        body = _body_of(authentic.quote)
        require_report_data(body.report_data, wanted, "tdx", checks)
        bound_init_data = require_init_data(body.mr_config_id, init_data, "tdx.mr_config_id", checks)
        checked = self._judged(authentic, now, checks)
        common = checked.checked
        claims: dict[str, Any] = {
            "tdx": tdx_claims(checked) | _event_log(evidence, body, checks),
            "report_data": body.report_data.hex(),
            "common": common_claims(checked),
        }
        if bound_init_data == "bound":
            claims["init_data"] = body.mr_config_id.hex()
        floors = checked.floors
        if isinstance(expected, Unbound):
            floors = floors | {"instance-identity": NOT_RECOGNISED}
        return VerifiedEvidence(
            tee="tdx",
            evidence_digest=common.digest,
            claims=claims,
            comparable=("tdx",),
            checks=checks.records,
            floors=floors,
            bound=bound_to(expected),
            init_data=bound_init_data,
            endorsements=common.endorsements,
            not_after=common.not_after,
            identity=common.identity,
            tee_pubkey=bound_key(expected),
        )

    def _judged(self, authentic: AuthenticQuote, now: datetime, checks: Checks) -> CheckedTdQuote:
        findings = Findings(checks)
        body = _body_of(authentic.quote)
        assess(body, self._settings, findings)
        return CheckedTdQuote(body, self._checker.judge(authentic, now, findings, checks), findings.floors)


def _body_of(quote: Quote) -> TdBody:
    if not isinstance(quote.body, TdBody):
        raise Malformed("the quote is of an enclave, not of a TD")
    return quote.body


def _event_log(evidence: TdxEvidence, body: TdBody, checks: Checks) -> dict[str, Any]:
    """Claims of the event log; none without one."""
    if evidence.event_log is None:
        if evidence.ima_log is not None:
            raise Malformed("an IMA list goes with an event log")
        checks.skip("tdx.event_log", "no event log came with the evidence")
        return {}
    ima_log = evidence.ima_log
    return check_event_log(
        decoded(evidence.event_log, "event log", _MAX_LOG_BYTES),
        dict(enumerate(registers(body), _FIRST_REGISTER)),
        algorithm="sha384",
        checks=checks,
        name="tdx",
        ima_log=None if ima_log is None else decoded(ima_log, "IMA list", _MAX_LOG_BYTES),
    )
