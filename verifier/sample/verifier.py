"""The sample TEE of Confidential Containers: no hardware, no signature, evidence that anybody can make.

It lets the protocol be tried where there is no TEE. The service admits it in the development profile
alone, and ``identity`` is never proven. Evidence: ``{"svn": text, "report_data": base64}``; the other
claims are the constants that the reference verifier reports (attestation-service, ``verifier/src/sample``).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.checks import Checks
from common.encoding import b64_decode, b64_encode
from common.errors import Malformed
from common.runtime_data import fitted
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.errors import ReportDataMismatch
from verifier.model import Unbound, VerifiedEvidence
from wire.evidence import SampleEvidence

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim
    from wire.evidence import Evidence

BINDING_SIZE: Final = 64
_NOT_RECOGNISED: Final = 97
_SOURCE: Final = "CoCo sample attester"


class SampleVerifier:
    """Takes sample evidence (``verifier.model.TeeVerifier``)."""

    @property
    def tee(self) -> str:
        """``sample``."""
        return "sample"

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,  # noqa: ARG002 (nothing here has dates)
    ) -> VerifiedEvidence:
        """Hold the report data against what is expected; there is nothing else to verify.

        Raises:
            Malformed: the report data is not base64, or longer than 64 bytes.
            ReportDataMismatch: it is not what is expected.
        """
        if not isinstance(evidence, SampleEvidence):
            raise Malformed("this verifier takes sample evidence")
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        data = b64_decode(evidence.report_data, what="report_data")
        if len(data) > BINDING_SIZE:
            raise Malformed(f"report_data has {len(data)} bytes, at most {BINDING_SIZE}")
        checks = Checks()
        _require_report_data(data, wanted, checks)
        claims: dict[str, Any] = {
            "sample": {
                "svn": evidence.svn,
                "launch_digest": "abcde",
                "platform_version": {"major": 1, "minor": 4},
                "debug": False,
            },
            "report_data": evidence.report_data,
        }
        if init_data is not None:
            claims["init_data"] = b64_encode(init_data.digest)
        return VerifiedEvidence(
            tee=self.tee,
            evidence_digest=hashlib.sha256(msgspec.json.encode(evidence)).hexdigest(),
            claims=claims,
            comparable=("sample",),
            checks=checks.records,
            floors={"instance-identity": _NOT_RECOGNISED} if isinstance(expected, Unbound) else {},
            bound=bound_to(expected),
            init_data="absent" if init_data is None else "unsupported",
            endorsements=(),
            tee_pubkey=bound_key(expected),
        )


class SampleCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> SampleEvidence:
        """Our document of theirs.

        Raises:
            Malformed: another form.
        """
        try:
            return msgspec.convert(document | {"tee": "sample"}, SampleEvidence)
        except (msgspec.ValidationError, TypeError) as error:
            raise Malformed("the sample evidence is not of the published form") from error

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """The claims: ours are theirs."""
        return verified.claims


def _require_report_data(data: bytes, wanted: bytes | None, checks: Checks) -> None:
    if wanted is None:
        checks.skip("sample.report_data", "no expectation was given", source=_SOURCE)
        return
    checks.require(
        "sample.report_data",
        hmac.compare_digest(fitted(data, BINDING_SIZE), wanted),
        ReportDataMismatch,
        expected=wanted.hex(),
        observed=data.hex(),
        source=_SOURCE,
    )
