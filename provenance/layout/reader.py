"""Supply-chain bundles under a trust policy: in-toto layouts with links, as a Statement.

The layout must be signed by as many of a root's owners as its threshold says; then everything that the
layout demands is verified (``provenance.layout.verification``). What comes out is a Statement whose
subjects are the products of the last step and whose predicate (``PREDICATE_TYPE``) says who did what.

Signers are the owners, of kind ``key``, and each functionary whose link counted, of kind
``functionary``: their keys can be retracted, but they are authorised by the layout and not by the trust
policy, so that they never count towards its threshold.

Nothing says when a layout or a link was signed: ``signed_at`` is now, and ``max_age_seconds`` refuses.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from common.checks import Checks
from common.errors import StatementError
from provenance import keys, statement
from provenance.errors import (
    SignerUntrusted,
    StatementSignatureInvalid,
)
from provenance.layout import bundle, functionaries
from provenance.layout.verification import LayoutVerifier, signed_by
from provenance.layout.verified import functionaries_of
from provenance.model import AuthenticStatement, Signer
from provenance.steps import step
from provenance.trust.model import LayoutRoot

if TYPE_CHECKING:
    from datetime import datetime

    from provenance.keys import VerificationKey
    from provenance.layout.inspection import InspectionRunner
    from provenance.layout.model import Metadata
    from provenance.layout.verified import VerifiedLayout
    from provenance.model import Statement
    from provenance.reader import Received
    from provenance.trust import TrustPolicy

PREDICATE_TYPE: Final = "urn:touchstone:in-toto-layout:v1"
_SOURCE: Final = "in-toto specification v1.0, section 5.2"


class LayoutReader:
    """Reads supply-chain bundles with the layout roots of a trust policy. Thread-safe.

    Args:
        trust: the policy.
        inspections: runs the commands of inspections; None runs none.
    """

    def __init__(self, trust: TrustPolicy, inspections: InspectionRunner | None = None) -> None:
        """Keep the roots; their keys are loaded at the first bundle."""
        self._roots = [root for root in trust.document.roots if isinstance(root, LayoutRoot)]
        self._inspections = inspections

    def recognises(self, received: Received) -> bool:
        """Whether it names our bundle format."""
        return received.document is not None and bundle.is_bundle(received.document)

    def authenticate(self, received: Received, now: datetime) -> AuthenticStatement:
        """See ``Reader``."""
        checks = Checks()
        with step(checks, "layout.shape", source="docs/formats.md, supply-chain bundles"):
            chain = bundle.parse(received.document or {})
        root, owners = self._owners(chain.layout, checks)
        verifier = LayoutVerifier(
            chain.links,
            now,
            checks,
            inspections=self._inspections,
            skip_inspections=root.inspections == "skip",
        )
        verified = verifier.verify(chain.layout)
        with step(checks, "statement.shape", source="in-toto attestation spec/v1/statement.md"):
            stated = _statement(verified)
        return AuthenticStatement(
            envelope=received.data,
            attestation=hashlib.sha256(received.data).hexdigest(),
            statement=stated,
            signers=_signers(root, owners, verified),
            checks=checks.records,
            signed_at=now,
        )

    def _owners(self, layout: Metadata, checks: Checks) -> tuple[LayoutRoot, tuple[str, ...]]:
        """The first root whose owners signed, and the SHA-256 of their SubjectPublicKeyInfo."""
        first: StatementError | None = None
        for root in self._roots:
            try:
                owners = _signed_by_owners(layout, root)
            except StatementError as error:
                first = first or error
                continue
            with step(checks, "layout.owners", source=_SOURCE, observed=list(owners)):
                return root, owners
        with step(checks, "layout.owners", source=_SOURCE):
            raise first or SignerUntrusted("the trust policy has no root of kind in-toto-layout")


def _signed_by_owners(layout: Metadata, root: LayoutRoot) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for owner in root.owners:
        key = keys.from_pem(owner.algorithm, owner.key)
        names = {owner.keyid, key.spki_sha256, functionaries.keyid(key)}
        if _verifies(layout, {name for name in names if name}, key):
            found[key.spki_sha256] = None
    if len(found) < root.threshold:
        raise SignerUntrusted(f"{len(found)} of the owners signed the layout, {root.threshold} are needed")
    return tuple(found)


def _verifies(layout: Metadata, names: set[str], key: VerificationKey) -> bool:
    named = [name for name in names if any(item.keyid == name for item in layout.signatures)]
    if any(signed_by(layout, name, key) for name in names):
        return True
    if named:
        raise StatementSignatureInvalid(
            "a signature of the layout does not verify with the owner's key that it names"
        )
    return False


def _signers(root: LayoutRoot, owners: tuple[str, ...], verified: VerifiedLayout) -> tuple[Signer, ...]:
    by_owners = [Signer(kind="key", identity=f"key:{digest}", root=root.name) for digest in owners]
    by_functionaries = [
        Signer(
            kind="functionary",
            identity=f"key:{digest}",
            root=root.name,
            claims={"steps": " ".join(steps)},
            key=digest,
        )
        for digest, steps in functionaries_of(verified).items()
        if digest not in owners
    ]
    return (*by_owners, *by_functionaries)


def _statement(verified: VerifiedLayout) -> Statement:
    document = {
        "_type": statement.STATEMENT_V1,
        "subject": _resources(verified.products),
        "predicateType": PREDICATE_TYPE,
        "predicate": _predicate(verified) | {"materials": _resources(verified.materials)},
    }
    return statement.from_document(document)


def _predicate(verified: VerifiedLayout) -> dict[str, Any]:
    return {
        "layout": {"sha256": verified.digest},
        "expires": verified.expires,
        "steps": [
            {
                "name": item.name,
                "threshold": item.threshold,
                "links": [
                    {
                        "keyid": link.keyid,
                        "key": link.key,
                        "digest": {"sha256": link.digest},
                        "command": list(link.link.command),
                    }
                    | ({} if link.sublayout is None else {"sublayout": _predicate(link.sublayout)})
                    for link in item.links
                ],
            }
            for item in verified.steps
        ],
        "inspections": {"run": list(verified.inspected), "skipped": list(verified.skipped)},
    }


def _resources(artifacts: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    return [{"name": path, "digest": digest} for path, digest in sorted(artifacts.items())]
