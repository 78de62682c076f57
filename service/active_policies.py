"""Active policies, compiled: one cheap read per use tells whether what is cached is still what is active.

The policy store counts activations. While the count is the one that the cache was filled under, the
compiled policy is handed out; otherwise the cache starts anew. An activation is so in force at the next
use, in every process, and nothing is compiled per request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.port import PolicyKind

if TYPE_CHECKING:
    from policy.port import CompiledPolicy, PolicyEngine
    from policy.store import PolicyStore
    from provenance.pipeline import Pipeline
    from service.trust_gate import TrustGate

_PIPELINES_KEPT = 16


class ActivePolicies:
    """Implements ``ActivePolicies`` of the verifier and secrets rooms. Thread-safe.

    Args:
        store: the versions.
        engine: compiles; keeps what it compiled by digest.
    """

    def __init__(self, store: PolicyStore, engine: PolicyEngine) -> None:
        """Start with an empty cache."""
        self._store = store
        self._engine = engine
        self._cache: tuple[int, dict[tuple[PolicyKind, str], CompiledPolicy]] = (-1, {})

    def active(self, kind: PolicyKind, name: str) -> CompiledPolicy:
        """The compiled active version.

        Raises:
            PolicyNotFound: none is active.
            PolicyCorrupt: its text was altered in the database.
            PolicyRejected, PolicySyntax: the engine refuses it now.
        """
        generation, compiled = self._cache
        # Read before the policy: what is then read is of this generation or a later one, never older.
        present = self._store.generation()
        if present != generation:
            compiled = {}
            self._cache = (present, compiled)
        policy = compiled.get((kind, name))
        if policy is None:
            policy = self._engine.compile(self._store.active(kind, name).source)
            compiled[kind, name] = policy
        return policy


class Pipelines:
    """A provenance pipeline per active trust policy; its roots, keys and Rego are prepared once.

    Args:
        store: the versions.
        gate: opens trust policies: signatures, where keys are pinned, and Rego.

    Attributes:
        gate: as given.
    """

    def __init__(self, store: PolicyStore, gate: TrustGate) -> None:
        """Start with an empty cache."""
        self._store = store
        self.gate = gate
        self._by_digest: dict[str, Pipeline] = {}

    def of(self, name: str) -> Pipeline:
        """The pipeline of the active trust policy ``name``.

        Raises:
            PolicyNotFound: none is active: nothing is admitted before an operator says whom to trust.
            StatementError: it is not signed by the keys that are pinned now.
        """
        version = self._store.active(PolicyKind.TRUST, name)
        pipeline = self._by_digest.get(version.digest)
        if pipeline is None:
            pipeline = self.gate.pipeline(version.text)
            if len(self._by_digest) >= _PIPELINES_KEPT:
                self._by_digest.clear()
            self._by_digest[version.digest] = pipeline
        return pipeline
