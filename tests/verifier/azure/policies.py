"""Evaluates shipped policies over verified evidence."""

from __future__ import annotations

from typing import Any

import msgspec

from common.checks import Verdict
from policy import shipped
from policy.port import PolicyEngine, PolicyKind, ReferenceEntry, canonical_key
from verifier.model import VerifiedEvidence

NAMES = ("executables", "hardware", "configuration", "runtime-opaque")


def _entries(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {canonical_key(value): ReferenceEntry(value=value, groups=("r",))}
        for name, value in values.items()
    }


def vector(
    engine: PolicyEngine,
    policy: str,
    verified: VerifiedEvidence,
    values: dict[str, Any],
    failed: list[str] | None = None,
    **claims: Any,
) -> tuple[int, ...]:
    """Executables, hardware, configuration and runtime-opaque.

    ``failed`` and ``claims`` replace what the evidence says.
    """
    tee = verified.tee
    document = {
        tee: verified.claims[tee] | claims,
        "reference": _entries(values),
        "verification": {
            "tee": tee,
            "bound": verified.bound,
            "identity": verified.identity,
            "init_data": verified.init_data,
            "failed": [check.code for check in verified.checks if check.verdict is Verdict.FAIL]
            if failed is None
            else failed,
        },
    }
    compiled = engine.compile(shipped.load(PolicyKind.APPRAISAL, policy))
    found = compiled.evaluate(msgspec.json.encode(document))["data.policy.trust_claims"]
    return tuple(found[name] for name in NAMES)
