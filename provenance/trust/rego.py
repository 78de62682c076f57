"""The Rego of a trust policy: the document it sees, and how its answer is read.

It runs after the fixed rules and can only refuse: ``allow`` that is undefined, not true, or accompanied
by any ``deny`` is a refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from policy.errors import PolicyResultInvalid
from provenance.errors import TrustRefused
from provenance.predicates.contents import Contents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy.port import CompiledPolicy
    from provenance.model import AuthenticStatement, Signer
    from provenance.predicates.github import Origin
    from provenance.predicates.slsa import BuildFacts
    from provenance.trust import TrustPolicy
    from provenance.trust.model import TrustedSigner
    from provenance.trust.rules import Rules

_ALLOW: Final = "data.trust.allow"
_DENY: Final = "data.trust.deny"


class Found(NamedTuple):
    """What the fixed rules found of a statement.

    Attributes:
        authentic: the statement.
        trusted: signers that count, each with its entry in the policy.
        facts: of the predicate; None where it is not provenance.
        origin: where it comes from, as bound to the signer.
        level: of the builder in the policy.
        workflow: path in the built repository.
        contents: of a bill of materials or an attribute report.
    """

    authentic: AuthenticStatement
    trusted: Sequence[tuple[Signer, TrustedSigner]]
    facts: BuildFacts | None
    origin: Origin
    level: int | None
    workflow: str | None
    contents: Contents = Contents()


def input_document(found: Found, trust: TrustPolicy, rules: Rules) -> bytes:
    """The document that a policy of kind ``trust`` sees; docs/trust-policy.md describes it."""
    authentic, trusted, facts, origin, level, workflow, contents = found
    now = rules.now
    statement = authentic.statement
    age = None if authentic.log_time is None else int((now - authentic.log_time).total_seconds())
    value: dict[str, Any] = {
        "attestation": authentic.attestation,
        "statement": {
            "type": statement.type,
            "predicate_type": statement.predicate_type,
            "subjects": [{"name": item.name, "digest": item.digest} for item in statement.subjects],
            "predicate": statement.predicate,
        },
        "signers": [
            {
                "name": item.name,
                "kind": signer.kind,
                "root": signer.root,
                "identity": signer.identity,
                "issuer": signer.issuer,
                "claims": signer.claims,
                "domain": item.domain,
            }
            for signer, item in trusted
        ],
        "build": None if facts is None else msgspec.to_builtins(facts),
        "components": msgspec.to_builtins(contents.components),
        "attributes": None if contents.report is None else msgspec.to_builtins(contents.report.attributes),
        "producer": None if contents.report is None else msgspec.to_builtins(contents.report.producer),
        "origin": {
            "builder": origin.builder,
            "source_uri": origin.source_uri,
            "source_ref": origin.source_ref,
            "source_revision": origin.source_revision,
            "branch": origin.branch,
            "workflow": workflow,
            "proven": origin.proven,
        },
        "level": level,
        "environment": trust.environment,
        "policy": {"name": trust.name, "digest": trust.digest, "serial": trust.document.serial},
        "exceptions": [{"name": item.name, "rules": list(item.rules)} for item in rules.standing],
        "log": {
            "index": authentic.log_index,
            "time": None if authentic.log_time is None else authentic.log_time.isoformat(),
            "age_seconds": age,
        },
        "now": now.isoformat(),
    }
    return msgspec.json.encode(value)


def require(rego: CompiledPolicy, document: bytes, rules: Rules) -> None:
    """Evaluate and refuse unless allowed.

    Raises:
        TrustRefused: ``allow`` is not true, or ``deny`` has a member.
        PolicyResultInvalid: ``deny`` is not a set of strings.
        PolicyEvaluationFailed: evaluation failed.
        PolicyEngineUnavailable: the engine does not answer.
    """
    result = rego.evaluate(document)
    deny = result.get(_DENY, ())
    if not isinstance(deny, (list, tuple, set, frozenset)) or not all(
        isinstance(item, str) for item in deny
    ):
        raise PolicyResultInvalid(f"{_DENY} is not a set of strings")
    reasons = sorted(deny)
    rules.require(
        "trust.rego",
        result.get(_ALLOW) is True and not reasons,
        TrustRefused,
        expected="allow, and nothing in deny",
        observed=reasons or "allow is not true",
        source=f"trust policy, rego {rego.source.digest}",
        note="; ".join(reasons) if reasons else "",
    )
