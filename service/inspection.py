"""Offline inspection of evidence files: what `touchstone verify` does, without its options and printing.

Order: recognise the file; verify it at the given time against the given expectation; where a policy or
reference values are given, appraise it with exactly those. Nothing is fetched and nothing is stored.
Evidence that is bound to no expectation can be authentic; it can never affirm who it is.

What is particular to a TEE, also where it is more lenient here than in a server, is said in its folder's
``tee.py``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.errors import Malformed
from policy import shipped
from policy.port import PolicyKind, PolicySource
from policy.regorus_engine import RegorusEngine
from rvps.model import Lineage, ReferenceValue
from rvps.static import StaticReferenceLookup
from verifier.appraisal import Appraiser
from verifier.offline import MAX_EVIDENCE_BYTES, recognise, unverified_contents, verify
from verifier.tee import Inspection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from policy.port import CompiledPolicy
    from verifier.model import VerifiedEvidence
    from verifier.result import Appraisal

__all__ = [
    "MAX_EVIDENCE_BYTES",
    "Inspection",
    "appraise",
    "parse_references",
    "recognise",
    "unverified_contents",
    "verify",
]

_LOCAL: Final = "local file, unverified"
_POLICY_NAME: Final = "given"


def appraise(
    verified: VerifiedEvidence, policy: str | None, references: Mapping[str, Sequence[Any]], now: datetime
) -> Appraisal:
    """Appraise by a policy (the shipped default if None) with reference values of a local file.

    Raises:
        PolicyError: the policy is refused.
    """
    source = (
        shipped.load(PolicyKind.APPRAISAL, "default")
        if policy is None
        else PolicySource(PolicyKind.APPRAISAL, policy)
    )
    appraiser = Appraiser(
        verifiers={},
        policies=_OnePolicy(RegorusEngine().compile(source)),
        references=StaticReferenceLookup(_values(references, verified.tee, now)),
        audience="offline",
    )
    return appraiser.appraise_verified(verified, now, policy=_POLICY_NAME, explain=True)


def parse_references(data: bytes) -> dict[str, list[Any]]:
    """``{"name": [value, ...]}`` as JSON.

    Raises:
        Malformed: another shape.
    """
    document = strict_json.loads(data, what="reference values")
    if not isinstance(document, dict) or not all(isinstance(item, list) for item in document.values()):
        raise Malformed("reference values are an object of name to list of values")
    return document


class _OnePolicy:
    def __init__(self, compiled: CompiledPolicy) -> None:
        self._compiled = compiled

    def active(self, kind: PolicyKind, name: str) -> CompiledPolicy:
        del kind, name
        return self._compiled


def _values(references: Mapping[str, Sequence[Any]], tee: str, now: datetime) -> list[ReferenceValue]:
    lineage = Lineage(
        attestation=hashlib.sha256(b"").hexdigest(),
        predicate_type="none",
        signer=_LOCAL,
        trust_policy="none",
        rule=_LOCAL,
        submitted_by=_LOCAL,
    )
    return [
        ReferenceValue(
            id=f"local-{name}-{place}",
            name=name,
            value=value,
            tee=tee,
            group="local",
            not_before=now,
            lineage=lineage,
        )
        for name, values in references.items()
        for place, value in enumerate(values)
    ]
