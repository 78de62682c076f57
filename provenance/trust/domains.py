"""What several admitted statements about the same artefacts give together. Pure; verifies nothing.

Two questions, each over statements that one trust policy admitted:

* ``agreement``: do enough trust domains, independent of each other by the policy's word, attest the same
  digest? Signers of one domain count once, however many they are and however many statements they made.
* ``missing_predicates``: is every predicate type that the policy requires attested for the artefact?

A statement that names an artefact as the others do and gives it another digest is a *disagreement*: an
error of its own, whatever the count, since one of the builds is not what it says.

Invariants: subjects are compared by their SHA-256, SHA-384 or SHA-512, never by another member of a digest
set; a statement whose signature nobody verified (``unverified``) counts for nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from common.checks import Check, Checks, Verdict
from provenance.errors import DomainsMissing, PredicatesMissing, RebuildersDisagree
from provenance.statement import STRONG_ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provenance.model import AdmittedStatement, Artifact, Subject

_SOURCE: Final = "trust policy, required_domains"


class Vote(msgspec.Struct, frozen=True):
    """Who attests one artefact.

    Attributes:
        digest: of the artefact, hex.
        domains: distinct domains that attest it.
        attestations: the statements that do, by the SHA-256 of their envelope.
    """

    digest: str
    domains: tuple[str, ...]
    attestations: tuple[str, ...]

    @property
    def strength(self) -> int:
        """How many domains it counts for: where the policy names none, all signers are one."""
        return max(len(self.domains), min(len(self.attestations), 1))


class Disagreement(msgspec.Struct, frozen=True):
    """A statement that gives a name another digest.

    Attributes:
        name: of the subject.
        expected: digests of the artefacts that other statements call so.
        observed: digest in this statement.
        attestation: SHA-256 of its envelope.
        domains: of its signers.
    """

    name: str
    expected: tuple[str, ...]
    observed: str
    attestation: str
    domains: tuple[str, ...]


class Agreement(msgspec.Struct, frozen=True):
    """Who agreed, who is missing, who disagreed.

    Attributes:
        required: distinct domains needed, the most that any of the statements demands.
        votes: per artefact, in the order of their digests.
        disagreements: of any statement.
    """

    required: int
    votes: tuple[Vote, ...]
    disagreements: tuple[Disagreement, ...]

    @property
    def missing(self) -> dict[str, int]:
        """Artefacts that too few domains attest, each with the number of domains that it still needs."""
        lacking = {vote.digest: self.required - vote.strength for vote in self.votes}
        return {digest: count for digest, count in lacking.items() if count > 0}

    @property
    def agreed(self) -> bool:
        """Whether every artefact is attested by enough domains and nobody disagrees."""
        return bool(self.votes) and not self.missing and not self.disagreements


def digest_of(subject: Subject) -> str:
    """The digest that a subject is known by: its SHA-256, otherwise its strongest."""
    for algorithm in ("sha256", *STRONG_ALGORITHMS):
        if algorithm in subject.digest:
            return subject.digest[algorithm]
    return ""


def digests_at_hand(artifacts: Sequence[Artifact], admitted: Sequence[AdmittedStatement]) -> frozenset[str]:
    """Digests of the artefacts that any of the statements has as subject.

    Without artefacts: of all subjects of the first statement that something is derived from.
    """
    known = {
        digest
        for item in admitted
        for subject in item.authentic.statement.subjects
        for digest in _strong(subject)
    }
    found: set[str] = set()
    for artifact in artifacts:
        digests = (hashlib.new(name, artifact.data).hexdigest() for name in STRONG_ALGORITHMS)
        found.update(tuple(digest for digest in digests if digest in known)[:1])
    if artifacts:
        return frozenset(found)
    first = next((item for item in admitted if not item.supporting), None)
    return frozenset() if first is None else frozenset(map(digest_of, first.authentic.statement.subjects))


def agreement(admitted: Sequence[AdmittedStatement], digests: frozenset[str]) -> Agreement:
    """Who attests the artefacts with these digests.

    Args:
        admitted: statements that one trust policy admitted.
        digests: of the artefacts at hand, lower-case hex.
    """
    counted = [item for item in admitted if not item.authentic.unverified and not item.supporting]
    votes = tuple(_vote(counted, digest) for digest in sorted(digests))
    return Agreement(
        required=max((item.required_domains for item in admitted), default=1),
        votes=votes,
        disagreements=tuple(_disagreements(counted, digests)),
    )


def require_agreement(found: Agreement) -> tuple[Check, ...]:
    """Demand agreement; the records of it.

    Raises:
        RebuildersDisagree: a statement gives one of the artefacts another digest.
        DomainsMissing: too few domains attest an artefact.
    """
    checks = Checks()
    require_no_disagreement(found, checks)
    for vote in found.votes:
        checks.require(
            "trust.domains",
            vote.strength >= found.required,
            DomainsMissing,
            expected=f"{found.required} trust domains",
            observed={"sha256": vote.digest, "domains": list(vote.domains)},
            source=_SOURCE,
            note=_counted(vote, found.required),
        )
    return checks.records


def require_no_disagreement(found: Agreement, checks: Checks) -> None:
    """Demand that nobody disagrees; whether enough agree is left open.

    Raises:
        RebuildersDisagree: a statement gives one of the artefacts another digest.
    """
    for item in found.disagreements:
        checks.fail(
            "trust.disagreement",
            RebuildersDisagree,
            expected={item.name: list(item.expected)},
            observed={item.name: item.observed, "attestation": item.attestation},
            source=_SOURCE,
            note=(
                f"{item.name!a} is {', '.join(item.expected)} to other builds and {item.observed} to"
                f" {' and '.join(item.domains) or 'no domain'} (attestation {item.attestation})"
            ),
        )
    checks.extend((Check("trust.disagreement", Verdict.PASS, "none", "none", _SOURCE),))


def missing_predicates(
    admitted: Sequence[AdmittedStatement], digests: frozenset[str], required: Iterable[str]
) -> Mapping[str, tuple[str, ...]]:
    """Predicate types that are required and that nobody attests, per artefact; empty where none lacks."""
    counted = [item for item in admitted if not item.authentic.unverified]
    missing: dict[str, tuple[str, ...]] = {}
    for digest in sorted(digests):
        present = {item.authentic.statement.predicate_type for item in _about(counted, digest)}
        lacking = tuple(sorted(set(required) - present))
        if lacking:
            missing[digest] = lacking
    return missing


def require_predicates(
    admitted: Sequence[AdmittedStatement], digests: frozenset[str], required: Sequence[str]
) -> tuple[Check, ...]:
    """Demand every required predicate type for every artefact; the record of it, if any is required.

    Raises:
        PredicatesMissing: naming the artefacts and what each lacks.
    """
    if not required:
        return ()
    missing = missing_predicates(admitted, digests, required)
    checks = Checks()
    checks.require(
        "trust.required_predicates",
        bool(digests) and not missing,
        PredicatesMissing,
        expected=sorted(required),
        observed={digest: {"missing": list(types)} for digest, types in missing.items()},
        source="trust policy, required_predicates",
        note="; ".join(f"{digest} lacks {', '.join(types)}" for digest, types in missing.items())
        or ("" if digests else "no artefact is named for which they could be attested"),
    )
    return checks.records


def together(
    admitted: AdmittedStatement, others: Sequence[AdmittedStatement], artifacts: Sequence[Artifact]
) -> AdmittedStatement:
    """The statement with what others about the same artefacts give it: nothing more is required of it.

    Args:
        admitted: what values are to be derived from.
        others: admitted by the same policy; supporting ones, and other builds of the same.
        artifacts: the artefacts at hand.

    Raises:
        RebuildersDisagree: they name one artefact and give it different digests.
        PredicatesMissing: an artefact lacks a predicate type that the policy requires.
    """
    everything = (admitted, *others)
    digests = digests_at_hand(artifacts, everything)
    checks = Checks()
    checks.extend(admitted.checks)
    if others:
        require_no_disagreement(agreement(everything, digests), checks)
    checks.extend(require_predicates(everything, digests, admitted.required_predicates))
    return msgspec.structs.replace(admitted, checks=checks.records, required_predicates=())


def _strong(subject: Subject) -> frozenset[str]:
    # Other algorithms' values are the signer's free text: one could repeat another artefact's SHA-256.
    return frozenset(subject.digest[name] for name in STRONG_ALGORITHMS if name in subject.digest)


def _about(admitted: Iterable[AdmittedStatement], digest: str) -> list[AdmittedStatement]:
    return [
        item
        for item in admitted
        if any(digest in _strong(subject) for subject in item.authentic.statement.subjects)
    ]


def _vote(admitted: Sequence[AdmittedStatement], digest: str) -> Vote:
    about = _about(admitted, digest)
    return Vote(
        digest=digest,
        domains=tuple(sorted({domain for item in about for domain in item.domains})),
        attestations=tuple(dict.fromkeys(item.authentic.attestation for item in about)),
    )


def _disagreements(
    admitted: Sequence[AdmittedStatement], digests: frozenset[str]
) -> Iterable[Disagreement]:
    named: dict[str, set[str]] = {}
    for item in admitted:
        for subject in item.authentic.statement.subjects:
            if subject.name and digests & _strong(subject):
                named.setdefault(subject.name, set()).update(digests & _strong(subject))
    for item in admitted:
        for subject in item.authentic.statement.subjects:
            expected = named.get(subject.name)
            if expected is not None and not digests & _strong(subject):
                yield Disagreement(
                    name=subject.name,
                    expected=tuple(sorted(expected)),
                    observed=digest_of(subject),
                    attestation=item.authentic.attestation,
                    domains=item.domains,
                )


def _counted(vote: Vote, required: int) -> str:
    who = ", ".join(vote.domains) or ("one party" if vote.attestations else "nobody")
    missing = required - vote.strength
    if missing <= 0:
        return f"{vote.digest} is attested by {who}"
    return f"{vote.digest} is attested by {who}; {missing} more independent of them needed"
