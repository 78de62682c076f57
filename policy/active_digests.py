"""Digests of active policies inside a write transaction, for whoever acts on an earlier decision.

SQLite has one writer at a time: in a write transaction nothing else is activated, and while the store's
generation is the one that was seen before, so is every active version. One row is read for any number of
policies. Elsewhere each policy's pointer is read and held (``policy.versions.active_digest_in``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from policy.tables import policy_state
from policy.versions import active_digest_in, generation_of
from storage.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from policy.port import PolicyKind

_GENERATION: Final = Prepared(lambda: select(policy_state.c.generation).where(policy_state.c.id == 1))


class ActiveDigests:
    """Remembers the digests of one generation. Thread-safe: what is remembered is replaced, as a whole."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._known: tuple[int, dict[tuple[PolicyKind, str], str | None]] = (-1, {})

    def of(self, connection: Connection, policies: Sequence[tuple[PolicyKind, str]]) -> list[str | None]:
        """Digest of each active version, None where none is; they stay so until the transaction ends.

        Args:
            connection: a write transaction that activates nothing itself.
            policies: kinds and names.

        Raises:
            SchemaMismatch: the database is not migrated.
        """
        if connection.dialect.name != "sqlite":
            return [active_digest_in(connection, kind, name) for kind, name in policies]
        digests = self._of_generation(connection)
        for policy in policies:
            if policy not in digests:
                digests[policy] = active_digest_in(connection, *policy)
        return [digests[policy] for policy in policies]

    def _of_generation(self, connection: Connection) -> dict[tuple[PolicyKind, str], str | None]:
        present = generation_of(_GENERATION.first(connection))
        generation, digests = self._known
        if present != generation:
            digests = {}
            self._known = (present, digests)
        return digests
