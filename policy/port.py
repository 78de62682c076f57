"""The policy-engine port: what a policy is, how it is compiled and what evaluating it returns.

Invariants, the same on every engine (``tests/policy`` runs one suite on all of them):

* A policy is compiled once per digest and evaluated many times; nothing is parsed per request.
* The input is one JSON document. Reference values stand in it under ``reference``: an object per name
  the policy mentions, keyed by the value's canonical text (``ReferenceEntry``); a policy never sees
  the whole store. CoCo's ``query_reference_value(name)`` is a shim over the same member. What nobody's
  signature was verified of stands under ``unverified_reference`` instead, for who asks for it by name.
* An entry point that is undefined is *absent* from the result. An evaluation error raises. Callers
  treat both as a denial.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class PolicyKind(StrEnum):
    """What a policy decides; fixes its package and entry points."""

    APPRAISAL = "appraisal"
    RELEASE = "release"
    TRUST = "trust"
    RESOURCE = "resource"


# Rule paths evaluated per kind. The first is required, the others may be undefined.
ENTRY_POINTS: Mapping[PolicyKind, tuple[str, ...]] = {
    # trust_claims: object of AR4SI claim name to integer; extensions: list of {name, key, value}.
    PolicyKind.APPRAISAL: ("data.policy.trust_claims", "data.policy.extensions"),
    # allow: boolean; reasons: set of strings that say why not.
    PolicyKind.RELEASE: ("data.policy.allow", "data.policy.reasons"),
    # allow: boolean; deny: set of strings, each a reason; a non-empty set refuses.
    PolicyKind.TRUST: ("data.trust.allow", "data.trust.deny"),
    # allow: boolean, anything else denies; reasons: set of strings that say why not. Written as for the key
    # broker of Confidential Containers; the input is made by ``policy.documents.resource_input``.
    PolicyKind.RESOURCE: ("data.policy.allow", "data.policy.reasons"),
}


class PolicySource(msgspec.Struct, frozen=True):
    """One Rego module.

    Attributes:
        kind: what it decides.
        text: Rego v1 source, exactly as uploaded: never rewritten.
    """

    kind: PolicyKind
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the UTF-8 source, lower-case hex: the policy's identity."""
        return _digest_of(self.text)


@lru_cache(maxsize=32)  # of at most 1 MiB each
def _digest_of(text: str) -> str:
    # Every decision names its policy: the text of an active one is hashed once.
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


class RuleTrace(msgspec.Struct, frozen=True):
    """One rule clause that took part in a decision.

    Attributes:
        rule: its path (``data.policy.executables``).
        line: 1-based line of the clause's head in the source.
        text: the clause's source text.
        value: what the rule evaluated to (JSON-compatible).
        decided: true for a clause that gave the rule its value; false for the statement at which
            another clause failed (``line`` and ``text`` are the statement's, ``value`` is null).
    """

    rule: str
    line: int
    text: str
    value: Any
    decided: bool = True


class CompiledPolicy(Protocol):
    """A policy ready to evaluate. Thread-safe; survives a fork if unused before it."""

    @property
    def source(self) -> PolicySource:
        """What was compiled."""

    @property
    def reference_names(self) -> frozenset[str]:
        """Every reference name that the policy mentions, found in its syntax tree."""

    @property
    def unverified_names(self) -> frozenset[str]:
        """Every name that the policy mentions under ``input.unverified_reference``."""

    @property
    def input_names(self) -> Mapping[str, frozenset[str] | None]:
        """Members of ``input`` that the policy mentions, each with its members; None: used whole.

        An appraisal policy names every member that it uses (the profile refuses a whole or computed
        ``input``), so that nothing else needs to be sent to the engine.
        """

    def evaluate(self, input_json: bytes) -> Mapping[str, Any]:
        """Evaluate every entry point of the kind.

        Args:
            input_json: the input document, a JSON object in UTF-8.

        Returns:
            Rule path to value; an undefined entry point is absent.

        Raises:
            PolicyEvaluationFailed: the engine reported an error, or is out of its limits.
            PolicyEngineUnavailable: the engine does not answer.
            Malformed: the input is not a JSON object.
        """

    def explain(self, input_json: bytes) -> Sequence[RuleTrace]:
        """The clauses that decided, for an explanation; never used for a decision."""


class PolicyEngine(Protocol):
    """Compiles policies."""

    @property
    def name(self) -> str:
        """``regorus`` or ``opa``."""

    def compile(self, source: PolicySource) -> CompiledPolicy:
        """Check against the profile and compile; cached by digest.

        Raises:
            PolicyRejected: outside the project's Rego profile, wrong package, missing entry point.
            PolicySyntax: not Rego v1.
        """


class ReferenceEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reference value as policies see it: ``input.reference[name][canonical text of value]``.

    Attributes:
        value: the JSON scalar.
        scalar: CoCo registered it as a single value, not as a member of a list.
        group: one of ``groups``.
        groups: names of the releases that hold the value, sorted; a release matches as a whole, so
            values that are compared together must have one in common.
        declared: an administrator's word, which belongs to no release and goes with any.
    """

    value: Any
    scalar: bool = False
    group: str | None = None
    groups: tuple[str, ...] = ()
    declared: bool = False


def canonical_key(value: object) -> str:
    """The text under which a scalar is keyed: strings as they are, others as JSON.

    ``"3"`` and ``3`` share a key on purpose: the entry's ``value`` keeps the type, and the comparison
    in the policy is typed.
    """
    if isinstance(value, str):
        return value
    if value is True or value is False:
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else msgspec.json.encode(value).decode("utf-8")
