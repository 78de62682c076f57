"""The Rego of a trust policy: the document it sees, and how its answer is read.

It runs after the fixed rules and can only refuse: ``allow`` that is undefined, not true, or accompanied
by any ``deny`` is a refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from policy.errors import PolicyResultInvalid
from provenance.errors import TrustRefused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from common.checks import Checks
    from policy.port import CompiledPolicy
    from provenance.model import AuthenticStatement, Signer
    from provenance.predicates.github import Origin
    from provenance.predicates.slsa import BuildFacts
    from provenance.trust.model import TrustedSigner

_ALLOW: Final = "data.trust.allow"
_DENY: Final = "data.trust.deny"


def input_document(
    authentic: AuthenticStatement,
    trusted: Sequence[tuple[Signer, TrustedSigner]],
    facts: BuildFacts | None,
    origin: Origin,
    now: datetime,
) -> bytes:
    """The document that a policy of kind ``trust`` sees; docs/trust-policy.md describes it."""
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
            }
            for signer, item in trusted
        ],
        "build": None if facts is None else msgspec.to_builtins(facts),
        "origin": {
            "builder": origin.builder,
            "source_uri": origin.source_uri,
            "source_ref": origin.source_ref,
            "source_revision": origin.source_revision,
            "branch": origin.branch,
            "proven": origin.proven,
        },
        "log": {
            "index": authentic.log_index,
            "time": None if authentic.log_time is None else authentic.log_time.isoformat(),
            "age_seconds": age,
        },
        "now": now.isoformat(),
    }
    return msgspec.json.encode(value)


def require(rego: CompiledPolicy, document: bytes, checks: Checks) -> None:
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
    checks.require(
        "trust.rego",
        result.get(_ALLOW) is True and not reasons,
        TrustRefused,
        expected="allow, and nothing in deny",
        observed=reasons or "allow is not true",
        source=f"trust policy, rego {rego.source.digest}",
        note="; ".join(reasons) if reasons else "",
    )
