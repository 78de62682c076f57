"""Reference values that an administrator declares: a name and a value, on nobody's word but theirs.

A client of Confidential Containers registers values in this form (a ``sample`` message), unsigned. They are
kept apart from what a verified attestation vouches for: a table of their own, ids of their own (``dv-``),
no part in the store's chain of changes, no group, no lineage. Whether they count at all is for whoever
makes the look-up to say (``rvps.lookup``); by default they do not.

Invariants:

* One row a name: to register is to replace. What stood there before is in the audit log, by its caller.
* An expired value is not served: not to a policy, not to a query, not at the release of a secret.
* The id is a digest of name and value, so that it stands for exactly what was relied on: replaced by
  another value, or deleted, it is dead; registered again as it was, it lives again.
* Every change counts up ``reference_state.declared``, which each look-up of each process reads first.

``register_in`` and ``delete_in`` write in the caller's transaction, beside its audit record.
"""

from __future__ import annotations

import calendar
import hashlib
import json
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from common import strict_json
from common.errors import Malformed, SchemaMismatch, TooLarge
from rvps.tables import declared_value, reference_state
from storage.database import from_micros, to_micros
from storage.prepared import PreparedList

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row

MAX_NAME: Final = 512
# Of one value's JSON text.
MAX_VALUE_BYTES: Final = 256 << 10
LIFETIME_MONTHS: Final = 12
PREFIX: Final = "dv-"
_MONTHS_A_YEAR: Final = 12
_ID_HEX: Final = 40
_CHUNK: Final = 500


class DeclaredValue(msgspec.Struct, frozen=True):
    """One declared value.

    Attributes:
        name: reference name; any printable text, ``rvps:///example.org/image:1.0`` too.
        id: ``dv-`` and 40 hex digits of SHA-256 over name and value.
        value: any JSON: a scalar, a list of values to choose from, an object.
        kind: type of the message that declared it (``sample``, ``swid``, ``corim``), or ``import``.
        declared_at: when.
        declared_by: who.
        expires_at: from then on it does not count.
    """

    name: str
    id: str
    value: Any
    kind: str
    declared_at: datetime
    declared_by: str
    expires_at: datetime


def declared_id(name: str, value: object) -> str:
    """The id of a value under a name."""
    digest = hashlib.sha256(name.encode("utf-8") + b"\0" + _text(value).encode("utf-8"))
    return PREFIX + digest.hexdigest()[:_ID_HEX]


def default_expiry(now: datetime) -> datetime:
    """``LIFETIME_MONTHS`` after ``now``: the same day and time of that month, or its last day."""
    months = now.month - 1 + LIFETIME_MONTHS
    year, month = now.year + months // _MONTHS_A_YEAR, months % _MONTHS_A_YEAR + 1
    return now.replace(year=year, month=month, day=min(now.day, calendar.monthrange(year, month)[1]))


def check(name: str, value: object) -> None:
    """Whether a value can be declared under a name.

    Raises:
        Malformed: the name is empty, too long or not printable, or the value has no JSON form.
        TooLarge: the value's JSON text has more than ``MAX_VALUE_BYTES``.
    """
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise Malformed(f"a reference name has 1 to {MAX_NAME} printable characters")
    size = len(_text(value).encode("utf-8"))
    if size > MAX_VALUE_BYTES:
        raise TooLarge(f"the value of {name} has {size} bytes of JSON, the limit is {MAX_VALUE_BYTES}")


def register_in(
    connection: Connection,
    name: str,
    value: object,
    *,
    kind: str,
    by: str,
    now: datetime,
    expires: datetime | None = None,
) -> DeclaredValue:
    """Declare a value under a name, in place of what stood there.

    Args:
        connection: a write transaction.
        name: see ``DeclaredValue``.
        value: any JSON.
        kind: of the message.
        by: the caller.
        now: aware UTC.
        expires: when it ends; ``default_expiry`` if not given.

    Raises:
        Malformed, TooLarge: see ``check``.
    """
    check(name, value)
    _count(connection)
    declared = DeclaredValue(
        name, declared_id(name, value), value, kind, now, by, expires or default_expiry(now)
    )
    row = {
        "id": declared.id,
        "value": _text(value),
        "kind": kind,
        "declared_at": to_micros(now),
        "declared_by": by,
        "expires_at": to_micros(declared.expires_at),
    }
    changed = connection.execute(
        update(declared_value).where(declared_value.c.name == name).values(row)
    ).rowcount
    if not changed:
        connection.execute(insert(declared_value).values(name=name, **row))
    return declared


def delete_in(connection: Connection, name: str) -> DeclaredValue | None:
    """Take a name's value away; what it was, None if there was none."""
    _count(connection)
    found = connection.execute(select(declared_value).where(declared_value.c.name == name)).one_or_none()
    connection.execute(delete(declared_value).where(declared_value.c.name == name))
    return None if found is None else _of(found)


def live_by_name(connection: Connection, names: Iterable[str], now: datetime) -> dict[str, DeclaredValue]:
    """What is declared under each of ``names`` and has not expired at ``now``."""
    return {item.name: item for item in of_names(connection, names) if now < item.expires_at}


def of_names(connection: Connection, names: Iterable[str]) -> list[DeclaredValue]:
    """What is declared under each of ``names``, expired or not: a look-up by key each."""
    wanted = sorted(names)
    found: list[DeclaredValue] = []
    for start in range(0, len(wanted), _CHUNK):
        query = select(declared_value).where(declared_value.c.name.in_(wanted[start : start + _CHUNK]))
        found += [_of(row) for row in connection.execute(query)]
    return found


def everything(connection: Connection, now: datetime) -> tuple[DeclaredValue, ...]:
    """Every value that has not expired at ``now``, by name."""
    query = (
        select(declared_value)
        .where(declared_value.c.expires_at > to_micros(now))
        .order_by(declared_value.c.name)
    )
    return tuple(_of(row) for row in connection.execute(query))


_LIVE: Final = PreparedList(
    lambda members: (
        select(declared_value.c.id)
        .where(declared_value.c.id.in_(members), declared_value.c.expires_at > bindparam("moment"))
        .with_for_update(read=True)
    )
)


def live_ids(connection: Connection, ids: Iterable[str], now: datetime, *, locked: bool) -> frozenset[str]:
    """Those of ``ids`` under which a value is declared that has not expired at ``now``.

    Args:
        connection: a transaction.
        ids: of declared values.
        now: the instant.
        locked: hold the rows until the transaction ends.
    """
    wanted = sorted(ids)
    if locked and len(wanted) <= PreparedList.MOST:
        return frozenset(row[0] for row in _LIVE.all(connection, wanted, moment=to_micros(now)))
    found: set[str] = set()
    for start in range(0, len(wanted), _CHUNK):
        query = select(declared_value.c.id).where(
            declared_value.c.id.in_(wanted[start : start + _CHUNK]),
            declared_value.c.expires_at > to_micros(now),
        )
        found.update(connection.execute(query.with_for_update(read=True) if locked else query).scalars())
    return frozenset(found)


def _count(connection: Connection) -> None:
    """Count the change up. The row also puts all who write declared values in order."""
    counted = connection.execute(
        update(reference_state)
        .where(reference_state.c.id == 1)
        .values(declared=reference_state.c.declared + 1)
    )
    if counted.rowcount != 1:
        raise SchemaMismatch("the reference-value store has no state row")


def _text(value: object) -> str:
    """The value's JSON text, members in order; what is equal has one text."""
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise Malformed("the value is not JSON") from error


def _of(row: Row[Any]) -> DeclaredValue:
    return DeclaredValue(
        name=row.name,
        id=row.id,
        value=strict_json.loads(row.value.encode("utf-8"), what="declared value"),
        kind=row.kind,
        declared_at=from_micros(row.declared_at),
        declared_by=row.declared_by,
        expires_at=from_micros(row.expires_at),
    )
