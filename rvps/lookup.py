"""Read side on the hot path: the reference values that one appraisal may see.

How ``select`` keeps its cost independent of the number of values:

1. The store's state is read from the database on every call: one row by its key, outside any
   transaction. An ingest or retraction that another process committed is therefore seen by the next
   call, with no message between processes. What was cached of another state is dropped.
2. Of a name with at most ``SMALL_NAME`` live values all are handed over. Of a larger one only those
   equal to something observed are, by index: O(log n) for each observed scalar.
3. What was read of one state is kept: values by name, values by name and key (the absent too), and
   whole answers by names and observed scalars. All three are bounded, see the constants.
4. Dates are judged at each call against its ``now``. An answer is kept with the span of time in which
   no date of its values passes, so that judging is two comparisons.

Of a value that many attestations vouch for, the ``MAX_LINEAGES`` valid longest are handed over.

An answer is of one state: what is missing is read in one transaction, and the answer is of its state.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, text

from rvps import snapshot
from rvps.generations import Generations
from rvps.model import Selection
from rvps.rows import IN_CHUNK, reference_values, values_with_lineage
from rvps.tables import reference_value
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Select, TextClause

    from rvps.model import ReferenceValue
    from rvps.snapshot import State
    from storage.database import Database

SMALL_NAME: Final = 32
MAX_LINEAGES: Final = 8
# Bounds of the caches of one process, in entries of one generation (there are two).
_NAMES_KEPT: Final = 1024
_KEYS_KEPT: Final = 16_384
_ANSWERS_KEPT: Final = 256
_KEYS_A_QUERY: Final = 200
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)


class DatabaseReferenceLookup:
    """Implements ``rvps.model.ReferenceLookup`` on a database. Thread-safe, and safe across a fork.

    Args:
        database: where the values are.
    """

    def __init__(self, database: Database) -> None:
        """Read nothing yet."""
        self._database = database
        self._cache = _Cache((), "")

    def select(self, names: frozenset[str], observed: frozenset[str], now: datetime) -> Selection:
        """Values of ``names`` that are live and valid at ``now``, see the module's text.

        Raises:
            DatabaseUnavailable: the database does not answer.
            SchemaMismatch: the database is not migrated.
        """
        row = self._database.fast_row(snapshot.STATE_SQL)
        cache = self._cache
        if cache.row != row:
            cache = self._renew(snapshot.state_of(row))
        answer = cache.answers.get((names, observed))
        if answer is None:
            answer = cache.collect(names, observed)
        if answer is None or now < answer.exact_from:
            return self._read(names, observed, now)
        return answer.at(now)

    def still_live(self, ids: frozenset[str], now: datetime) -> frozenset[str]:
        """Those of ``ids`` that are live and valid at ``now``, read from the database, uncached."""
        with self._database.read() as connection:
            return _live(connection, ids, now, locked=False)

    def _renew(self, state: State) -> _Cache:
        # Threads may race here; each goes on with a cache of the state it read, one of them is kept.
        cache = _Cache((state.epoch, state.chain), state.snapshot)
        self._cache = cache
        return cache

    def _read(self, names: frozenset[str], observed: frozenset[str], now: datetime) -> Selection:
        with self._database.read() as connection:
            state = snapshot.current(connection)
            cache = self._cache
            if cache.row != (state.epoch, state.chain):
                cache = self._renew(state)
            found = [part for name in names for part in cache.load(connection, name, observed)]
            answer = cache.keep(names, observed, found)
            if now < answer.exact_from:
                return _read_exactly(connection, answer, names, observed, now)
        return answer.at(now)


def still_live_in(connection: Connection, ids: Iterable[str], now: datetime) -> frozenset[str]:
    """Those of ``ids`` that are live and valid at ``now``, held so until the caller's transaction ends.

    To be called in the write transaction that acts on the answer: a retraction then commits either
    before it, and is seen, or after it (PostgreSQL: FOR SHARE; SQLite: one writer at a time).
    """
    return _live(connection, ids, now, locked=True)


class _Slice:
    """The live values of a small name, or those of a name that share one key.

    Attributes:
        values: the values.
        exact_from: from this instant on, no row that was left out can matter. Rows of a key are read in
            order of their end: once one that was read has expired, so have all that were not; and while
            one that was read is valid, the value is. Only before the first of them begins could one
            that was left out be the only valid one.
    """

    __slots__ = ("exact_from", "values")

    def __init__(self, items: Sequence[ReferenceValue], *, cut: bool = False) -> None:
        self.values = tuple(items)
        self.exact_from = min(item.not_before for item in items) if cut else _BEGINNING


class _Answer:
    """Values of several slices, and which of them are valid when."""

    __slots__ = ("_span", "exact_from", "snapshot", "values")

    def __init__(self, snapshot_id: str, slices: Sequence[_Slice]) -> None:
        self.snapshot = snapshot_id
        self.values = tuple(item for part in slices for item in part.values)
        self.exact_from = max((part.exact_from for part in slices), default=_BEGINNING)
        # (from, until, selection): replaced as one, so that no thread sees half of it.
        self._span = (_END, _BEGINNING, Selection(snapshot_id, ()))

    def at(self, now: datetime) -> Selection:
        start, end, selection = self._span
        if start <= now < end:
            return selection
        dates = [item.not_before for item in self.values]
        dates += [item.expires for item in self.values if item.expires is not None]
        valid = tuple(item for item in self.values if _valid(item, now))
        selection = Selection(self.snapshot, valid)
        self._span = (
            max((date for date in dates if date <= now), default=_BEGINNING),
            min((date for date in dates if date > now), default=_END),
            selection,
        )
        return selection


class _Large:
    """Stands for a name with more than ``SMALL_NAME`` live values."""


_LARGE: Final = _Large()
# Names and observed scalars.
_Question = tuple[frozenset[str], frozenset[str]]
_ABSENT: Final = _Slice(())


class _Cache:
    """What was read of one state of the store."""

    __slots__ = ("answers", "keys", "names", "row", "snapshot")

    def __init__(self, row: tuple[Any, ...], snapshot_id: str) -> None:
        self.row = row
        self.snapshot = snapshot_id
        self.names: Generations[str, _Slice | _Large] = Generations(_NAMES_KEPT)
        self.keys: Generations[tuple[str, str], _Slice] = Generations(_KEYS_KEPT)
        self.answers: Generations[_Question, _Answer] = Generations(_ANSWERS_KEPT)

    def collect(self, names: frozenset[str], observed: frozenset[str]) -> _Answer | None:
        """The answer from what was read, kept; None if something was not."""
        found: list[_Slice] = []
        for name in names:
            known = self.names.get(name)
            if known is None:
                return None
            if isinstance(known, _Slice):
                found.append(known)
                continue
            for key in observed:
                part = self.keys.get((name, key))
                if part is None:
                    return None
                if part.values:
                    found.append(part)
        return self.keep(names, observed, found)

    def keep(self, names: frozenset[str], observed: frozenset[str], found: Sequence[_Slice]) -> _Answer:
        """Keep the answer that consists of these slices."""
        answer = _Answer(self.snapshot, found)
        self.answers.put((names, observed), answer)
        return answer

    def load(self, connection: Connection, name: str, observed: frozenset[str]) -> list[_Slice]:
        """The slices of a name, read where they are not known; ``connection`` sees this cache's state."""
        known = self.names.get(name)
        if known is None:
            known = _read_name(connection, name)
            self.names.put(name, known)
        if isinstance(known, _Slice):
            return [known]
        parts = {key: self.keys.get((name, key)) for key in observed}
        missing = [key for key, part in parts.items() if part is None]
        for key, part in _read_keys(connection, name, missing).items():
            self.keys.put((name, key), part)
            parts[key] = part
        return [part for part in parts.values() if part is not None and part.values]


def _read_name(connection: Connection, name: str) -> _Slice | _Large:
    ids = (
        select(reference_value.c.seq)
        .where(reference_value.c.name == name, reference_value.c.retraction.is_(None))
        # In the index's order, so that a planner does not walk the table for the first few.
        .order_by(reference_value.c.value_key, reference_value.c.expires)
        .limit(SMALL_NAME + 1)
    )
    numbers = connection.execute(ids).scalars().all()
    if len(numbers) > SMALL_NAME:
        return _LARGE
    query = values_with_lineage().where(reference_value.c.seq.in_(numbers)).order_by(reference_value.c.seq)
    return _Slice(reference_values(connection, connection.execute(query).all()))


def _read_keys(connection: Connection, name: str, keys: Sequence[str]) -> dict[str, _Slice]:
    found = dict.fromkeys(keys, _ABSENT)
    for start in range(0, len(keys), _KEYS_A_QUERY):
        chunk = keys[start : start + _KEYS_A_QUERY]
        parameters = {"name": name} | {f"key{index}": key for index, key in enumerate(chunk)}
        for key in connection.execute(_which_are_there(len(chunk)), parameters).scalars().all():
            rows = connection.execute(_of_key(name, key)).all()
            found[key] = _Slice(reference_values(connection, rows), cut=len(rows) == MAX_LINEAGES)
    return found


@cache
def _which_are_there(count: int) -> TextClause:
    """Which of ``count`` keys a name has: one index seek each, however many rows share a key.

    As text, since a list of values is compiled anew each time, which costs more than the seeks.
    """
    wanted = ", ".join(f"(:key{index})" for index in range(count))
    return text(
        f"WITH wanted (value_key) AS (VALUES {wanted}) SELECT value_key FROM wanted "  # noqa: S608
        "WHERE EXISTS (SELECT 1 FROM reference_value WHERE reference_value.name = :name "
        "AND reference_value.value_key = wanted.value_key AND reference_value.retraction IS NULL)"
    )


def _read_exactly(
    connection: Connection,
    answer: _Answer,
    names: frozenset[str],
    observed: frozenset[str],
    now: datetime,
) -> Selection:
    """What is valid before ``answer`` is exact: its values, and those that begin before all of them."""
    moment = to_micros(now)
    found = {item.id: item for item in answer.at(now).values}
    for name in names:
        for key in observed:
            query = _of_key(name, key).where(
                reference_value.c.not_before <= moment, reference_value.c.expires > moment
            )
            rows = connection.execute(query).all()
            found |= {item.id: item for item in reference_values(connection, rows)}
    return Selection(answer.snapshot, tuple(found.values()))


def _of_key(name: str, key: str) -> Select[Any]:
    return (
        values_with_lineage()
        .where(
            reference_value.c.name == name,
            reference_value.c.value_key == key,
            reference_value.c.retraction.is_(None),
        )
        .order_by(reference_value.c.expires.desc())
        .limit(MAX_LINEAGES)
    )


def _live(connection: Connection, ids: Iterable[str], now: datetime, *, locked: bool) -> frozenset[str]:
    moment = to_micros(now)
    wanted = sorted(ids)
    found: set[str] = set()
    for start in range(0, len(wanted), IN_CHUNK):
        query = select(reference_value.c.id).where(
            reference_value.c.id.in_(wanted[start : start + IN_CHUNK]),
            reference_value.c.retraction.is_(None),
            reference_value.c.not_before <= moment,
            reference_value.c.expires > moment,
        )
        found.update(connection.execute(query.with_for_update(read=True) if locked else query).scalars())
    return frozenset(found)


def _valid(item: ReferenceValue, now: datetime) -> bool:
    return item.not_before <= now and (item.expires is None or now < item.expires)
