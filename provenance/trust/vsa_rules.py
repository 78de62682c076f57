"""What a trust policy expects of verification summaries, member ``vsas``; nothing without one.

A VSA is admitted if one entry of ``vsas`` fits as a whole: verifier and signer as a pair, resource, levels,
kind of subject, age. Order of the checks, each with its own code: result -> verifier and signer -> resource
-> levels -> subjects -> time. An entry that fell out at one check does not count at the next, so that no
two entries complete each other.

* A result other than PASSED is refused whatever the policy says.
* Verifier ids and signers are exact; resources are globs in which ``*`` does not cross ``/``.
* A subject that has an identifier instead of a digest (a cloud's disk image) counts only where the entry
  names that kind of identifier.

Source: slsa.dev/spec/v1.1/verification_summary; slsa.dev/spec/v1.0/verifying-artifacts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from provenance import statement as in_toto
from provenance.errors import (
    ResourceUnexpected,
    StatementMalformed,
    TrustPolicyInvalid,
    TrustRefused,
    VerificationNotPassed,
    VerifiedLevelTooLow,
    VerifierUntrusted,
)
from provenance.predicates import source, vsa
from provenance.steps import step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from common.checks import Checks
    from common.errors import TouchstoneError
    from provenance.model import Statement
    from provenance.predicates.vsa import Summary
    from provenance.trust.model import TrustDocument, TrustedVerification

_SPEC: Final = "slsa.dev/spec/v1.1/verification_summary"
_POLICY: Final = "trust policy, vsas"
# As for signing times: clocks differ.
CLOCK_SKEW: Final = timedelta(minutes=10)


def check(document: TrustDocument) -> None:
    """Check ``vsas`` of a policy.

    Raises:
        TrustPolicyInvalid: an entry that expects nothing, a level of no known track, a signer that the
            policy does not have, or summaries admitted without an entry.
    """
    if not document.vsas and set(document.predicate_types) & set(vsa.VSA_TYPES):
        raise TrustPolicyInvalid("verification summaries need an entry of vsas: alone they say nothing")
    signers = {signer.name for signer in document.signers}
    for item in document.vsas:
        if not all((item.verifiers, item.resources, item.levels)):
            raise TrustPolicyInvalid("an entry of vsas needs verifiers, resources and levels")
        if any(not text or "*" in text for text in item.verifiers):
            raise TrustPolicyInvalid("a verifier id is exact, no glob")
        if any(not text.replace("*", "").strip("/:@.") for text in item.resources):
            raise TrustPolicyInvalid("a resource would match everything")
        for level in item.levels:
            if not vsa.is_level(level):
                raise TrustPolicyInvalid(f"{level[:64]!a} is no level of a known track")
        if not set(item.signers) <= signers:
            raise TrustPolicyInvalid("an entry of vsas names a signer that the policy does not have")
        if item.max_age_seconds is not None and item.max_age_seconds < 1:
            raise TrustPolicyInvalid("max_age_seconds of vsas is not positive")


def require(
    statement: Statement, speakers: Iterable[str], document: TrustDocument, now: datetime, checks: Checks
) -> Summary | None:
    """Hold a verification summary against the policy; None for another predicate type.

    Args:
        statement: the authentic statement.
        speakers: names of the policy's signers that signed it.
        document: the policy.
        now: aware UTC, for the time of verification.
        checks: where the records go.

    Raises:
        PredicateUnexpected: the predicate is not of its type's schema.
        VerificationNotPassed: its result.
        VerifierUntrusted: its verifier, or signed by another.
        ResourceUnexpected: its resource.
        VerifiedLevelTooLow: its levels.
        StatementMalformed: a subject without a strong digest.
        TrustRefused: verified too long ago, or in the future.
    """
    with step(checks, "vsa.shape", source=_SPEC):
        summary = vsa.summary_of(statement)
    if summary is None:
        return None
    checks.require(
        "vsa.result",
        summary.result == vsa.PASSED and vsa.FAILED not in summary.levels,
        VerificationNotPassed,
        expected=vsa.PASSED,
        observed=summary.result,
        source=f"{_SPEC}, verificationResult",
    )
    _Entries(document.vsas, checks).narrow(summary, statement, frozenset(speakers), now)
    return summary


class _Entries:
    """The entries that still fit; each check leaves fewer."""

    def __init__(self, entries: Sequence[TrustedVerification], checks: Checks) -> None:
        self._entries = list(entries)
        self._checks = checks

    def narrow(
        self, summary: Summary, statement: Statement, speakers: frozenset[str], now: datetime
    ) -> None:
        self._keep(
            "vsa.verifier",
            lambda item: (
                summary.verifier in item.verifiers
                and bool(speakers)
                and (not item.signers or speakers <= set(item.signers))
            ),
            VerifierUntrusted,
            lambda item: {"verifiers": list(item.verifiers), "signers": list(item.signers)},
            {"verifier": summary.verifier[:512], "signers": sorted(speakers)},
        )
        self._keep(
            "vsa.resource",
            lambda item: any(source.glob_matches(glob, summary.resource) for glob in item.resources),
            ResourceUnexpected,
            lambda item: list(item.resources),
            summary.resource[:512],
        )
        self._keep(
            "vsa.levels",
            lambda item: all(vsa.reaches(summary.levels, level) for level in item.levels),
            VerifiedLevelTooLow,
            lambda item: list(item.levels),
            [level[:64] for level in summary.levels[:16]],
        )
        self._keep(
            "vsa.subjects",
            lambda item: all(
                set(subject.digest) & {*in_toto.STRONG_ALGORITHMS, *item.identifiers}
                for subject in statement.subjects
            ),
            StatementMalformed,
            lambda item: [*in_toto.STRONG_ALGORITHMS, *item.identifiers],
            sorted({name[:64] for subject in statement.subjects for name in subject.digest})[:16],
        )
        self._keep(
            "vsa.time",
            lambda item: (
                summary.time <= now + CLOCK_SKEW
                and (
                    item.max_age_seconds is None
                    or now - summary.time <= timedelta(seconds=item.max_age_seconds)
                )
            ),
            TrustRefused,
            lambda item: {"now": now.isoformat(), "max_age_seconds": item.max_age_seconds},
            summary.time.isoformat(),
        )

    def _keep(
        self,
        name: str,
        fits: Callable[[TrustedVerification], bool],
        error: type[TouchstoneError],
        expected: Callable[[TrustedVerification], object],
        observed: object,
    ) -> None:
        before = [expected(item) for item in self._entries]
        self._entries = [item for item in self._entries if fits(item)]
        self._checks.require(
            name,
            bool(self._entries),
            error,
            expected=before,
            observed=observed,
            source=_POLICY,
        )
