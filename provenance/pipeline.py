"""Flow A, first half: envelope bytes -> authentic -> admitted -> derived.

``authenticate``: the outer shape says the format; its reader (``provenance.readers``) verifies signature,
signer, time and log entry against the trust policy's roots, and only then parses what was signed.

``admit``: the trust policy's rules on what was proven (``provenance.trust.admission``).

``derive``: measurements from artefacts that are subjects of the statement (``provenance.derivation``).

Each step takes the type of the step before. Nothing is fetched: not the log, not an issuer, not a URL in
a statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.errors import InvalidSetting
from policy.port import PolicyKind, PolicySource
from provenance.errors import EnvelopeMalformed, NotDerivable, PredicatesMissing
from provenance.instants import earliest
from provenance.reader import receive
from provenance.readers import readers_of
from provenance.trust import admission

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from common.checks import Check
    from policy.port import CompiledPolicy, PolicyEngine
    from provenance.layout.inspection import InspectionRunner
    from provenance.model import (
        AdmittedStatement,
        Artifact,
        AuthenticStatement,
        DerivationRequest,
        DerivedValue,
    )
    from provenance.sigstore.trust_root import PublicGood
    from provenance.trust import TrustPolicy


class Pipeline:
    """The pipeline of one trust policy. Roots, keys and Rego are prepared once. Thread-safe.

    Args:
        trust: the policy.
        engine: compiles and evaluates its Rego; needed only where the policy has some.
        environment: which of the policy's environments decides; needed where it has some.
        public_good: stands for the public-good root; the pinned one if None.
        inspections: runs the commands of in-toto layouts' inspections; None runs none.

    Raises:
        PolicyError: the policy's Rego is refused.
        InvalidSetting: the policy has Rego and there is no engine.
        TrustPolicyInvalid: the policy has environments, and not this one.
    """

    def __init__(
        self,
        trust: TrustPolicy,
        engine: PolicyEngine | None = None,
        *,
        environment: str | None = None,
        public_good: PublicGood | None = None,
        inspections: InspectionRunner | None = None,
    ) -> None:
        """Prepare readers and Rego."""
        trust = trust.used_in(environment, public_good)
        self.trust = trust
        self._rego: CompiledPolicy | None = None
        if trust.document.rego is not None:
            if engine is None:
                raise InvalidSetting("the trust policy has Rego, and no policy engine is configured")
            self._rego = engine.compile(PolicySource(PolicyKind.TRUST, trust.document.rego))
        self._readers = readers_of(trust, inspections)

    def authenticate(self, envelope: bytes, now: datetime) -> AuthenticStatement:
        """Verify signature, signer, log entry and time, and parse the statement.

        Args:
            envelope: exactly as received, in a format of docs/trust-policy.md.
            now: aware UTC.

        Raises:
            StatementError: one of its classes, by the step that failed (docs/trust-policy.md).
        """
        received = receive(envelope)
        for reader in self._readers:
            if reader.recognises(received):
                return reader.authenticate(received, now)
        raise EnvelopeMalformed("the envelope is of no format that is read here")

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
            PredicatesMissing: the policy requires further attestations (``trust.domains.together``).
            SubjectMismatch: an artefact is not a subject.
            DerivationError: the artefacts and the request do not determine a measurement.
        """
        from provenance import derivation  # noqa: PLC0415 (its parsers are not needed to admit)

        if admitted.supporting:
            raise NotDerivable(
                f"{admitted.authentic.statement.predicate_type} only supports under this trust policy",
                advice="Derive from the attestation that it supports (supporting_predicates).",
            )
        if admitted.required_predicates:
            raise PredicatesMissing(
                "the trust policy requires further attestations of the same artefacts:"
                f" {', '.join(admitted.required_predicates)}"
            )
        derived = derivation.derive(admitted, request, artifacts)
        if admitted.valid_until is None:
            return derived
        # What an exception admitted ends with the exception.
        return tuple(
            msgspec.structs.replace(value, expires=earliest(value.expires, admitted.valid_until))
            for value in derived
        )

    def explain(self, authentic: AuthenticStatement, now: datetime) -> tuple[Check, ...]:
        """Every rule of the policy on an authentic statement, also those after a refusal.

        Raises:
            PolicyError: the policy's Rego cannot be evaluated.
        """
        return admission.explain(authentic, self.trust, self._rego, now)
