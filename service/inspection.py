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

import msgspec

from common import strict_json
from common.errors import Malformed
from policy import shipped
from policy.port import PolicyKind, PolicySource
from policy.regorus_engine import RegorusEngine
from rvps.model import Lineage, ReferenceValue
from rvps.static import StaticReferenceLookup
from verifier.appraisal import Appraiser
from verifier.model import ReportDataBinding, Unbound, VerifiedEvidence
from verifier.tee import Inspection
from verifier.tees import EVIDENCE, TEES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from policy.port import CompiledPolicy
    from verifier.appraisal import Appraisal
    from verifier.tee import Tee
    from wire.evidence import Evidence

__all__ = ["Inspection", "appraise", "parse_references", "recognise", "unverified_contents", "verify"]

MAX_EVIDENCE_BYTES: Final = 8 << 20
_LOCAL: Final = "local file, unverified"
_POLICY_NAME: Final = "given"
# Option of ``touchstone verify`` to the member of an inspection that it fills.
_OPTIONS: Final = {
    "certificates": "--certificate",
    "crl": "--crl",
    "anchors": "--anchor",
    "ek_roots": "--ek-root",
    "attestation_keys": "--trusted-ak",
    "pcr_selection": "--pcrs",
    "v2_product": "--v2-product",
}


def recognise(data: bytes, *, coco: str | None = None) -> Evidence:
    """The evidence in a file: a JSON evidence document, or a raw file of some TEE's own format.

    Args:
        data: the file.
        coco: the file is evidence of this TEE as Confidential Containers spells it.

    Raises:
        Malformed: neither, or more than one.
    """
    if not data:
        raise Malformed("the file is empty")
    if len(data) > MAX_EVIDENCE_BYTES:
        raise Malformed(f"evidence files have at most {MAX_EVIDENCE_BYTES} bytes")
    # Told apart by the first byte: no raw format begins with a brace.
    if data.lstrip().startswith((b"{", b"[")):
        return _document(data, coco)
    found = [evidence for tee in TEES.values() if (evidence := tee.recognise(data)) is not None]
    if len(found) != 1:
        known = ", ".join(tee.title for tee in TEES.values())
        raise Malformed(
            f"the file ({len(data)} bytes) is neither a JSON evidence document nor raw evidence of {known}",
            advice="docs/cli.md shows the formats that `touchstone verify` reads.",
        )
    return found[0]


def _document(data: bytes, coco: str | None) -> Evidence:
    document = strict_json.loads(data, what="evidence document", max_bytes=MAX_EVIDENCE_BYTES)
    if coco is not None:
        tee = TEES.get(coco)
        if tee is None or tee.coco is None:
            raise Malformed(f"--coco takes one of {', '.join(name for name in TEES if TEES[name].coco)}")
        return tee.coco.evidence_of(document)
    try:
        evidence: Evidence = msgspec.convert(document, EVIDENCE)
    except msgspec.MsgspecError as error:
        raise Malformed(
            f"this is no evidence document: {error}",
            advice="Evidence of a guest of Confidential Containers needs --coco with the name of its TEE.",
        ) from error
    return evidence


def tee_of(evidence: Evidence) -> Tee:
    """The TEE whose evidence it is."""
    return TEES[str(evidence.__struct_config__.tag)]


def unverified_contents(evidence: Evidence) -> dict[str, Any]:
    """What evidence says of itself, where it was refused: nothing vouches for any of it.

    Returns:
        Field to value, bytes as hex; empty where it cannot be parsed.
    """
    return tee_of(evidence).contents(evidence)


def verify(evidence: Evidence, inspection: Inspection) -> VerifiedEvidence:
    """Verify at ``inspection.now``.

    Raises:
        Malformed: something is given that this TEE has no use for.
        InputError, EvidenceError, EndorsementError: as ``verifier.model.TeeVerifier.verify``.
    """
    tee = tee_of(evidence)
    _require_use(tee, inspection)
    expected = Unbound() if inspection.report_data is None else ReportDataBinding(inspection.report_data)
    return tee.offline(evidence, inspection).verify(evidence, expected, None, inspection.now)


def _require_use(tee: Tee, inspection: Inspection) -> None:
    for member, option in _OPTIONS.items():
        if getattr(inspection, member) and member not in tee.inspects:
            raise Malformed(f"{option} has no use for {tee.title} evidence")
    for role in inspection.files:
        if f"files.{role}" not in tee.inspects:
            raise Malformed(f"--with {role}: {tee.title} evidence takes no such file")


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
