"""Verifying made quotes, in one line."""

from __future__ import annotations

from typing import Any

from common.encoding import b64url_encode
from testkit.intel_platform import IntelPlatform
from verifier.intel.endorsements import FixedEndorsements
from verifier.intel.settings import PlatformSettings
from verifier.intel.status import TcbStatus
from verifier.model import Expectation, ReportDataBinding, VerifiedEvidence
from verifier.sgx.evidence import SgxEvidence
from verifier.sgx.settings import SgxSettings
from verifier.sgx.verifier import SgxVerifier
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier

REPORT_DATA = bytes(range(64))
BOUND = ReportDataBinding(REPORT_DATA)
ALL = frozenset(TcbStatus) - {TcbStatus.REVOKED}


def verify_td(
    platform: IntelPlatform,
    quote: bytes | None = None,
    *,
    endorsements: FixedEndorsements | None = None,
    expected: Expectation = BOUND,
    changes: dict[str, Any] | None = None,
    init_data: Any = None,
    now: Any = None,
    **settings: Any,
) -> VerifiedEvidence:
    verifier = TdxVerifier(
        TdxSettings(platform=PlatformSettings(**(changes or {})), **settings),
        endorsements or platform.endorsements(),
        extra_anchors=(platform.root,),
    )
    evidence = TdxEvidence(quote=b64url_encode(platform.td_quote() if quote is None else quote))
    return verifier.verify(evidence, expected, init_data, now or platform.now)


def verify_enclave(
    platform: IntelPlatform,
    quote: bytes | None = None,
    *,
    endorsements: FixedEndorsements | None = None,
    expected: Expectation = BOUND,
    changes: dict[str, Any] | None = None,
    init_data: Any = None,
    **settings: Any,
) -> VerifiedEvidence:
    verifier = SgxVerifier(
        SgxSettings(platform=PlatformSettings(**(changes or {})), **settings),
        endorsements or platform.endorsements("sgx"),
        extra_anchors=(platform.root,),
    )
    evidence = SgxEvidence(quote=b64url_encode(platform.sgx_quote() if quote is None else quote))
    return verifier.verify(evidence, expected, init_data, platform.now)


def failed(verified: VerifiedEvidence) -> list[str]:
    """Names of the failed checks."""
    return [check.name for check in verified.checks if check.verdict == "fail"]
