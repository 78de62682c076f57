"""Runs ``tdx`` and ``sgx`` cases, and mutations of them, on the verifiers of Intel's TEEs.

What a case does not state is taken so that only what it is about decides:

* collateral is the case's, verified at the case's time; without a time, at one when nothing is in force;
* the quote must carry the case's ``report_data``; where that is all zero, nothing is expected;
* every TCB status but ``Revoked`` is accepted, and must be the one that the manifest states, with its
  advisories and evaluation number; attributes are judged by the default settings, except that any service
  TD is accepted, and any owner.

An event log is held against the registers after the quote was judged by itself; the manifest states apart
what becomes of it. dcap-qvl is asked about every quote, where it is installed: the two must agree.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.checks import Verdict
from common.encoding import b64url_encode, hex_decode
from common.errors import DependencyMissing, TouchstoneError
from service.conformance.case_files import CaseFiles
from service.conformance.evidence import judged, raise_failed
from service.conformance.intel_claims import differing_claims
from verifier import errors
from verifier.intel.endorsements import FixedEndorsements
from verifier.intel.quote import parse_quote
from verifier.intel.second_opinion import DcapQvl
from verifier.intel.settings import PlatformSettings
from verifier.intel.status import TcbStatus
from verifier.intel.td import TdBody
from verifier.model import ReportDataBinding, Unbound
from verifier.sgx.evidence import SgxEvidence
from verifier.sgx.settings import SgxSettings
from verifier.sgx.verifier import BINDING_SIZE, SgxVerifier
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome
    from verifier.intel.second_opinion import SecondOpinion
    from verifier.model import Expectation, VerifiedEvidence

KINDS: Final = ("tdx", "sgx")
_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
# Error code to the classes of the manifest that it stands for in these cases.
_MORE_CLASSES: Final[Mapping[str, frozenset[str]]] = {
    errors.CollateralInvalid.code: frozenset({"collateral_signature_invalid"}),
    errors.CollateralExpired.code: frozenset({"collateral_expired"}),
    errors.CollateralMismatch.code: frozenset({"collateral_mismatch"}),
    errors.CollateralRolledBack.code: frozenset({"collateral_expired"}),
    errors.TcbNotSupported.code: frozenset({"tcb_not_supported"}),
    errors.TcbStatusRefused.code: frozenset(
        {"tcb_out_of_date", "tcb_configuration_and_sw_hardening_needed"}
    ),
}


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""

    def body(differing: list[str]) -> str:
        return _run(case, folder, differing)

    return judged(case, body, _MORE_CLASSES)


def _run(case: Mapping[str, Any], folder: Path, differing: list[str]) -> str:
    files = CaseFiles(case, folder)
    tee = str(files.case["tee"])
    quote = files.read("evidence")
    verified = _verified(files, tee, quote, None)
    differing += differing_claims(files.case.get("expect", {}), verified.claims[tee])
    raise_failed(verified)
    if files.has("eventlog"):
        _verified(files, tee, quote, files.read("eventlog"))
    return ""


def _verified(files: CaseFiles, tee: str, quote: bytes, log: bytes | None) -> VerifiedEvidence:
    """Verify; of what failed before a refusal, that the TD or enclave can be debugged comes first."""
    evidence: SgxEvidence | TdxEvidence
    verifier: SgxVerifier | TdxVerifier
    collateral = FixedEndorsements()
    if files.has("collateral"):
        collateral = FixedEndorsements.from_json(files.read("collateral"))
    if tee == "sgx":
        verifier = SgxVerifier(SgxSettings(platform=_PLATFORM), collateral, second_opinion=_second())
        evidence = SgxEvidence(quote=b64url_encode(quote))
    else:
        verifier = TdxVerifier(_tdx_settings(quote), collateral, second_opinion=_second())
        evidence = TdxEvidence(
            quote=b64url_encode(quote), event_log=None if log is None else b64url_encode(log)
        )
    try:
        return verifier.verify(evidence, _expectation(files.case), None, _time(files.case))
    except TouchstoneError as error:
        debug = next((check for check in error.checks if _says_debug(check.verdict, check.code)), None)
        if debug is not None:
            raise errors.DebugEnabled(f"{debug.name}: {debug.observed!r}") from error
        raise


_PLATFORM: Final = PlatformSettings(tcb_statuses=frozenset(TcbStatus) - {TcbStatus.REVOKED})


def _tdx_settings(quote: bytes) -> TdxSettings:
    """The defaults, except that the TD's own service TDs and owners are named."""
    try:
        body = parse_quote(quote).body
    except TouchstoneError:
        return TdxSettings(platform=_PLATFORM)
    if not isinstance(body, TdBody):
        return TdxSettings(platform=_PLATFORM)
    named = {"mr_owners": body.mr_owner, "mr_owner_configs": body.mr_owner_config}
    if body.mr_servicetd is not None and any(body.mr_servicetd):
        named["service_tds"] = body.mr_servicetd
    return msgspec.structs.replace(
        TdxSettings(platform=_PLATFORM), **{name: frozenset({value}) for name, value in named.items()}
    )


def _second() -> SecondOpinion | None:
    try:
        return DcapQvl()
    except DependencyMissing:
        return None


def _says_debug(verdict: Verdict, code: str | None) -> bool:
    return verdict is Verdict.FAIL and code == errors.DebugEnabled.code


def _time(case: Mapping[str, Any]) -> datetime:
    text = str(case.get("verification_time", "any"))
    return _ANY_TIME if text == "any" else datetime.fromisoformat(text)


def _expectation(case: Mapping[str, Any]) -> Expectation:
    data = hex_decode(str(case.get("report_data", "")), what="report_data")
    if not any(data):
        return Unbound()
    # A manifest may leave out trailing zeros; what is longer than the field stays longer and is refused.
    return ReportDataBinding(data.ljust(BINDING_SIZE, b"\0"))
