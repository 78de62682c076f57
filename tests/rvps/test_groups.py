"""Releases match as a whole: which groups of a shared value an appraisal sees."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rvps.ingest import ingest
from rvps.lookup import MAX_LINEAGES, DatabaseReferenceLookup
from rvps.retraction import RetractionTarget, TargetKind, retract
from testkit.reference_values import admitted_statement, derived_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NAMES = frozenset({"tpm_pcr00", "tpm_pcr04", "tpm_pcr09"})


def _release(database: Database, group: str, values: Mapping[str, str]) -> str:
    derived = [derived_value(value, name=name, group=group, tee="tpm") for name, value in values.items()]
    return ingest(database, admitted_statement(group), derived, submitted_by="ci", now=NOW).attestation


def _many_releases(database: Database, count: int) -> None:
    """Releases with a firmware in common, and each its own loader and kernel."""
    for index in range(count):
        values = {"tpm_pcr00": "firmware", "tpm_pcr04": f"loader {index}", "tpm_pcr09": f"kernel {index}"}
        _release(database, f"release {index}", values)


def _groups(lookup: DatabaseReferenceLookup, *observed: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in lookup.select(NAMES, frozenset(observed), NOW).values:
        if item.value in observed:
            found.setdefault(item.name, set()).add(item.group)
    return found


def _shared(lookup: DatabaseReferenceLookup, *observed: str) -> set[str]:
    found = _groups(lookup, *observed)
    return set.intersection(*found.values()) if len(found) == len(observed) else set()


def test_the_release_of_the_rest_is_found_behind_many_that_share_a_value(database: Database) -> None:
    _many_releases(database, 60)
    lookup = DatabaseReferenceLookup(database)
    for index in (0, 29, 59):
        for _ in range(2):
            shared = _shared(lookup, "firmware", f"loader {index}", f"kernel {index}")
            assert shared == {f"release {index}"}


def test_a_loader_of_one_release_and_a_kernel_of_another_share_no_group(database: Database) -> None:
    _many_releases(database, 60)
    lookup = DatabaseReferenceLookup(database)
    assert len(_groups(lookup, "firmware", "loader 7", "kernel 8")) == 3
    assert _shared(lookup, "firmware", "loader 7", "kernel 8") == set()


def test_a_retracted_release_shares_no_group(database: Database) -> None:
    _many_releases(database, 40)
    digest = _release(
        database, "last", {"tpm_pcr00": "firmware", "tpm_pcr04": "loader", "tpm_pcr09": "kernel"}
    )
    lookup = DatabaseReferenceLookup(database)
    assert _shared(lookup, "firmware", "loader", "kernel") == {"last"}
    target = RetractionTarget(TargetKind.ATTESTATION, digest)
    retract(database, target, reason="r", by="admin", now=NOW)
    assert _shared(lookup, "firmware", "loader", "kernel") == set()


def test_a_release_that_was_published_many_times_is_found(database: Database) -> None:
    for index in range(5 * MAX_LINEAGES):
        values = {"tpm_pcr00": "firmware", "tpm_pcr04": "loader", "tpm_pcr09": "kernel"}
        _release(database, f"build {index}", values)
    assert _shared(DatabaseReferenceLookup(database), "firmware", "loader", "kernel")


def test_how_many_rows_are_handed_over_is_bounded(database: Database) -> None:
    for index in range(5 * MAX_LINEAGES):
        values = {"tpm_pcr00": "firmware", "tpm_pcr04": "loader", "tpm_pcr09": f"kernel {index}"}
        _release(database, f"build {index}", values)
    lookup = DatabaseReferenceLookup(database)
    found = lookup.select(NAMES, frozenset({"firmware", "loader", "kernel 3"}), NOW).values
    assert len(found) <= 3 * (MAX_LINEAGES + 16)
