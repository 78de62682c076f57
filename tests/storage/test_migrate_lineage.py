"""A database of the first schema, with rows, becomes one of this: nothing is lost, and it works."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from rvps import queries, snapshot
from rvps.errors import AlreadyRetracted
from rvps.ingest import ingest
from rvps.integrity import verify_store
from rvps.lookup import DatabaseReferenceLookup
from rvps.records import ValueState
from rvps.retraction import RetractionTarget, TargetKind, retract
from storage import migrate as migration
from storage.database import Database
from testkit.reference_values import NAME, admitted_statement, derived_value

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 5, 1, tzinfo=UTC)
KEY = "ab" * 32
# (identity, value, inputs) of each value, by an attestation of its own.
ROWS = (
    ("https://forge.example/build", "one", '{"tool":"sev-snp-measure/0.0.11"}'),
    (f"key:{KEY}", "two", '{"launch":{"vcpus":1}}'),
    (f"key:{KEY}", "three", '{"tool":["not text"]}'),
)


@pytest.fixture
def old(empty_url: str) -> Iterator[Database]:
    """A database of revision 0001 with values, one of them retracted."""
    database = Database(empty_url)
    with database.write() as connection:
        config = Config()
        config.set_main_option("script_location", "storage:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with database.write() as connection:
        _fill(connection)
    yield database
    database.close()


def _fill(connection: Any) -> None:
    for number, (identity, value, inputs) in enumerate(ROWS):
        envelope = value.encode()
        digest = hashlib.sha256(envelope).hexdigest()
        state = snapshot.lock(connection)
        epoch = state.epoch + 1
        row = {"digest": digest, "identity": identity, "epoch": epoch, "value": value, "inputs": inputs}
        kind = "key" if identity.startswith("key:") else "certificate"
        for statement in (
            (
                "INSERT INTO attestation (digest, predicate_type, signer, signer_root, signers, signed_at, "
                "effective_at, trust_policy, submitted_by, submitted_at, epoch) "
                "VALUES (:digest, 't', :identity, 'r', 1, 0, 0, 'p', 'ci', 0, :epoch)"
            ),
            "INSERT INTO attestation_document VALUES (:digest, :envelope, '[]')",
            "INSERT INTO attestation_signer VALUES (:digest, 0, :kind, :identity, NULL, 'r', '{}')",
            (
                "INSERT INTO reference_value (id, name, value, value_key, tee, release_group, scalar, "
                "not_before, expires, rule, inputs, attestation, trust_policy, submitted_by, submitted_at, "
                "epoch) VALUES (:id, :name, :json, :value, 'snp', 'g', false, 0, 9223372036854775807, "
                "'snp-launch-digest/1', :inputs, :digest, 'p', 'ci', 0, :epoch)"
            ),
        ):
            extra = {"envelope": envelope, "kind": kind, "json": f'"{value}"', "name": NAME}
            found = row | extra | {"id": f"rv-{number}"}
            used = {key: item for key, item in found.items() if f":{key}" in statement}
            connection.execute(text(statement), used)
        change = {
            "change": "ingested",
            "attestation": digest,
            "reference_values": [f"rv-{number}"],
            "by": "ci",
        }
        snapshot.advance(connection, state, change, NOW)


def _values(database: Database) -> set[str]:
    selection = DatabaseReferenceLookup(database).select(frozenset({NAME}), frozenset(), NOW)
    return {item.value for item in selection.values}


def test_values_go_on_matching(old: Database) -> None:
    migration.migrate(old)
    migration.check(old)
    assert _values(old) == {"one", "two", "three"}
    page = queries.list_reference_values(old, now=NOW, state=ValueState.LIVE)
    assert [item.id for item in page.items] == ["rv-2", "rv-1", "rv-0"]
    with old.read() as connection:
        assert snapshot.first_broken(connection) is None
    assert queries.get_envelope(old, hashlib.sha256(b"one").hexdigest()) == b"one"


def test_tools_and_keys_are_found_by_retractions(old: Database) -> None:
    migration.migrate(old)
    assert queries.get_reference_value(old, "rv-0", now=NOW).lineage.tools == ("sev-snp-measure/0.0.11",)
    assert queries.get_reference_value(old, "rv-2", now=NOW).lineage.tools == ()
    for kind, value, left in (
        (TargetKind.TOOL, "sev-snp-measure/0.0.11", {"two", "three"}),
        (TargetKind.KEY, KEY, set()),
    ):
        retract(old, RetractionTarget(kind, value), reason="r", by="admin", now=NOW)
        assert _values(old) == left


def test_a_rule_is_found_by_retractions(old: Database) -> None:
    migration.migrate(old)
    target = RetractionTarget(TargetKind.RULE, "snp-launch-digest/1")
    assert len(retract(old, target, reason="r", by="admin", now=NOW).reference_values) == len(ROWS)
    with pytest.raises(AlreadyRetracted):
        ingest(old, admitted_statement("new"), [derived_value("v")], submitted_by="ci", now=NOW)


def test_a_retraction_from_before_is_kept(old: Database) -> None:
    digest = hashlib.sha256(b"one").hexdigest()
    with old.write() as connection:
        state = snapshot.lock(connection)
        target = RetractionTarget(TargetKind.ATTESTATION, digest)
        for statement in (
            (
                "INSERT INTO retraction (id, kind, value, reason, by, at, epoch) "
                "VALUES (:id, 'attestation', :digest, 'stolen', 'admin', 0, 4)"
            ),
            "INSERT INTO retraction_attestation VALUES (:id, :digest)",
            "UPDATE attestation SET retraction = :id WHERE digest = :digest",
            "UPDATE reference_value SET retraction = :id WHERE attestation = :digest",
        ):
            connection.execute(text(statement), {"id": target.id, "digest": digest})
        snapshot.advance(connection, state, {"change": "retracted", "retraction": target.id}, NOW)
    migration.migrate(old)
    assert _values(old) == {"two", "three"}
    record = queries.get_reference_value(old, "rv-0", now=NOW)
    assert record.retraction is not None
    assert record.retraction.reason == "stolen"


def test_new_values_stand_beside_the_old_ones(old: Database) -> None:
    migration.migrate(old)
    result = ingest(old, admitted_statement("new"), [derived_value("four")], submitted_by="ci", now=NOW)
    assert _values(old) == {"one", "two", "three", "four"}
    # Ids of the rows above are made up, so that they count as altered; the new one does not.
    assert result.added[0] not in {item.target for item in verify_store(old).discrepancies}
