"""Holds the tables of secrets and releases against the audit log: what a restored backup brings back shows.

The log says what happened to every version and what was released. A version that is active in the tables
but was destroyed according to the log, a release without a record, a record without its release: each is
a discrepancy. The log's own wholeness is ``AuditLog.verify``'s and ``verify_checkpoints``' to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select

from common import strict_json
from common.errors import InputError
from kms.secret_model import VersionState, fold_states
from kms.tables import audit_record, secret_release, secret_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from storage.database import Database

_CREATING = frozenset({"secret.put", "secret.generate", "secret.rotate"})
_STATE = "secret.state"
_RELEASE = "secret.release"
_MAX_REPORTED = 100


class Discrepancy(msgspec.Struct, frozen=True):
    """One thing that tables and log disagree about.

    Attributes:
        what: ``version-state`` or ``release``.
        target: the secret, ``kind/id``.
        version: of the secret.
        logged: what the log says; empty where it knows nothing.
        stored: what the tables say; empty where they have nothing.
    """

    what: str
    target: str
    version: int
    logged: str
    stored: str


def compare(database: Database) -> tuple[Discrepancy, ...]:
    """Every discrepancy, at most 100 of them; empty where log and tables agree."""
    states: dict[tuple[str, int], list[str]] = {}
    releases: dict[int, tuple[str, int, str]] = {}
    with database.read() as connection:
        for sequence, entry in _entries(connection):
            version, target = entry["details"].get("version"), entry["target"]
            if entry["action"] in _CREATING:
                states[target, version] = [VersionState.ACTIVE.value]
            elif entry["action"] == _STATE:
                states.setdefault((target, version), []).append(entry["details"]["state"])
            elif entry["outcome"] == "done":
                releases[sequence] = (target, version, entry["details"]["jti"])
        found = [*_states(connection, states), *_releases(connection, releases)]
    return tuple(found[:_MAX_REPORTED])


def _entries(connection: Connection) -> Iterator[tuple[int, dict[str, Any]]]:
    actions = (*_CREATING, _STATE, _RELEASE)
    statement = (
        select(audit_record.c.sequence, audit_record.c.entry)
        .where(audit_record.c.action.in_(actions))
        .order_by(audit_record.c.sequence)
        .execution_options(yield_per=1000)
    )
    for row in connection.execute(statement):
        try:
            yield row.sequence, strict_json.loads(row.entry, what="audit entry")
        except InputError:
            continue  # AuditLog.verify reports it; what it recorded is missing here


def _states(connection: Connection, logged: dict[tuple[str, int], list[str]]) -> Iterator[Discrepancy]:
    stored: dict[tuple[str, int], list[str]] = {}
    statement = select(secret_state).order_by(secret_state.c.serial)
    for row in connection.execute(statement):
        stored.setdefault((f"{row.kind}/{row.id}", row.version), []).append(row.state)
    for target, version in sorted(logged.keys() | stored.keys()):
        there, here = logged.get((target, version)), stored.get((target, version))
        expected = fold_states(there).value if there else ""
        found = fold_states(here).value if here else ""
        if expected != found:
            yield Discrepancy("version-state", target, version, expected, found)


def _releases(connection: Connection, logged: dict[int, tuple[str, int, str]]) -> Iterator[Discrepancy]:
    columns = secret_release.c
    for row in connection.execute(
        select(columns.sequence, columns.kind, columns.id, columns.version, columns.jti)
    ):
        stored = (f"{row.kind}/{row.id}", row.version, row.jti)
        expected = logged.pop(row.sequence, None)
        if expected != stored:
            yield Discrepancy("release", stored[0], row.version, expected[2] if expected else "", row.jti)
    for target, version, jti in logged.values():
        yield Discrepancy("release", target, version, jti, "")
