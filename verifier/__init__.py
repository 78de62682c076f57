"""Evidence in; claims, appraisal and attestation result (EAR) out.

As a library: ``verifier.verify`` alone, which needs no server, no database and no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence
    from verifier.tee import Inspection
    from wire.evidence import EvidenceDocument


def verify(evidence: bytes | EvidenceDocument, inspection: Inspection) -> VerifiedEvidence:
    """Verify one piece of evidence offline.

    What is guaranteed of the result: the bytes were signed by a key that the TEE vendor's pinned root
    vouches for at ``inspection.now``; every certificate, list and document relied on was valid then; with
    ``inspection.report_data`` the evidence carries exactly those bytes; each claim was read from what is
    signed, or is named in a check of verdict ``warning``. ``checks`` has every check in order.

    What is not: that the software is one you trust (compare the claims with reference values, or appraise:
    ``verifier.appraisal``); that an expectation of the settings holds (look for checks of verdict ``fail``,
    and at ``floors``: a guest that may be debugged is authentic too); freshness (only a nonce of yours in
    ``report_data`` gives that); that nothing was revoked where no list was given (the check says so).

    Args:
        evidence: a file's bytes (a JSON evidence document or a TEE's own format), or an evidence document.
        inspection: the time, the expectation, and what else is given (``verifier.tee.Inspection``).

    Raises:
        Malformed: no evidence, or something is given that this TEE has no use for.
        InputError, EvidenceError, EndorsementError: the evidence is refused; ``error.checks`` has the
            checks up to the one that failed, ``error.code`` is stable (docs/errors.md).
    """
    from verifier import offline  # noqa: PLC0415 (the folders of the TEEs import this package)

    document = offline.recognise(evidence) if isinstance(evidence, bytes) else evidence
    return offline.verify(document, inspection)
