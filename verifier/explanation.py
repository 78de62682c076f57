"""Why a result is what it is: built from check records and rule traces, never from log text.

Shape (``docs/formats.md``): ``status``, ``trust_vector``, ``checks`` (the verifier's, then one per
reference name the policy mentions, then the policy stage's), ``policy`` (digest and the clauses that
decided) and ``reference_values`` (snapshot, the groups that hold all that the evidence met, and the values
relied on with their lineage).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common.checks import Check, Verdict
from common.errors import PolicyError
from verifier.reference_input import groups_met
from verifier.reference_names import observed_value

if TYPE_CHECKING:
    from policy.port import CompiledPolicy
    from verifier.result import Appraisal

_MAX_EXPECTED = 16


def explain_appraisal(result: Appraisal, compiled: CompiledPolicy, document: bytes) -> dict[str, Any]:
    """The explanation of ``result`` as JSON-compatible data.

    Args:
        result: the appraisal.
        compiled: the policy that decided.
        document: the exact input it was evaluated on.
    """
    met = groups_met(result.selection.values, compiled.reference_names, result.evidence.claims)
    shared = sorted(frozenset.intersection(*met.values())) if met else []
    checks = (*result.checks, *_reference_checks(result, compiled), *_group_check(result, met, shared))
    explanation: dict[str, Any] = {
        "status": result.status,
        "tee": result.evidence.tee,
        "trust_vector": result.trust_vector,
        "bound": result.evidence.bound,
        "init_data": result.evidence.init_data,
        "identity": result.evidence.identity,
        "evidence_digest": result.evidence.evidence_digest,
        "claims": result.evidence.claims,
        "checks": checks,
        "policy": {"digest": result.policy_digest, "rules": _rules(compiled, document)},
        "reference_values": {
            "snapshot": result.selection.snapshot,
            "groups": shared,
            "relied_on": result.relied_on,
        },
    }
    if result.relied_on_unverified:
        explanation["reference_values"]["unverified"] = result.relied_on_unverified
    converted = msgspec.to_builtins(explanation)
    assert isinstance(converted, dict)  # a dict went in
    return converted


def _rules(compiled: CompiledPolicy, document: bytes) -> Any:
    try:
        return list(compiled.explain(document))
    except PolicyError as error:
        return [{"error": error.code, "note": error.message}]


def _reference_checks(result: Appraisal, compiled: CompiledPolicy) -> list[Check]:
    """One record per reference name: the values known, the claim seen, and whether they meet.

    A name that meets nothing is a failure where the result is not affirming (it may be the reason);
    in an affirming result it was evidently not needed.
    """
    known: dict[str, list[Any]] = {}
    for value in result.selection.values:
        known.setdefault(value.name, []).append(value.value)
    affirming = result.status == "affirming"
    records = []
    for name in sorted(compiled.reference_names):
        observed = observed_value(name, result.evidence.claims)
        if observed is None:
            continue  # a name for another TEE, or one that only the policy's author can place
        path, claim = observed
        values = known.get(name, [])
        met = claim in values
        records.append(
            Check(
                name=f"reference.{name}",
                verdict=Verdict.PASS if met else Verdict.NOT_EVALUATED if affirming else Verdict.FAIL,
                expected=values[:_MAX_EXPECTED],
                observed=claim,
                source=path,
                note="" if met else "no live reference value of this name equals the evidence",
            )
        )
    return records


def _group_check(result: Appraisal, met: dict[str, frozenset[str]], shared: list[str]) -> list[Check]:
    """Whether the values that the evidence met are of one release, where there are several of them."""
    if len(met) < 2:  # noqa: PLR2004 (one value cannot contradict itself)
        return []
    affirming = result.status == "affirming"
    return [
        Check(
            name="reference.group",
            verdict=Verdict.PASS if shared else Verdict.NOT_EVALUATED if affirming else Verdict.FAIL,
            expected="one group for all",
            observed={name: sorted(groups)[:_MAX_EXPECTED] for name, groups in sorted(met.items())},
            source="reference values, group",
            note="" if shared else "the values that the evidence met belong to different releases",
        )
    ]
