"""What the runners of evidence cases share: the manifest's error classes, and how an outcome is judged.

A failed expectation of the settings (debug, migration, privilege level) refuses here as a failed signature
does. A refusal agrees when its code stands for one of the error classes that the manifest accepts; an
acceptance agrees when also every claim that the manifest states is what the verifier read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.checks import Verdict
from common.errors import DuplicateKey, Malformed, TooLarge, TouchstoneError, UnknownField, registry
from service.conformance.case_files import UnknownOperation
from service.conformance.outcome import FAIL, PASS, Outcome, case_id, unsupported
from verifier import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from verifier.model import VerifiedEvidence

# Results of the manifest that mean "verified"; the second one with a TCB status that is not up to date.
_VERIFIED: Final = frozenset({PASS, "pass_with_tcb_status"})
_CRL_CLASSES: Final = frozenset({"crl_missing_or_invalid"})
# Stable error code to the classes of the evidence manifest that it stands for.
_CLASSES: Final[Mapping[str, frozenset[str]]] = {
    Malformed.code: frozenset({"parse_error"}),
    TooLarge.code: frozenset({"parse_error"}),
    UnknownField.code: frozenset({"parse_error"}),
    DuplicateKey.code: frozenset({"parse_error"}),
    errors.UnsupportedEvidence.code: frozenset({"unsupported_format"}),
    errors.SignatureInvalid.code: frozenset({"signature_invalid", "tpm_signature_invalid"}),
    errors.ReportDataMismatch.code: frozenset({"report_data_mismatch", "nonce_mismatch"}),
    errors.InitDataMismatch.code: frozenset({"binding_mismatch", "policy_violation"}),
    errors.DebugEnabled.code: frozenset({"debug_enabled"}),
    errors.PolicyViolation.code: frozenset({"policy_violation"}),
    errors.TcbBelowFloor.code: frozenset({"tcb_out_of_date"}),
    errors.TcbMismatch.code: frozenset({"tcb_mismatch"}),
    errors.ChipIdMismatch.code: frozenset({"hwid_mismatch"}),
    errors.PcrMismatch.code: frozenset({"pcr_digest_mismatch"}),
    errors.EventLogMismatch.code: frozenset({"eventlog_mismatch"}),
    errors.AttestationKeyUntrusted.code: frozenset({"chain_untrusted_root"}),
    errors.CertificateInvalid.code: frozenset({"chain_invalid"}),
    errors.RootUntrusted.code: frozenset({"chain_untrusted_root"}),
    errors.CertificateExpired.code: frozenset({"cert_expired"}),
    errors.CertificateNotYetValid.code: frozenset({"cert_not_yet_valid"}),
    errors.CertificateRevoked.code: frozenset({"cert_revoked"}),
    errors.CrlMissing.code: _CRL_CLASSES,
    errors.CrlExpired.code: _CRL_CLASSES | {"collateral_expired"},
    errors.CrlInvalid.code: _CRL_CLASSES,
    errors.EndorsementMissing.code: frozenset({"collateral_missing", "chain_invalid"}),
}


def error_classes(error: TouchstoneError) -> frozenset[str]:
    """The manifest's error classes that an error's code stands for."""
    return _CLASSES.get(error.code, frozenset())


def expected_of(case: Mapping[str, Any]) -> str:
    """``pass`` or ``fail``, as the manifest expects it."""
    return PASS if case.get("expect", {}).get("result") in _VERIFIED else FAIL


def judged(
    case: Mapping[str, Any],
    body: Callable[[list[str]], str],
    more_classes: Mapping[str, frozenset[str]] | None = None,
) -> Outcome:
    """The outcome of a case.

    Args:
        case: the manifest's record.
        body: verifies; gives one line for a reader and raises what is refused. It is handed a list to
            which it adds the names of claims that are not as the manifest states them.
        more_classes: error code to further classes that it stands for in cases of this kind.
    """
    kind, expected = str(case.get("tee")), expected_of(case)
    differing: list[str] = []
    try:
        detail = body(differing)
    except UnknownOperation as error:
        return unsupported(case, kind, expected, error.message)
    except TouchstoneError as error:
        return _refused(case, error, differing, more_classes or {})
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # The case, not its evidence: verifiers raise nothing but our own errors.
        detail = f"the case cannot be read ({type(error).__name__})"
        return Outcome(case_id(case), kind, expected, FAIL, Malformed.code, agree=False, detail=detail)
    agree = expected == PASS and not differing
    return Outcome(case_id(case), kind, expected, PASS, None, agree, _difference(differing) or detail)


def raise_failed(verified: VerifiedEvidence) -> None:
    """Raise what a failed expectation stands for: debug first, then the first that failed."""
    failed = [check for check in verified.checks if check.verdict is Verdict.FAIL]
    if failed:
        worst = next((check for check in failed if check.code == errors.DebugEnabled.code), failed[0])
        raise registry()[str(worst.code)](worst.note or f"{worst.name}: {worst.observed!r}")


def _difference(differing: list[str]) -> str:
    return f"claims differ: {', '.join(differing)}" if differing else ""


def _refused(
    case: Mapping[str, Any],
    error: TouchstoneError,
    differing: list[str],
    more_classes: Mapping[str, frozenset[str]],
) -> Outcome:
    expect, expected = case.get("expect", {}), expected_of(case)
    accepted = {expect.get("error"), *expect.get("error_any", ())} - {None}
    known = bool(accepted & (error_classes(error) | more_classes.get(error.code, frozenset())))
    detail = error.message if known else f"{error.message} (manifest: {expect.get('error')})"
    return Outcome(
        id=case_id(case),
        type=str(case.get("tee")),
        expected=expected,
        got=FAIL,
        code=error.code,
        agree=expected == FAIL and known and not differing,
        detail=_difference(differing) or detail,
    )
