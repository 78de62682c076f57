"""Flow A, first half: envelope bytes -> authentic -> admitted -> derived.

``authenticate``: the envelope is one JSON object; a Sigstore bundle is verified by the root of the trust
policy whose log it names, a bare DSSE envelope by the policy's keys; then, and only then, the payload
type is compared and the payload parsed as a Statement.

``admit``: the trust policy's rules on what was proven (``provenance.admission``).

``derive``: measurements from artefacts that are subjects of the statement (``provenance.derivation``).

Each step takes the type of the step before. Nothing is fetched: not the log, not an issuer, not a URL in
a statement. Old envelopes with an embedded certificate and no log entry are *incomplete*: their
signature may be good, but nothing says when it was made (``statement.incomplete``).
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cryptography import x509

from common.checks import Checks
from common.errors import InvalidSetting, StatementError
from policy.port import PolicyKind, PolicySource
from provenance import admission, bundle_format, dsse, keys, statement, trust_root
from provenance.errors import (
    EnvelopeMalformed,
    LogEntryInvalid,
    PayloadTypeWrong,
    SignerUntrusted,
    StatementIncomplete,
    StatementSignatureInvalid,
)
from provenance.model import AuthenticStatement, Signer
from provenance.steps import step
from provenance.trust import key_window
from provenance.trust_model import KeyRoot, PublicGoodRoot, SigstoreRootDocument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from policy.port import CompiledPolicy, PolicyEngine
    from provenance.keys import VerificationKey
    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue, Statement
    from provenance.sigstore_bundle import BundleVerifier, VerifiedBundle
    from provenance.trust import TrustPolicy


class Pipeline:
    """The pipeline of one trust policy. Roots, keys and Rego are prepared once. Thread-safe.

    Args:
        trust: the policy.
        engine: compiles and evaluates its Rego; needed only where the policy has some.

    Raises:
        PolicyError: the policy's Rego is refused.
        InvalidSetting: the policy has Rego and there is no engine.
    """

    def __init__(self, trust: TrustPolicy, engine: PolicyEngine | None = None) -> None:
        """Prepare keys and Rego; Sigstore roots are prepared at the first bundle."""
        self.trust = trust
        self._rego: CompiledPolicy | None = None
        if trust.document.rego is not None:
            if engine is None:
                raise InvalidSetting("the trust policy has Rego, and no policy engine is configured")
            self._rego = engine.compile(PolicySource(PolicyKind.TRUST, trust.document.rego))
        self._key_roots = {
            root.name: (root, keys.from_pem(root.algorithm, root.key))
            for root in trust.document.roots
            if isinstance(root, KeyRoot)
        }

    def authenticate(self, envelope: bytes, now: datetime) -> AuthenticStatement:
        """Verify signature, signer, log entry and time, and parse the statement.

        Args:
            envelope: Sigstore bundle or DSSE envelope, exactly as received.
            now: aware UTC.

        Raises:
            StatementError: one of its classes, by the step that failed (docs/trust-policy.md).
        """
        document = dsse.load_json(envelope)
        if bundle_format.is_bundle(document):
            return self._authenticate_bundle(envelope, document, now)
        return self._authenticate_dsse(envelope, document, now)

    def admit(self, envelope: bytes, now: datetime) -> AdmittedStatement:
        """Authenticate, then apply the trust policy.

        Raises:
            StatementError: refused; the code says by which rule.
            PolicyError: the policy's Rego cannot be evaluated.
        """
        return admission.admit(self.authenticate(envelope, now), self.trust, self._rego, now)

    def derive(
        self, admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
    ) -> tuple[DerivedValue, ...]:
        """Derive reference values from an admitted statement and artefacts that are its subjects.

        Raises:
            SubjectMismatch: an artefact is not a subject.
            DerivationError: the artefacts and the request do not determine a measurement.
        """
        from provenance import derivation  # noqa: PLC0415 (its parsers are not needed to admit)

        return derivation.derive(admitted, request, artifacts)

    def authenticate_artifact(self, bundle: Mapping[str, Any], artifact: bytes, now: datetime) -> Signer:
        """Verify a Sigstore bundle that signs an artefact and no statement; who signed.

        Nothing follows from it here: without a statement there is nothing to admit or derive.

        Args:
            bundle: the bundle, decoded (``dsse.load_json``).
            artifact: the artefact.
            now: aware UTC.

        Raises:
            StatementError: one of its classes, by the step that failed.
        """
        found = self._first(bundle, now, lambda verifier: verifier.verify_artifact(bundle, artifact, now))
        return found.signer

    def _authenticate_bundle(
        self, envelope: bytes, document: Mapping[str, Any], now: datetime
    ) -> AuthenticStatement:
        verified = self._first(
            document, now, lambda verifier: verifier.verify_envelope(envelope, document, now)
        )
        checks = Checks()
        checks.extend(verified.checks)
        assert verified.payload is not None  # verify_envelope lets no other bundle through
        return AuthenticStatement(
            envelope=envelope,
            attestation=hashlib.sha256(envelope).hexdigest(),
            statement=_statement(verified.payload_type, verified.payload, checks),
            signers=(verified.signer,),
            checks=checks.records,
            signed_at=verified.times.earliest,
            log_index=verified.times.log_index,
            log_time=verified.times.earliest,
        )

    def _first(
        self,
        document: Mapping[str, Any],
        now: datetime,
        verify: Callable[[BundleVerifier], VerifiedBundle],
    ) -> VerifiedBundle:
        """The first verifier's result that accepts; otherwise the first refusal."""
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
        from provenance.sigstore_bundle import Anchor, BundleVerifier  # noqa: PLC0415 (heavy import)

        instances = {
            root.name: Anchor(
                name=root.name,
                root=trust_root.public_good()
                if isinstance(root, PublicGoodRoot)
                else trust_root.parse_document(root.trusted_root),
                legacy=root.legacy_bundles,
            )
            for root in self.trust.document.roots
            if isinstance(root, (PublicGoodRoot, SigstoreRootDocument))
        }
        managed = [
            Anchor(
                name=root.name, root=instances[root.log].root, legacy=instances[root.log].legacy, key=key
            )
            for root, key in self._key_roots.values()
            if root.log is not None
        ]
        return tuple(BundleVerifier(anchor) for anchor in (*instances.values(), *managed))

    def _key_counts(self, name: str, now: datetime) -> bool:
        entry = self._key_roots.get(name)
        return entry is None or key_window(entry[0]).contains(now)

    def _authenticate_dsse(
        self, envelope: bytes, document: Mapping[str, Any], now: datetime
    ) -> AuthenticStatement:
        parsed = dsse.parse(document)
        if any(item.certificate is not None for item in parsed.signatures):
            _refuse_embedded(parsed)
        roots = {
            key.spki_sha256: (root, key)
            for root, key in self._key_roots.values()
            if root.log is None and key_window(root).contains(now)
        }
        names = {digest: digest for digest in roots}
        names |= {root.keyid: digest for digest, (root, _) in roots.items() if root.keyid is not None}
        checks = Checks()
        with step(checks, "envelope.signatures", source="DSSE protocol.md"):
            signed = dsse.verify_with_keys(parsed, _keys_of(roots), names)
        return AuthenticStatement(
            envelope=envelope,
            attestation=hashlib.sha256(envelope).hexdigest(),
            statement=_statement(parsed.payload_type, parsed.payload, checks),
            signers=tuple(
                Signer(kind="key", identity=f"key:{digest}", root=roots[digest][0].name)
                for digest in signed
            ),
            checks=checks.records,
            signed_at=now,
        )


def _keys_of(roots: Mapping[str, tuple[KeyRoot, VerificationKey]]) -> dict[str, VerificationKey]:
    return {digest: key for digest, (_, key) in roots.items()}


def _statement(payload_type: str | None, payload: bytes, checks: Checks) -> Statement:
    checks.require(
        "envelope.payload_type",
        payload_type == statement.PAYLOAD_TYPE,
        PayloadTypeWrong,
        expected=statement.PAYLOAD_TYPE,
        observed=payload_type,
        source="in-toto attestation spec/v1/envelope.md",
    )
    with step(checks, "statement.shape", source="in-toto attestation spec/v1/statement.md"):
        return statement.parse(payload)


def _refuse_embedded(envelope: dsse.DsseEnvelope) -> None:
    """Old SLSA envelopes: a good signature is incomplete, a bad one is a bad one."""
    checks = Checks()
    for item in envelope.signatures:
        if item.certificate is None:
            continue
        try:
            certificate = x509.load_pem_x509_certificate(item.certificate.encode("utf-8"))
        except ValueError as error:
            raise EnvelopeMalformed("the certificate beside a signature cannot be read") from error
        checks.require(
            "envelope.signatures",
            keys.from_certificate(certificate).verifies(item.signature, envelope.pae),
            StatementSignatureInvalid,
            source="DSSE protocol.md",
            note="the signature does not verify with the certificate beside it",
        )
    checks.fail(
        "log.entry",
        StatementIncomplete,
        expected="a transparency-log entry",
        observed="a certificate without one",
        source="sigstore client specification",
        note="the envelope carries a certificate and no log entry: nothing proves when it was signed",
    )
