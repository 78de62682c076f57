from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from common.errors import InputError, Malformed, TooLarge
from provenance.model import Material, Signer
from rvps import queries, snapshot
from rvps.derivations import touchstone
from rvps.errors import AlreadyRetracted
from rvps.ingest import ingest, ingest_in
from rvps.lookup import DatabaseReferenceLookup
from rvps.retraction import RetractionTarget, TargetKind, retract
from testkit.reference_values import (
    BUILDER,
    IDENTITY,
    ISSUER,
    NAME,
    SOURCE,
    TRUST_POLICY,
    admitted_statement,
    derived_value,
    measurement,
)

if TYPE_CHECKING:
    from storage.database import Database

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
VALUE = measurement("ingest")


def _retract(database: Database, kind: TargetKind, value: str, **more: Any) -> str:
    target = RetractionTarget(kind, value, **more)
    return retract(database, target, reason="key stolen", by="admin", now=NOW).retraction


def _snapshot(database: Database) -> str:
    with database.read() as connection:
        return snapshot.current(connection).snapshot


@pytest.mark.parametrize(
    ("kind", "value", "more"),
    [
        (TargetKind.SIGNER, IDENTITY, {}),
        (TargetKind.SIGNER, IDENTITY, {"issuer": ISSUER}),
        (TargetKind.BUILDER, BUILDER, {}),
        (TargetKind.SOURCE_URI, SOURCE, {}),
        (TargetKind.SOURCE_REVISION, "c0ffee", {}),
        (TargetKind.BUILDER, BUILDER, {"since": datetime(2024, 1, 1, tzinfo=UTC)}),
    ],
)
def test_what_a_standing_retraction_covers_is_refused(
    database: Database, kind: TargetKind, value: str, more: dict[str, Any]
) -> None:
    by = _retract(database, kind, value, **more)
    before = _snapshot(database)
    admitted = admitted_statement("new", source_revision="c0ffee")
    with pytest.raises(AlreadyRetracted, match="key stolen") as caught:
        ingest(database, admitted, [derived_value(VALUE)], submitted_by="ci", now=LATER)
    assert caught.value.details["retraction"] == by
    assert queries.list_attestations(database).items == ()
    assert _snapshot(database) == before


@pytest.mark.parametrize(
    ("kind", "value", "more"),
    [
        (TargetKind.SIGNER, IDENTITY, {"issuer": "https://other.example"}),
        (TargetKind.SIGNER, IDENTITY[:-1], {}),
        (TargetKind.BUILDER, BUILDER.upper(), {}),
        (TargetKind.BUILDER, BUILDER, {"since": datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)}),
    ],
)
def test_what_a_standing_retraction_does_not_cover_is_taken(
    database: Database, kind: TargetKind, value: str, more: dict[str, Any]
) -> None:
    _retract(database, kind, value, **more)
    result = ingest(
        database, admitted_statement("new"), [derived_value(VALUE)], submitted_by="ci", now=LATER
    )
    assert result.created


def test_a_retraction_with_a_date_looks_at_the_log_time_not_at_the_signature(database: Database) -> None:
    _retract(database, TargetKind.BUILDER, BUILDER, since=datetime(2025, 1, 1, tzinfo=UTC))
    early, late = datetime(2024, 6, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)
    with pytest.raises(AlreadyRetracted):
        ingest(
            database,
            admitted_statement("a", signed_at=early, log_time=late),
            [],
            submitted_by="ci",
            now=NOW,
        )
    ingest(
        database, admitted_statement("b", signed_at=late, log_time=early), [], submitted_by="ci", now=NOW
    )


def test_a_retracted_attestation_does_not_come_back(database: Database) -> None:
    admitted = admitted_statement("a")
    ingest(database, admitted, [derived_value(VALUE)], submitted_by="ci", now=NOW)
    _retract(database, TargetKind.ATTESTATION, admitted.authentic.attestation)
    for values in ([derived_value(VALUE)], [derived_value(VALUE, group="other")], []):
        with pytest.raises(AlreadyRetracted):
            ingest(database, admitted, values, submitted_by="ci", now=LATER)


def test_a_retracted_value_does_not_come_back_in_another_guise(database: Database) -> None:
    admitted = admitted_statement("a")
    first = ingest(database, admitted, [derived_value(VALUE)], submitted_by="ci", now=NOW)
    _retract(database, TargetKind.REFERENCE_VALUE, first.added[0])
    again = ingest(
        database,
        admitted,
        [derived_value(VALUE), derived_value(VALUE, group="other", expires=LATER), derived_value("other")],
        submitted_by="ci",
        now=LATER,
    )
    assert again.reference_values[0] == first.added[0]
    assert again.retracted == again.reference_values[:2]
    assert again.added == again.reference_values[2:]
    selection = DatabaseReferenceLookup(database).select(frozenset({NAME}), frozenset(), NOW)
    assert [value.value for value in selection.values] == ["other"]


def test_a_statement_that_rests_on_a_retracted_attestation_is_refused(database: Database) -> None:
    origin = admitted_statement("origin")
    ingest(database, origin, [], submitted_by="ci", now=NOW)
    _retract(database, TargetKind.SIGNER, IDENTITY)
    statement = admitted_statement("statement", signers=(_key("carrier"),), builder=None, source_uri=None)
    inputs = {"derivedFrom": [{"attestation": origin.authentic.attestation}]}
    with pytest.raises(AlreadyRetracted):
        ingest(database, statement, [derived_value(VALUE, inputs=inputs)], submitted_by="ci", now=NOW)


@pytest.mark.parametrize("field", ["builder", "sourceUri", "sourceRevision"])
def test_a_statement_whose_stated_origin_is_retracted_is_refused(database: Database, field: str) -> None:
    kinds = {
        "builder": TargetKind.BUILDER,
        "sourceUri": TargetKind.SOURCE_URI,
        "sourceRevision": TargetKind.SOURCE_REVISION,
    }
    _retract(database, kinds[field], "bad")
    inputs = {"derivedFrom": [{"attestation": "ab" * 32, field: "bad"}]}
    with pytest.raises(AlreadyRetracted):
        ingest(
            database,
            admitted_statement("a"),
            [derived_value(VALUE, inputs=inputs)],
            submitted_by="ci",
            now=NOW,
        )


@pytest.mark.parametrize(
    "value",
    [
        derived_value(""),
        derived_value("a\nb"),
        derived_value("a\0b"),
        derived_value("\ud800"),
        derived_value("x" * 2049),
        derived_value("\N{SNOWMAN}" * 700),
        derived_value(1.5),
        derived_value(None),
        derived_value(2**53),
        derived_value([1]),
        derived_value({}),
        derived_value(b"x"),
        derived_value("v", name=""),
        derived_value("v", name="n" * 257),
        derived_value("v", group="\x1b[31m"),
        derived_value("v", inputs={"x": "\ud800"}),
        derived_value("v", inputs={"x": object()}),
        derived_value("v", inputs={"derivedFrom": "x"}),
        derived_value("v", inputs={"derivedFrom": [{"attestation": "AB"}]}),
        derived_value("v", inputs={"derivedFrom": [{"attestation": "ab" * 32, "builder": "\0"}]}),
        derived_value(
            "v",
            inputs={
                "derivedFrom": [{"attestation": "ab" * 32}, {"attestation": "ab" * 32, "builder": "b"}]
            },
        ),
        derived_value("v", expires=datetime(2023, 1, 1, tzinfo=UTC)),
        derived_value("v", not_before=datetime(2024, 1, 1)),  # noqa: DTZ001
    ],
)
def test_a_value_that_cannot_be_stored_is_refused_and_nothing_is(database: Database, value: Any) -> None:
    with pytest.raises(InputError):
        ingest(database, admitted_statement("a"), [derived_value("ok"), value], submitted_by="ci", now=NOW)
    assert queries.list_attestations(database).items == ()


def test_an_envelope_that_is_not_the_one_of_the_digest_is_refused(database: Database) -> None:
    admitted = admitted_statement("a")
    changed = msgspec.structs.replace(
        admitted, authentic=msgspec.structs.replace(admitted.authentic, envelope=b"{}")
    )
    with pytest.raises(Malformed, match="digest"):
        ingest(database, changed, [], submitted_by="ci", now=NOW)


def test_a_statement_without_verified_signer_is_refused(database: Database) -> None:
    with pytest.raises(Malformed, match="signer"):
        ingest(database, admitted_statement("a", signers=()), [], submitted_by="ci", now=NOW)


@pytest.mark.parametrize("caller", ["", "a\nb", "x" * 2049])
def test_a_caller_without_a_name_is_refused(database: Database, caller: str) -> None:
    with pytest.raises((Malformed, TooLarge)):
        ingest(database, admitted_statement("a"), [], submitted_by=caller, now=NOW)


def test_ingesting_the_same_again_changes_nothing(database: Database) -> None:
    values = [derived_value(VALUE), derived_value(3, name="tcb", scalar=True)]
    first = ingest(database, admitted_statement("a"), values, submitted_by="ci", now=NOW)
    again = ingest(database, admitted_statement("a"), values, submitted_by="someone else", now=LATER)
    assert first.created
    assert first.added == first.reference_values
    assert not again.created
    assert again.added == ()
    assert (again.reference_values, again.snapshot) == (first.reference_values, first.snapshot)
    assert _snapshot(database) == first.snapshot
    record = queries.get_attestation(database, first.attestation)
    assert record.summary.submitted_by == "ci"


def test_a_later_date_of_an_unlogged_signature_is_not_another_value(database: Database) -> None:
    ingest(database, admitted_statement("a"), [derived_value(VALUE)], submitted_by="ci", now=NOW)
    again = ingest(
        database,
        admitted_statement("a", signed_at=LATER),
        [derived_value(VALUE, not_before=LATER)],
        submitted_by="ci",
        now=LATER,
    )
    assert not again.created


def test_a_further_derivation_of_a_known_attestation_adds_values(database: Database) -> None:
    first = ingest(database, admitted_statement("a"), [derived_value(VALUE)], submitted_by="ci", now=NOW)
    more = ingest(
        database,
        admitted_statement("a"),
        [derived_value(VALUE), derived_value(measurement("a", 1))],
        submitted_by="ci",
        now=LATER,
    )
    assert more.created
    assert more.reference_values[0] == first.reference_values[0]
    assert more.added == more.reference_values[1:]
    assert more.snapshot != first.snapshot
    assert queries.get_attestation(database, first.attestation).reference_values == 2


def test_two_publishers_of_one_value_are_two_rows(database: Database) -> None:
    one = ingest(database, admitted_statement("a"), [derived_value(VALUE)], submitted_by="a", now=NOW)
    two = ingest(
        database,
        admitted_statement("b", signers=(_key("b"),)),
        [derived_value(VALUE)],
        submitted_by="b",
        now=NOW,
    )
    assert set(one.added).isdisjoint(two.added)
    page = queries.list_reference_values(database, now=NOW, name=NAME)
    assert {item.lineage.signer for item in page.items} == {IDENTITY, "key:b"}


def test_a_publisher_cannot_overwrite_what_another_published(database: Database) -> None:
    mine = ingest(database, admitted_statement("a"), [derived_value(VALUE)], submitted_by="a", now=NOW)
    other = derived_value("ff" * 48, group="release")
    ingest(database, admitted_statement("b"), [other], submitted_by="b", now=LATER)
    kept = queries.get_reference_value(database, mine.added[0], now=LATER)
    assert (kept.value, kept.state, kept.lineage.submitted_by) == (VALUE, "live", "a")


def test_text_and_number_of_one_spelling_are_two_values(database: Database) -> None:
    values = [derived_value("3"), derived_value(3), derived_value(value=True), derived_value("true")]
    result = ingest(database, admitted_statement("a"), values, submitted_by="ci", now=NOW)
    assert len(result.added) == 4
    found = [queries.get_reference_value(database, item, now=NOW).value for item in result.added]
    assert [(type(item), item) for item in found] == [(str, "3"), (int, 3), (bool, True), (str, "true")]


def test_the_longest_name_and_value_that_are_allowed_can_be_stored_and_found(database: Database) -> None:
    # Random text does not compress, which is what an index entry's limit is about.
    text = "".join(measurement("long", index) for index in range(22))[:2048]
    name = "".join(measurement("name", index) for index in range(3))[:256]
    ingest(database, admitted_statement("a"), [derived_value(text, name=name)], submitted_by="ci", now=NOW)
    selection = DatabaseReferenceLookup(database).select(frozenset({name}), frozenset(), NOW)
    assert [value.value for value in selection.values] == [text]


def test_one_value_given_twice_is_stored_once(database: Database) -> None:
    result = ingest(
        database, admitted_statement("a"), [derived_value(VALUE)] * 3, submitted_by="ci", now=NOW
    )
    assert len(result.reference_values) == len(result.added) == 1


def test_an_attestation_without_values_is_kept(database: Database) -> None:
    result = ingest(database, admitted_statement("a"), [], submitted_by="ci", now=NOW)
    assert result.created
    assert queries.get_attestation(database, result.attestation).reference_values == 0


def test_the_envelope_is_kept_as_it_was_received(database: Database) -> None:
    admitted = admitted_statement("a")
    ingest(database, admitted, [], submitted_by="ci", now=NOW)
    envelope = queries.get_envelope(database, admitted.authentic.attestation)
    assert envelope == admitted.authentic.envelope
    assert hashlib.sha256(envelope).hexdigest() == admitted.authentic.attestation


def test_the_lineage_is_whole(database: Database) -> None:
    admitted = admitted_statement(
        "a",
        signers=(
            Signer(
                "certificate",
                IDENTITY,
                "test-root",
                ISSUER,
                {"source_repository_uri": SOURCE},
                certificate="ce" * 32,
                serial="7f",
                key="aa" * 32,
            ),
            _key("second"),
        ),
        source_revision="c0ffee",
        log_time=datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        log_id="10" * 32,
        materials=(
            Material("git+https://forge.example/acme/guest", {"gitCommit": "c0ffee", "sha1": "c0ffee"}),
            Material("pkg:generic/base"),
            Material(None, {"sha256": "ba" * 32}),
        ),
        domains=("east",),
        required_domains=1,
    )
    result = ingest(
        database,
        admitted,
        [derived_value(VALUE, inputs={"kernel": "ab", "tool": "measure/2", "launch": {"vcpus": 2}})],
        submitted_by="ci",
        now=NOW,
    )
    lineage = queries.get_reference_value(database, result.added[0], now=NOW).lineage
    assert msgspec.to_builtins(lineage) == {
        "attestation": admitted.authentic.attestation,
        "predicate_type": "https://slsa.dev/provenance/v1",
        "signer": IDENTITY,
        "issuer": ISSUER,
        "root": "test-root",
        "co_signers": ("key:second",),
        "trust_policy": TRUST_POLICY,
        "rule": "snp-launch-digest/1",
        "submitted_by": "ci",
        "submitted_at": "2026-05-01T12:00:00Z",
        "builder": BUILDER,
        "source_uri": SOURCE,
        "source_revision": "c0ffee",
        "log_index": 1,
        "log_time": "2024-01-02T03:04:05.000678Z",
        "log_id": "10" * 32,
        "certificate": "ce" * 32,
        "serial": "7f",
        "key": "aa" * 32,
        "inputs": {"kernel": "ab", "tool": "measure/2", "launch": {"vcpus": 2}},
        "tools": ("measure/2", touchstone()),
        "materials": (
            {
                "uri": "git+https://forge.example/acme/guest",
                "digest": {"gitCommit": "c0ffee", "sha1": "c0ffee"},
            },
            {"uri": "pkg:generic/base"},
            {"digest": {"sha256": "ba" * 32}},
        ),
        "domains": ("east",),
    }
    record = queries.get_attestation(database, admitted.authentic.attestation)
    assert [signer.identity for signer in record.signers] == [IDENTITY, "key:second"]
    assert record.signers[0].claims == {"source_repository_uri": SOURCE}
    assert (record.signers[0].certificate, record.signers[0].serial) == ("ce" * 32, "7f")
    assert record.materials == lineage.materials


def test_of_many_materials_a_value_shows_some_and_the_attestation_all(database: Database) -> None:
    materials = tuple(Material(f"pkg:generic/{index}", {"sha256": f"{index:064x}"}) for index in range(100))
    result = ingest(
        database,
        admitted_statement("a", materials=materials),
        [derived_value(VALUE)],
        submitted_by="ci",
        now=NOW,
    )
    lineage = queries.get_reference_value(database, result.added[0], now=NOW).lineage
    assert (len(lineage.materials), lineage.more_materials) == (64, 36)
    record = queries.get_attestation(database, result.attestation)
    assert [item.uri for item in record.materials] == [item.uri for item in materials]


def test_materials_that_were_not_kept_before_are_added_once(database: Database) -> None:
    bare = admitted_statement("a")
    first = ingest(database, bare, [derived_value(VALUE)], submitted_by="ci", now=NOW)
    whole = msgspec.structs.replace(bare, materials=(Material("pkg:generic/a"),))
    again = ingest(database, whole, [derived_value(VALUE)], submitted_by="ci", now=NOW)
    assert (again.created, again.added) == (True, ())
    assert ingest(database, whole, [], submitted_by="ci", now=NOW).created is False
    assert queries.get_attestation(database, first.attestation).materials[0].uri == "pkg:generic/a"


@pytest.mark.parametrize(
    "material", [Material("a\n"), Material("a" * 3000), Material(None, {"sha256": "a\x00"})]
)
def test_materials_that_cannot_be_stored_are_refused(database: Database, material: Material) -> None:
    with pytest.raises(InputError):
        ingest(database, admitted_statement("a", materials=(material,)), [], submitted_by="ci", now=NOW)


@pytest.mark.parametrize("group", ["g" * 257, "é" * 200, "a\nb", ""])
def test_groups_that_cannot_be_stored_are_refused(database: Database, group: str) -> None:
    with pytest.raises(InputError):
        ingest(
            database,
            admitted_statement("a"),
            [derived_value(VALUE, group=group)],
            submitted_by="ci",
            now=NOW,
        )


def test_a_statement_without_signers_that_does_not_say_so_is_refused(database: Database) -> None:
    with pytest.raises(Malformed):
        ingest(database, admitted_statement("a", signers=()), [], submitted_by="ci", now=NOW)


def test_a_signer_that_a_later_trust_policy_recognises_is_added_and_can_be_retracted(
    database: Database,
) -> None:
    first, second = _key("first"), _key("second")
    ingest(
        database,
        admitted_statement("a", signers=(first,)),
        [derived_value(VALUE)],
        submitted_by="ci",
        now=NOW,
    )
    more = ingest(
        database, admitted_statement("a", signers=(second, first)), [], submitted_by="ci", now=NOW
    )
    assert more.created
    record = queries.get_attestation(database, more.attestation)
    assert [signer.identity for signer in record.signers] == ["key:first", "key:second"]
    _retract(database, TargetKind.SIGNER, "key:second")
    assert queries.list_reference_values(database, now=NOW).items[0].state == "retracted"


def test_a_transaction_that_fails_later_leaves_nothing(database: Database) -> None:
    before = _snapshot(database)
    with pytest.raises(RuntimeError):
        _ingest_and_fail(database)
    assert queries.list_attestations(database).items == ()
    assert _snapshot(database) == before


def _ingest_and_fail(database: Database) -> None:
    with database.write() as connection:
        ingest_in(connection, admitted_statement("a"), [derived_value(VALUE)], submitted_by="ci", now=NOW)
        raise RuntimeError


def _key(name: str) -> Signer:
    return Signer(kind="key", identity=f"key:{name}", root="keys")
