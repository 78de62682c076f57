"""Read side on the hot path: the reference values that one appraisal may see.

How ``select`` keeps its cost independent of the number of values:

1. The store's state is read from the database on every call: one row by its key, outside any
   transaction. An ingest or retraction that another process committed is therefore seen by the next
   call, with no message between processes. What was cached of another state is dropped.
2. Of a name with at most ``SMALL_NAME`` live values all are handed over. Of a larger one only those
   equal to something observed are, by index: O(log n) for each observed scalar.
3. What was read of one state is kept: values by name, values by name and key (the absent too), and
   whole answers by names and observed scalars. All three are bounded, see the constants.
4. Values that an administrator declared (``rvps.declared``) are read by name, beside the others, where the
   look-up was made to count them. They change that state as well.
5. Dates and trust domains are judged at each call against its ``now`` (``rvps.slices``).

Of a value that many attestations vouch for, the ``MAX_LINEAGES`` valid longest are handed over, and those
of the groups that the other observed values belong to.

An answer is of one state: what is missing is read in one transaction, and the answer is of its state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rvps import snapshot
from rvps.declared import of_names
from rvps.generations import Generations
from rvps.lookup_reads import MAX_LINEAGES, SMALL_NAME, Reader, live
from rvps.model import Selection
from rvps.slices import UNDECLARED, Answer, Declared, Large, Slice, Undeclared, counting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from rvps.model import DeclaredReference, ReferenceValue
    from rvps.slices import Candidate
    from rvps.snapshot import State
    from storage.database import Database

__all__ = ["MAX_LINEAGES", "SMALL_NAME", "DatabaseReferenceLookup", "still_live_in"]

# Bounds of the caches of one process, in entries of one generation (there are two).
_NAMES_KEPT: Final = 1024
_KEYS_KEPT: Final = 16_384
_ANSWERS_KEPT: Final = 256
_NONE: Final[frozenset[str]] = frozenset()
# Columns of a state that tell the verified values apart; the one after them counts declared ones.
_VERIFIED: Final = 2


class DatabaseReferenceLookup:
    """Implements ``rvps.model.ReferenceLookup`` on a database. Thread-safe, and safe across a fork.

    Args:
        database: where the values are.
        declared_values: whether what an administrator declared counts, beside what is verified.
    """

    def __init__(self, database: Database, *, declared_values: bool = False) -> None:
        """Read nothing yet."""
        self._database = database
        self._counts_declared = declared_values
        self._cache = _Cache((), "")

    def select(
        self,
        names: frozenset[str],
        observed: frozenset[str],
        now: datetime,
        *,
        unverified: frozenset[str] = _NONE,
    ) -> Selection:
        """Values of ``names`` that count at ``now``, see the module's text.

        Raises:
            DatabaseUnavailable: the database does not answer.
            SchemaMismatch: the database is not migrated.
        """
        row = self._database.fast_row(snapshot.STATE_SQL)
        cache = self._cache
        if cache.row != row:
            cache = self._renew(snapshot.state_of(row))
        question = (names, unverified, observed)
        answer = cache.answers.get(question)
        if answer is None:
            answer = cache.collect(question, declared=self._counts_declared)
        if answer is None or now < answer.exact_from:
            return self._read(question, now)
        return answer.at(now)

    def still_live(self, ids: frozenset[str], now: datetime) -> frozenset[str]:
        """Those of ``ids`` that count at ``now``, read from the database, uncached."""
        with self._database.read() as connection:
            return live(connection, ids, now, locked=False, declared=self._counts_declared)

    def _renew(self, state: State) -> _Cache:
        # Threads may race here; each goes on with a cache of the state it read, one of them is kept.
        cache = _Cache((state.epoch, state.chain, state.declared), state.snapshot, self._cache)
        self._cache = cache
        return cache

    def _read(self, question: _Question, now: datetime) -> Selection:
        names, unverified, observed = question
        with self._database.read() as connection:
            state = snapshot.current(connection)
            cache = self._cache
            if cache.row != (state.epoch, state.chain, state.declared):
                cache = self._renew(state)
            reader = Reader(connection, cache.contested)
            found = [part for name in names for part in cache.load(reader, name, observed)]
            shelf = [
                part for name in unverified for part in cache.load(reader, name, observed, unverified=True)
            ]
            added = reader.of_shared_groups(found, observed)
            cache.contested = reader.contested
            declared = cache.declare(connection, names, observed) if self._counts_declared else ()
            answer = cache.keep(question, Answer(state.snapshot, found, shelf, added, declared))
            if now < answer.exact_from:
                return _exactly(reader, answer, question, now)
        return answer.at(now)


def still_live_in(
    connection: Connection, ids: Iterable[str], now: datetime, *, declared: bool = False
) -> frozenset[str]:
    """Those of ``ids`` that count at ``now``, held so until the caller's transaction ends.

    To be called in the write transaction that acts on the answer: a retraction then commits either
    before it, and is seen, or after it (PostgreSQL: FOR SHARE; SQLite: one writer at a time).

    Args:
        connection: the write transaction.
        ids: of values, verified, unverified or declared.
        now: the instant.
        declared: whether declared values count in this deployment; they do not by default.
    """
    return live(connection, ids, now, locked=True, declared=declared)


# Names, names of which unverified values are asked for, and observed scalars.
_Question = tuple[frozenset[str], frozenset[str], frozenset[str]]


class _Cache:
    """What was read of one state of the store; names and keys each by shelf (unverified or not)."""

    __slots__ = ("answers", "contested", "declared", "keys", "names", "row", "snapshot")

    def __init__(self, row: tuple[Any, ...], snapshot_id: str, before: _Cache | None = None) -> None:
        self.row = row
        self.snapshot = snapshot_id
        self.contested: bool | None = None
        self.names: Generations[tuple[str, bool], Slice | Large] = Generations(_NAMES_KEPT)
        self.keys: Generations[tuple[str, bool, str], Slice] = Generations(_KEYS_KEPT)
        if before is not None and before.row[:_VERIFIED] == row[:_VERIFIED]:
            # Only declared values changed: what was read of the others is still so.
            self.contested, self.names, self.keys = before.contested, before.names, before.keys
        self.declared: Generations[str, Declared | Undeclared] = Generations(_NAMES_KEPT)
        self.answers: Generations[_Question, Answer] = Generations(_ANSWERS_KEPT)

    def collect(self, question: _Question, *, declared: bool) -> Answer | None:
        """The answer from what was read, kept; None if something was not, or more must be."""
        names, unverified, observed = question
        found = self._known(names, observed, unverified=False)
        shelf = self._known(unverified, observed, unverified=True)
        if found is None or shelf is None or any(part.cut for part in found):
            return None
        words = self._declared_known(names, observed) if declared else []
        if words is None:
            return None
        return self.keep(question, Answer(self.snapshot, found, shelf, (), words))

    def keep(self, question: _Question, answer: Answer) -> Answer:
        """Keep an answer."""
        self.answers.put(question, answer)
        return answer

    def declare(
        self, connection: Connection, names: frozenset[str], observed: frozenset[str]
    ) -> list[DeclaredReference]:
        """What is declared under ``names``, read where it is not known."""
        missing = [name for name in names if self.declared.get(name) is None]
        read = {item.name: item for item in of_names(connection, missing)}
        for name in missing:
            self.declared.put(name, Declared(read[name]) if name in read else UNDECLARED)
        # Of a cache this small a name may be gone again: it is read once more, by the next call.
        return self._declared_known(names, observed) or []

    def _declared_known(
        self, names: frozenset[str], observed: frozenset[str]
    ) -> list[DeclaredReference] | None:
        found = []
        for name in sorted(names):
            known = self.declared.get(name)
            if known is None:
                return None
            if isinstance(known, Declared):
                found.append(known.narrowed(observed))
        return found

    def _known(
        self, names: frozenset[str], observed: frozenset[str], *, unverified: bool
    ) -> list[Slice] | None:
        found: list[Slice] = []
        for name in names:
            known = self.names.get((name, unverified))
            if known is None:
                return None
            if isinstance(known, Slice):
                found.append(known)
                continue
            for key in observed:
                part = self.keys.get((name, unverified, key))
                if part is None:
                    return None
                if part.items:
                    found.append(part)
        return found

    def load(
        self, reader: Reader, name: str, observed: frozenset[str], *, unverified: bool = False
    ) -> list[Slice]:
        """The slices of a name, read where they are not known; ``reader`` sees this cache's state."""
        known = self.names.get((name, unverified))
        if known is None:
            known = reader.name(name, unverified=unverified)
            self.names.put((name, unverified), known)
        if isinstance(known, Slice):
            return [known]
        parts = {key: self.keys.get((name, unverified, key)) for key in observed}
        missing = [key for key, part in parts.items() if part is None]
        for key, part in reader.keys(name, missing, unverified=unverified).items():
            self.keys.put((name, unverified, key), part)
            parts[key] = part
        return [part for part in parts.values() if part is not None and part.items]


def _exactly(reader: Reader, answer: Answer, question: _Question, now: datetime) -> Selection:
    """What counts before ``answer`` is exact: its values, and those that begin before all of them."""
    names, unverified, observed = question
    selection = answer.at(now)
    return Selection(
        answer.snapshot,
        _joined(selection.values, reader.exactly(names, observed, now, unverified=False), now),
        _joined(selection.unverified, reader.exactly(unverified, observed, now, unverified=True), now),
        selection.declared,
    )


def _joined(
    known: Sequence[ReferenceValue], more: Sequence[Candidate], now: datetime
) -> tuple[ReferenceValue, ...]:
    found = {item.id: item for item in (*known, *counting(more, now))}
    return tuple(found.values())
