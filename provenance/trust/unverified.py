"""Admission of what nobody's signature was verified on: through an ``unverified`` root, or not at all.

The document must be named by its SHA-256 in such a root of the policy, for the format that it was read as,
and an entry of ``signers`` must name that root. Who signed cannot be counted, so a threshold above one
refuses. What is admitted this way stays marked (``AuthenticStatement.unverified``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.errors import SignerUntrusted
from provenance.manifests.values import FORMATS
from provenance.trust.manifest_roots import UnverifiedRoot

if TYPE_CHECKING:
    from common.checks import Checks
    from provenance.model import AuthenticStatement
    from provenance.trust.model import TrustDocument


def require(authentic: AuthenticStatement, document: TrustDocument, checks: Checks) -> None:
    """Demand that the policy opts in to this very document.

    Raises:
        SignerUntrusted: it does not.
    """
    signers = {signer.root: signer.name for signer in document.signers}
    roots = [
        root
        for root in document.roots
        if isinstance(root, UnverifiedRoot)
        and root.name in signers
        and authentic.attestation in root.digests
        and authentic.statement.predicate_type in {FORMATS[name] for name in root.formats}
    ]
    checks.require(
        "trust.unverified",
        bool(roots) and document.threshold == 1 and not authentic.signers,
        SignerUntrusted,
        expected="an unverified root that names the document's SHA-256 and format, and a threshold of 1",
        observed={"sha256": authentic.attestation, "threshold": document.threshold},
        source="trust policy, roots of kind unverified",
        note="" if roots else "nobody's signature was verified, and the trust policy does not opt in to it",
    )
    checks.warn(
        "trust.unverified_source",
        observed=[root.name for root in roots],
        source="trust policy, roots of kind unverified",
        note="nobody's signature was verified: values of this document never count as trusted ones",
    )
