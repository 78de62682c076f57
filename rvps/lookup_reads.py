"""The queries behind the look-up (``rvps.lookup``): each seeks in an index, none walks the table.

Values that nobody signed stand on a shelf of their own, with an index of their own: however many there
are, they cost nothing where nobody asks for them, and they crowd out none of the others.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, select, text

from policy.port import canonical_key
from rvps import quorum
from rvps.declared import PREFIX, live_ids
from rvps.rows import IN_CHUNK, reference_values, values_with_lineage
from rvps.slices import ABSENT, LARGE, Candidate, Slice
from rvps.tables import reference_value
from storage.database import to_micros
from storage.prepared import PreparedList

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Row, Select, TextClause

    from rvps.model import ReferenceValue
    from rvps.slices import Large

SMALL_NAME: Final = 32
MAX_LINEAGES: Final = 8
# Groups that are looked for among the values of which not all were read.
MAX_GROUPS: Final = 16
_KEYS_A_QUERY: Final = 200
# Weights of a group: the release that is sought is among those of a value of which all rows were read.
_CUT: Final = 1
_WHOLE: Final = 1 << 20


class Reader:
    """Reads of one state, in one transaction.

    Args:
        connection: the transaction.
        contested: whether any value is in a contest (``rvps.quorum``); None: not known yet.
    """

    def __init__(self, connection: Connection, contested: bool | None) -> None:
        """Read nothing yet."""
        self._connection = connection
        self._contested = contested

    @property
    def contested(self) -> bool:
        """Whether any value is in a contest."""
        if self._contested is None:
            self._contested = quorum.any_contest(self._connection)
        return self._contested

    def name(self, name: str, *, unverified: bool) -> Slice | Large:
        """The live values of a name, if they are few."""
        ids = (
            select(reference_value.c.seq)
            .where(reference_value.c.name == name, *_shelf(unverified=unverified))
            # In the index's order, so that a planner does not walk the table for the first few.
            .order_by(reference_value.c.value_key, reference_value.c.expires)
            .limit(SMALL_NAME + 1)
        )
        numbers = self._connection.execute(ids).scalars().all()
        if len(numbers) > SMALL_NAME:
            return LARGE
        query = values_with_lineage().where(reference_value.c.seq.in_(numbers))
        rows = self._connection.execute(query.order_by(reference_value.c.seq)).all()
        return Slice(self._candidates(rows))

    def keys(self, name: str, keys: Sequence[str], *, unverified: bool) -> dict[str, Slice]:
        """The live values of a name by each of some keys, of each those that are valid longest."""
        found = dict.fromkeys(keys, ABSENT)
        for start in range(0, len(keys), _KEYS_A_QUERY):
            chunk = keys[start : start + _KEYS_A_QUERY]
            parameters = {"name": name} | {f"key{index}": key for index, key in enumerate(chunk)}
            query = _which_are_there(len(chunk), unverified=unverified)
            for key in self._connection.execute(query, parameters).scalars().all():
                rows = self._connection.execute(_of_key(name, key, unverified=unverified)).all()
                found[key] = Slice(self._candidates(rows), cut=len(rows) == MAX_LINEAGES)
        return found

    def exactly(
        self, names: Iterable[str], observed: Iterable[str], now: datetime, *, unverified: bool
    ) -> list[Candidate]:
        """The values of names and keys that are valid at ``now``."""
        moment = to_micros(now)
        valid = (reference_value.c.not_before <= moment, reference_value.c.expires > moment)
        return [
            item
            for name in names
            for key in observed
            for item in self._candidates(
                self._connection.execute(_of_key(name, key, unverified=unverified).where(*valid)).all()
            )
        ]

    def of_shared_groups(self, slices: Sequence[Slice], observed: frozenset[str]) -> list[Candidate]:
        """Of values of which not all rows were read: the rows of groups that other values belong to.

        A value that many releases share (a firmware's register) has more rows than are handed over. The
        release that the rest of the evidence is of must be among them, so it is looked for by name.
        """
        parts = [part for part in slices if part.cut]
        cut = {(item.value.name, canonical_key(item.value.value)) for part in parts for item in part.items}
        if not cut:
            return []
        met = [
            (item.value, _CUT if part.cut else _WHOLE)
            for part in slices
            for item in part.items
            if canonical_key(item.value.value) in observed
        ]
        known = {value.id for value, _ in met}
        added: list[Candidate] = []
        for name, key in sorted(cut):
            for group in _groups(met, name):
                query = _of_key(name, key).where(reference_value.c.release_group == group)
                rows = self._connection.execute(query).all()
                added += [item for item in self._candidates(rows) if item.value.id not in known]
        return added

    def _candidates(self, rows: Sequence[Row[Any]]) -> list[Candidate]:
        values = reference_values(self._connection, rows)
        if not rows or not self.contested:
            return [Candidate(value) for value in values]
        contests = [
            None if row.unverified else quorum.contest_of(row.name, row.value, row.tee, scalar=row.scalar)
            for row in rows
        ]
        found = quorum.ballots(self._connection, {item for item in contests if item is not None})
        return [
            Candidate(value, None if contest is None else found.get(contest))
            for value, contest in zip(values, contests, strict=True)
        ]


def live(
    connection: Connection, ids: Iterable[str], now: datetime, *, locked: bool, declared: bool = False
) -> frozenset[str]:
    """Those of ``ids`` that are live, valid and attested by enough trust domains at ``now``.

    Args:
        connection: a transaction.
        ids: of values, verified or not, or declared.
        now: the instant.
        locked: hold the rows until the transaction ends, those that the domains are counted from included.
        declared: whether declared values count; if not, none of their ids is live.
    """
    every = frozenset(ids)
    words = frozenset(id_ for id_ in every if id_.startswith(PREFIX))
    found = _live(connection, every - words, now, locked=locked)
    if not words or not declared:
        return found
    return found | live_ids(connection, words, now, locked=locked)


_LIVE: Final = PreparedList(
    lambda members: (
        select(reference_value.c.id)
        .where(
            reference_value.c.id.in_(members),
            reference_value.c.retraction.is_(None),
            reference_value.c.not_before <= bindparam("moment"),
            reference_value.c.expires > bindparam("moment"),
        )
        .with_for_update(read=True)
    )
)


def _live(connection: Connection, ids: frozenset[str], now: datetime, *, locked: bool) -> frozenset[str]:
    moment = to_micros(now)
    wanted = sorted(ids)
    contested = bool(wanted) and quorum.any_contest(connection)
    if locked and not contested and len(wanted) <= PreparedList.MOST:
        return frozenset(row[0] for row in _LIVE.all(connection, wanted, moment=moment))
    found: set[str] = set()
    for start in range(0, len(wanted), IN_CHUNK):
        query = select(
            *(reference_value.c[name] for name in ("id", "name", "value", "tee", "scalar", "unverified"))
        ).where(
            reference_value.c.id.in_(wanted[start : start + IN_CHUNK]),
            reference_value.c.retraction.is_(None),
            reference_value.c.not_before <= moment,
            reference_value.c.expires > moment,
        )
        rows = connection.execute(query.with_for_update(read=True) if locked else query).all()
        short = _short_of_domains(connection, rows, moment, locked=locked) if contested else frozenset()
        found.update(row.id for row in rows if row.id not in short)
    return frozenset(found)


def _short_of_domains(
    connection: Connection, rows: Sequence[Row[Any]], moment: int, *, locked: bool
) -> frozenset[str]:
    contests = {
        row.id: quorum.contest_of(row.name, row.value, row.tee, scalar=row.scalar)
        for row in rows
        if not row.unverified
    }
    found = quorum.ballots(connection, contests.values(), locked=locked)
    return frozenset(
        key for key, contest in contests.items() if contest in found and found[contest].missing(moment)
    )


def _groups(met: Sequence[tuple[ReferenceValue, int]], name: str) -> list[str]:
    """Groups of the values of other names: first those of values read whole, then those of most names."""
    weights = {(value.group, value.name): weight for value, weight in met if value.name != name}
    counted: Counter[str] = Counter()
    for (group, _), weight in sorted(weights.items()):
        counted[group] += weight
    return [group for group, _ in counted.most_common(MAX_GROUPS)]


def _shelf(*, unverified: bool) -> tuple[ColumnElement[bool], ...]:
    flag = reference_value.c.unverified
    return (
        reference_value.c.retraction.is_(None),
        flag.is_not(None) if unverified else flag.is_(None),
    )


def _of_key(name: str, key: str, *, unverified: bool = False) -> Select[Any]:
    return (
        values_with_lineage()
        .where(
            reference_value.c.name == name,
            reference_value.c.value_key == key,
            *_shelf(unverified=unverified),
        )
        .order_by(reference_value.c.expires.desc())
        .limit(MAX_LINEAGES)
    )


@cache
def _which_are_there(count: int, *, unverified: bool) -> TextClause:
    """Which of ``count`` keys a name has: one index seek each, however many rows share a key.

    As text, since a list of values is compiled anew each time, which costs more than the seeks.
    """
    wanted = ", ".join(f"(:key{index})" for index in range(count))
    shelf = "IS NOT NULL" if unverified else "IS NULL"
    return text(
        f"WITH wanted (value_key) AS (VALUES {wanted}) SELECT value_key FROM wanted "  # noqa: S608
        "WHERE EXISTS (SELECT 1 FROM reference_value WHERE reference_value.name = :name "
        "AND reference_value.value_key = wanted.value_key AND reference_value.retraction IS NULL "
        f"AND reference_value.unverified {shelf})"
    )
