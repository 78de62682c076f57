"""Sigstore bundles under a trust policy: which of its roots a bundle is verified against.

A bundle is verified by the root whose log it names, as one signed by a certificate or by a managed key;
which of the two, the bundle's shape says. Of several roots that know one log, the first that accepts
counts; where none does, the first refusal is the answer.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from common.checks import Check, Checks, Verdict
from common.errors import StatementError
from provenance import keys
from provenance.errors import LogEntryInvalid, SignerUntrusted
from provenance.model import AuthenticStatement, Signer
from provenance.reader import signed_statement
from provenance.sigstore import bundle_format, trust_root
from provenance.trust import key_window
from provenance.trust.model import KeyRoot, PublicGoodRoot, SigstoreRootDocument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from provenance.reader import Received
    from provenance.sigstore.bundle_verifier import BundleVerifier, VerifiedBundle
    from provenance.trust import TrustPolicy


class SigstoreReader:
    """Reads bundles of versions 0.1 to 0.3. Roots are prepared at the first one. Thread-safe."""

    def __init__(self, trust: TrustPolicy) -> None:
        """Use the Sigstore roots of ``trust``, and its keys that name one as their log."""
        self._public_good = trust.public_good
        self._roots = [
            root
            for root in trust.document.roots
            if isinstance(root, (PublicGoodRoot, SigstoreRootDocument))
        ]
        self._managed = {
            root.name: root
            for root in trust.document.roots
            if isinstance(root, KeyRoot) and root.log is not None
        }

    def recognises(self, received: Received) -> bool:
        """Whether it means to be a bundle."""
        return received.document is not None and bundle_format.is_bundle(received.document)

    def authenticate(self, received: Received, now: datetime) -> AuthenticStatement:
        """See ``Reader``."""
        data, document = received.data, received.document or {}
        verified = self._first(
            document, now, lambda verifier: verifier.verify_envelope(data, document, now)
        )
        checks = Checks()
        self._record_root(verified.signer, checks)
        checks.extend(verified.checks)
        assert verified.payload is not None  # verify_envelope lets no other bundle through
        return AuthenticStatement(
            envelope=data,
            attestation=hashlib.sha256(data).hexdigest(),
            statement=signed_statement(verified.payload_type, verified.payload, checks),
            signers=(verified.signer,),
            checks=checks.records,
            signed_at=verified.times.earliest,
            log_index=verified.times.log_index,
            log_id=verified.times.log_id,
            log_time=verified.times.earliest,
        )

    def authenticate_artifact(self, bundle: Mapping[str, Any], artifact: bytes, now: datetime) -> Signer:
        """Verify a bundle that signs an artefact and no statement; who signed.

        Nothing follows from it here: without a statement there is nothing to admit or derive.

        Args:
            bundle: the bundle, decoded (``dsse.load_json``).
            artifact: the artefact.
            now: aware UTC.

        Raises:
            StatementError: one of its classes, by the step that failed.
        """
        return self.verify_artifact(bundle, artifact, now).signer

    def verify_artifact(self, bundle: Mapping[str, Any], artifact: bytes, now: datetime) -> VerifiedBundle:
        """As ``authenticate_artifact``, with times and checks: for formats that sign a text."""
        return self._first(bundle, now, lambda verifier: verifier.verify_artifact(bundle, artifact, now))

    def _first(
        self,
        document: Mapping[str, Any],
        now: datetime,
        verify: Callable[[BundleVerifier], VerifiedBundle],
    ) -> VerifiedBundle:
        first: StatementError | None = None
        for verifier in self._candidates(document, now):
            try:
                return verify(verifier)
            except StatementError as error:
                first = first or error
        raise first or LogEntryInvalid("the log entry is of a log that no root of the trust policy names")

    def _candidates(self, document: Mapping[str, Any], now: datetime) -> list[BundleVerifier]:
        """Verifiers whose root knows the bundle's log, for a certificate or for a key."""
        parsed = bundle_format.parse(dict(document), legacy=True)
        managed = parsed.certificate is None
        found = [
            verifier
            for verifier in self._verifiers
            if trust_root.find_logs(verifier.anchor.root.logs, parsed.entry.log_id)
            and (verifier.anchor.key is not None) == managed
            and self._key_counts(verifier.anchor.name, now)
        ]
        if not found and managed:
            raise SignerUntrusted("the bundle is signed with a key, and the trust policy names none for it")
        return found

    @cached_property
    def _verifiers(self) -> tuple[BundleVerifier, ...]:
        from provenance.sigstore.bundle_verifier import Anchor, BundleVerifier  # noqa: PLC0415 (heavy import)

        instances = {
            root.name: Anchor(
                name=root.name,
                root=self._public_good_root()
                if isinstance(root, PublicGoodRoot)
                else trust_root.parse_document(root.trusted_root),
                legacy=root.legacy_bundles,
            )
            for root in self._roots
        }
        managed = [
            Anchor(
                name=root.name,
                root=instances[root.log].root,
                legacy=instances[root.log].legacy,
                key=keys.from_pem(root.algorithm, root.key),
            )
            for root in self._managed.values()
            if root.log is not None
        ]
        return tuple(BundleVerifier(anchor) for anchor in (*instances.values(), *managed))

    def _public_good_root(self) -> trust_root.SigstoreRoot:
        return trust_root.public_good() if self._public_good is None else self._public_good.root

    def _record_root(self, signer: Signer, checks: Checks) -> None:
        """Say which public-good root stood behind the signature, where there was a choice."""
        used, managed = self._public_good, self._managed.get(signer.root)
        named = signer.root if managed is None else managed.log
        if used is None or not any(
            isinstance(root, PublicGoodRoot) and root.name == named for root in self._roots
        ):
            return
        observed = {"refreshed": used.refreshed, "sha256": used.root.digest, "version": used.version}
        source = "TUF specification, section 5"
        if used.warning:
            checks.warn("root.public_good", observed=observed, source=source, note=used.warning)
        else:
            checks.extend((Check("root.public_good", Verdict.PASS, None, observed, source),))

    def _key_counts(self, name: str, now: datetime) -> bool:
        root = self._managed.get(name)
        return root is None or key_window(root).contains(now)
