"""Trust domains: a value counts only while enough independent parties attest it on the same ground.

Each row of a value says which trust domains speak for it, how many its trust policy demands, and on what
ground: a digest of the artefacts that the value was derived from. Rows of one *contest* (name, value, TEE,
scalar) are judged together, at each use, from those that are neither retracted nor outside their dates:

* the largest number that any of them demands counts for all;
* it is met if that many distinct domains stand behind one and the same ground (two rebuilders that built
  different things and got one measurement do not agree);
* a row that names no domain speaks for none, and stands or falls with its contest.

Nothing is stored of the outcome, so that a retraction of one rebuilder ends the value at once. Where no
policy names domains no row takes part in a contest, and nothing is read here but that there is none.

More than ``MAX_ROWS`` rows in one contest are not counted: it is then not met.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import not_, select

from common.errors import TooLarge
from rvps.tables import reference_value
from rvps.targets import printable
from storage.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from provenance.model import AdmittedStatement

MAX_ROWS: Final = 4096
# A vote is a key of an index (PostgreSQL: at most 2704 bytes an entry).
MAX_DOMAINS: Final = 16
_MAX_DOMAIN_CHARS: Final = 64
_MAX_REQUIRED: Final = 64
# Members of a value's inputs that are not artefacts: who said so, and by what means.
_NOT_GROUND: Final = frozenset({"derivedFrom", "statedRule", "tool"})
# Ordered, so that no planner takes a walk of the table for the shorter way to the first row.
_OPEN: Final = Prepared(
    lambda: (
        select(reference_value.c.contest)
        .where(reference_value.c.retraction.is_(None), reference_value.c.contest.is_not(None))
        .order_by(reference_value.c.contest, reference_value.c.vote, reference_value.c.expires)
        .limit(1)
    )
)


class Vote(msgspec.Struct, frozen=True):
    """What one row says.

    Attributes:
        ground: digest of the derivation's inputs, hex.
        required: how many domains its trust policy demands.
        domains: those that speak for the value by this row.
        not_before: microseconds since the epoch.
        expires: likewise; ``rvps.tables.NEVER`` for no end.
    """

    ground: str
    required: int
    domains: frozenset[str]
    not_before: int
    expires: int


class Ballot(msgspec.Struct, frozen=True):
    """Every live vote of one contest.

    Attributes:
        votes: the votes, whatever their dates.
        uncounted: there are more than may be read.
    """

    votes: tuple[Vote, ...]
    uncounted: bool = False

    def missing(self, moment: int) -> int:
        """How many more domains are needed at an instant (microseconds); 0 where the value counts."""
        if self.uncounted:
            return 1
        behind: dict[str, set[str]] = defaultdict(set)
        required = 1
        for vote in self.votes:
            if vote.not_before <= moment < vote.expires:
                required = max(required, vote.required)
                behind[vote.ground].update(vote.domains)
        if required == 1:
            return 0
        return max(required - max(map(len, behind.values()), default=0), 0)


def contest_and_vote(
    admitted: AdmittedStatement, row: Mapping[str, Any], inputs: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """The columns ``contest`` and ``vote`` of a value; both None where nothing is at stake.

    Raises:
        Malformed, TooLarge: a domain's name, or their number.
    """
    if admitted.authentic.unverified or (admitted.required_domains <= 1 and not admitted.domains):
        return None, None
    if len(admitted.domains) > MAX_DOMAINS or not 1 <= admitted.required_domains <= _MAX_REQUIRED:
        raise TooLarge(f"a statement has at most {MAX_DOMAINS} domains and needs 1 to {_MAX_REQUIRED}")
    domains = [printable(item, what="a trust domain", limit=_MAX_DOMAIN_CHARS) for item in admitted.domains]
    vote = [_ground(inputs), admitted.required_domains, sorted(set(domains))]
    contest = contest_of(row["name"], row["value"], row["tee"], scalar=row["scalar"])
    return contest, msgspec.json.encode(vote).decode("utf-8")


def contest_of(name: str, value: str, tee: str, *, scalar: bool) -> str:
    """Digest of what a row's vote is about, hex; of any row, whether it votes or not.

    Args:
        name: reference name.
        value: the JSON scalar, encoded.
        tee: TEE.
        scalar: whether it is a single value.
    """
    about = [name, value, tee, bool(scalar)]
    return hashlib.sha256(msgspec.json.encode(about)).hexdigest()


def stated(vote: str | None) -> tuple[tuple[str, ...], int]:
    """Domains and required number of a stored vote."""
    if vote is None:
        return (), 1
    _, required, domains = msgspec.json.decode(vote, type=tuple[str, int, tuple[str, ...]])
    return domains, required


def any_contest(connection: Connection) -> bool:
    """Whether any live value takes part in a contest: one seek."""
    return _OPEN.first(connection) is not None


def ballots(
    connection: Connection,
    contests: Iterable[str],
    *,
    locked: bool = False,
    besides: ColumnElement[bool] | None = None,
) -> dict[str, Ballot]:
    """The ballot of each contest that has live votes.

    Args:
        connection: a transaction.
        contests: from ``contest_of``.
        locked: hold the rows read until the transaction ends (PostgreSQL: FOR SHARE).
        besides: rows that are left out.
    """
    found: dict[str, Ballot] = {}
    for contest in sorted(set(contests)):
        query = (
            select(reference_value.c.vote, reference_value.c.not_before, reference_value.c.expires)
            .where(
                reference_value.c.contest == contest,
                reference_value.c.contest.is_not(None),
                reference_value.c.retraction.is_(None),
            )
            .limit(MAX_ROWS + 1)
        )
        if besides is not None:
            query = query.where(not_(besides))
        rows = connection.execute(query.with_for_update(read=True) if locked else query).all()
        if rows:
            found[contest] = Ballot(_votes(rows[:MAX_ROWS]), uncounted=len(rows) > MAX_ROWS)
    return found


def _votes(rows: Sequence[Any]) -> tuple[Vote, ...]:
    decoded: dict[str, tuple[str, int, frozenset[str]]] = {}
    votes = []
    for text, not_before, expires in sorted(set(map(tuple, rows))):
        if text not in decoded:
            decoded[text] = msgspec.json.decode(text, type=tuple[str, int, frozenset[str]])
        votes.append(Vote(*decoded[text], not_before, expires))
    return tuple(votes)


def _ground(inputs: Mapping[str, Any]) -> str:
    """Digest of the inputs that are artefacts and launch shape."""
    about = {name: item for name, item in inputs.items() if name not in _NOT_GROUND}
    if isinstance(stated_inputs := about.get("stated"), dict):
        about["stated"] = {name: item for name, item in stated_inputs.items() if name not in _NOT_GROUND}
    return hashlib.sha256(msgspec.json.encode(about, order="sorted")).hexdigest()
