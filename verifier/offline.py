"""Offline verification of evidence files: the verifiers as a library (``verifier.verify``).

Order: recognise the file; refuse what was given without use; verify at the given time against the given
expectation. Nothing is fetched, nothing is stored, no clock is read; of the endorsement store's folder, if
one is given, files are read.

Evidence that is bound to no expectation can be authentic; it can never affirm who it is. What is particular
to a TEE, also where it is more lenient here than in a server, is said in its folder's ``tee.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.errors import Malformed
from verifier.model import ReportDataBinding, Unbound
from verifier.tees import EVIDENCE, TEES

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence
    from verifier.tee import Inspection, Tee
    from wire.evidence import Evidence

MAX_EVIDENCE_BYTES: Final = 8 << 20
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
            advice="docs/tees.md lists the formats that `touchstone verify` reads.",
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
