"""Retractions of keys, materials, rules, tools and submitters; what they hit, and what they keep out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import InputError
from provenance.model import Material, Signer
from rvps import queries
from rvps.derivations import touchstone
from rvps.errors import AlreadyRetracted
from rvps.ingest import IngestResult, ingest
from rvps.integrity import verify_store
from rvps.lookup import DatabaseReferenceLookup
from rvps.retraction import RetractionTarget, TargetKind, affected, retract
from testkit.reference_values import IDENTITY, ISSUER, NAME, admitted_statement, derived_value

if TYPE_CHECKING:
    from storage.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SPKI = "5b" * 32
CERTIFICATE = "ce" * 32
BASE = Material("pkg:oci/base@sha256%3Aaa", {"sha256": "aa" * 32})


def _ingest(
    database: Database, seed: str, *values: Any, by: str = "ci", now: datetime = NOW, **more: Any
) -> IngestResult:
    derived = [item if not isinstance(item, str) else derived_value(item) for item in values or (seed,)]
    return ingest(database, admitted_statement(seed, **more), derived, submitted_by=by, now=now)


def _retract(database: Database, kind: TargetKind, value: str, **more: Any) -> Any:
    target = RetractionTarget(kind, value, **more)
    preview = affected(database, target, now=NOW)
    result = retract(database, target, reason="compromised", by="admin", now=NOW)
    assert set(result.reference_values) == set(preview.live)
    assert verify_store(database).holds
    return result


def _matching(database: Database) -> set[Any]:
    lookup = DatabaseReferenceLookup(database)
    return {item.value for item in lookup.select(frozenset({NAME}), frozenset(), NOW).values}


def _certificate() -> Signer:
    return Signer(
        "certificate", IDENTITY, "test-root", ISSUER, certificate=CERTIFICATE, serial="1", key=SPKI
    )


@pytest.mark.parametrize("digest", [SPKI, CERTIFICATE])
def test_a_retracted_key_or_certificate_ends_what_it_signed(database: Database, digest: str) -> None:
    _ingest(database, "one", signers=(_certificate(),))
    _ingest(database, "other")
    _retract(database, TargetKind.KEY, digest)
    assert _matching(database) == {"other"}
    with pytest.raises(AlreadyRetracted, match="compromised"):
        _ingest(database, "two", signers=(_certificate(),))


def test_a_raw_key_is_found_by_its_digest_among_co_signers(database: Database) -> None:
    signers = (_certificate(), Signer("key", f"key:{'77' * 32}", "keys"))
    _ingest(database, "one", signers=signers)
    _retract(database, TargetKind.KEY, "77" * 32)
    assert _matching(database) == set()


def test_a_key_is_retracted_from_a_logged_time_on_whatever_time_was_claimed(database: Database) -> None:
    early, late = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)
    # The signer can claim what it likes: what counts is when the log saw it.
    _ingest(database, "before", signers=(_certificate(),), signed_at=late, log_time=early)
    _ingest(database, "after", signers=(_certificate(),), signed_at=early, log_time=late)
    _retract(database, TargetKind.KEY, SPKI, since=datetime(2025, 3, 1, tzinfo=UTC))
    assert _matching(database) == {"before"}
    with pytest.raises(AlreadyRetracted):
        _ingest(database, "later", signers=(_certificate(),), signed_at=early, log_time=late)
    _ingest(database, "also before", signers=(_certificate(),), signed_at=late, log_time=early)


@pytest.mark.parametrize("named", [BASE.uri, "aa" * 32, f"sha256:{'aa' * 32}"])
def test_a_retracted_material_ends_what_was_built_with_it(database: Database, named: str) -> None:
    _ingest(database, "with", materials=(Material("pkg:generic/other"), BASE))
    _ingest(database, "without", materials=(Material("pkg:generic/other", {"sha256": "bb" * 32}),))
    _retract(database, TargetKind.MATERIAL, named)
    assert _matching(database) == {"without"}
    with pytest.raises(AlreadyRetracted):
        _ingest(database, "again", materials=(BASE,))


@pytest.mark.parametrize("named", ["pkg:oci/base", "AA" * 32, f"sha512:{'aa' * 32}", "sha256:"])
def test_materials_are_compared_exactly(database: Database, named: str) -> None:
    _ingest(database, "with", materials=(BASE,))
    _retract(database, TargetKind.MATERIAL, named)
    assert _matching(database) == {"with"}


def test_what_rests_on_an_attestation_with_a_retracted_material_dies_too(database: Database) -> None:
    origin = _ingest(database, "origin", materials=(BASE,))
    inputs = {"derivedFrom": [{"attestation": origin.attestation}]}
    _ingest(database, "carrier", derived_value("carried", inputs=inputs))
    _retract(database, TargetKind.MATERIAL, "aa" * 32)
    assert _matching(database) == set()


def test_many_materials_are_held_against_retractions(database: Database) -> None:
    many = tuple(Material(f"pkg:generic/{index}", {"sha256": f"{index:064x}"}) for index in range(1200))
    _retract(database, TargetKind.MATERIAL, f"{1111:064x}")
    with pytest.raises(AlreadyRetracted):
        _ingest(database, "a", materials=many)


def test_a_retracted_tool_ends_the_values_it_made_and_no_others(database: Database) -> None:
    made = {"tool": "sev-snp-measure/0.0.11"}
    same = _ingest(database, "a", derived_value("old", inputs=made), derived_value("stated"))
    _ingest(database, "b", derived_value("new", inputs={"tool": "sev-snp-measure/0.0.12"}))
    _retract(database, TargetKind.TOOL, "sev-snp-measure/0.0.11")
    assert _matching(database) == {"stated", "new"}
    with pytest.raises(AlreadyRetracted):
        _ingest(database, "c", derived_value("more", inputs=made))
    # The attestation itself stands: another tool may derive from it.
    again = _ingest(database, "a", derived_value("old", inputs={"tool": "sev-snp-measure/0.0.12"}))
    assert again.attestation == same.attestation
    assert _matching(database) == {"stated", "new", "old"}


def test_the_tool_that_a_statement_of_values_names_can_be_retracted(database: Database) -> None:
    inputs = {"statedRule": "their-rule/3", "stated": {"tool": "their-tool/9"}}
    _ingest(database, "a", derived_value("theirs", rule="reference-values/1", inputs=inputs))
    _ingest(database, "b", derived_value("ours"))
    _retract(database, TargetKind.TOOL, "their-tool/9")
    assert _matching(database) == {"ours"}


def test_a_retracted_rule_ends_its_version_only(database: Database) -> None:
    _ingest(database, "a", derived_value("one", rule="tpm-boot/1"))
    _ingest(database, "b", derived_value("two", rule="tpm-boot/2"))
    _retract(database, TargetKind.RULE, "tpm-boot/1")
    assert _matching(database) == {"two"}


def test_a_version_of_touchstone_can_be_retracted(database: Database) -> None:
    _ingest(database, "a")
    _retract(database, TargetKind.TOOL, touchstone())
    assert _matching(database) == set()


@pytest.mark.parametrize("value", ["noversion", "a b/1"])
def test_a_rule_is_named_with_its_version(database: Database, value: str) -> None:
    with pytest.raises(InputError):
        retract(database, RetractionTarget(TargetKind.RULE, value), reason="r", by="admin", now=NOW)


@pytest.mark.parametrize(
    ("kind", "value"), [(TargetKind.TOOL, "a/1"), (TargetKind.RULE, "a/1"), (TargetKind.ATTESTATION, SPKI)]
)
def test_what_has_no_date_takes_no_since(database: Database, kind: TargetKind, value: str) -> None:
    with pytest.raises(InputError):
        retract(database, RetractionTarget(kind, value, since=NOW), reason="r", by="admin", now=NOW)


@pytest.mark.parametrize("value", ["zz" * 32, "aa", f"key:{SPKI}"])
def test_a_key_is_named_by_its_digest(database: Database, value: str) -> None:
    with pytest.raises(InputError):
        retract(database, RetractionTarget(TargetKind.KEY, value), reason="r", by="admin", now=NOW)


def test_a_retracted_submitter_ends_what_it_submitted_from_then_on(database: Database) -> None:
    _ingest(database, "before", by="mallory", now=NOW - 2 * DAY)
    _ingest(database, "after", by="mallory", now=NOW - DAY)
    _ingest(database, "other", by="alice", now=NOW - DAY)
    _retract(database, TargetKind.SUBMITTER, "mallory", since=NOW - DAY)
    assert _matching(database) == {"before", "other"}
    with pytest.raises(AlreadyRetracted):
        _ingest(database, "more", by="mallory")
    _ingest(database, "by another", by="alice")


def test_independent_lineage_keeps_a_value_alive(database: Database) -> None:
    _ingest(database, "a", "shared", by="mallory", materials=(BASE,))
    _ingest(database, "b", "shared", by="alice")
    for kind, value in ((TargetKind.SUBMITTER, "mallory"), (TargetKind.MATERIAL, str(BASE.uri))):
        target = RetractionTarget(kind, value)
        assert len(affected(database, target, now=NOW).corroborated) == 1
        _retract(database, kind, value)
        assert _matching(database) == {"shared"}


def test_a_value_that_nobody_signed_is_no_independent_lineage(database: Database) -> None:
    _ingest(database, "a", "shared")
    _ingest(database, "b", "shared", unverified=True, builder=None, source_uri=None)
    target = RetractionTarget(TargetKind.SIGNER, IDENTITY)
    assert affected(database, target, now=NOW).corroborated == ()
    _retract(database, TargetKind.SIGNER, IDENTITY)
    assert _matching(database) == set()


def test_the_tombstone_says_why_and_nothing_undoes_it(database: Database) -> None:
    result = _ingest(database, "a", by="mallory")
    _retract(database, TargetKind.SUBMITTER, "mallory")
    record = queries.get_reference_value(database, result.added[0], now=NOW)
    assert record.retraction is not None
    assert (record.retraction.kind, record.retraction.reason) == ("submitter", "compromised")
    again = _ingest(database, "a", by="alice")
    assert again.added == ()
    assert again.retracted == result.added
