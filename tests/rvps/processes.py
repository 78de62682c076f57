"""What the tests run in processes of their own. Run as a module: ``python -m tests.rvps.processes``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from rvps.ingest import ingest
from rvps.lookup import DatabaseReferenceLookup
from rvps.retraction import RetractionTarget, TargetKind, retract
from storage.database import Database
from testkit.reference_values import NAME, admitted_statement, derived_value, measurement

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SHARED = "shared"
VALUES = 20


def shared_values(seed: str = SHARED) -> list[str]:
    return [measurement(seed, index) for index in range(VALUES)]


def ingest_shared(url: str) -> None:
    """Waits for a line, ingests the one attestation that all ingest, says what it was told."""
    database = Database(url)
    database.fast_row("SELECT 1")
    _say("ready")
    sys.stdin.readline()
    values = [derived_value(value) for value in shared_values()]
    result = ingest(database, admitted_statement(SHARED), values, submitted_by="ci", now=NOW)
    _say(f"{int(result.created)} {len(result.added)} {result.snapshot}")


def ingest_for_ever(url: str, prefix: str) -> None:
    """Ingests one attestation after the other; says each when it is acknowledged."""
    database = Database(url)
    number = 0
    while True:
        seed = f"{prefix}-{number}"
        values = [derived_value(value) for value in shared_values(seed)]
        result = ingest(database, admitted_statement(seed), values, submitted_by="ci", now=NOW)
        _say(f"{seed} {result.attestation} {result.snapshot}")
        number += 1


def retract_when_told(url: str) -> None:
    """Retracts each digest that comes in on a line, and says when that is done."""
    database = Database(url)
    for line in sys.stdin:
        target = RetractionTarget(TargetKind.ATTESTATION, line.strip())
        retract(database, target, reason="r", by="admin", now=NOW)
        _say("done")


def look_up_when_told(url: str) -> None:
    """Says how many values are live, once per line."""
    lookup = DatabaseReferenceLookup(Database(url))
    for _ in sys.stdin:
        _say(str(len(lookup.select(frozenset({NAME}), frozenset(), NOW).values)))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
