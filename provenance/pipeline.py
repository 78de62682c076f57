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

from common.errors import InvalidSetting
from policy.port import PolicyKind, PolicySource
from provenance.errors import EnvelopeMalformed
from provenance.reader import receive
from provenance.readers import readers_of
from provenance.trust import admission

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from policy.port import CompiledPolicy, PolicyEngine
    from provenance.model import (
        AdmittedStatement,
        Artifact,
        AuthenticStatement,
        DerivationRequest,
        DerivedValue,
    )
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
        """Prepare readers and Rego."""
        self.trust = trust
        self._rego: CompiledPolicy | None = None
        if trust.document.rego is not None:
            if engine is None:
                raise InvalidSetting("the trust policy has Rego, and no policy engine is configured")
            self._rego = engine.compile(PolicySource(PolicyKind.TRUST, trust.document.rego))
        self._readers = readers_of(trust)

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
            SubjectMismatch: an artefact is not a subject.
            DerivationError: the artefacts and the request do not determine a measurement.
        """
        from provenance import derivation  # noqa: PLC0415 (its parsers are not needed to admit)

        return derivation.derive(admitted, request, artifacts)
