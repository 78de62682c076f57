"""Adding a reference value: what it costs with a thousand stored, and with a million.

Two scratch databases (SQLite), filled and then measured alternately in rounds, so that both see the same
machine: a round is one attestation, with one value or a hundred, through the whole of ``rvps.ingest``,
durable. The ratio is of the medians. What grows is how many pages of the two indexes by digest a batch
touches: at most one for each value, which a store of some tens of thousands has reached.
``TOUCHSTONE_BENCH_VALUES`` sets the larger number (default 1000000; filling takes some minutes).
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rvps.ingest import ingest
from storage.database import Database
from storage.migrate import migrate
from testkit import reference_values

_SMALL = 1_000
_LARGE = int(os.environ.get("TOUCHSTONE_BENCH_VALUES", "1000000"))
_ROUNDS = 40
_WARM_UP = 5
_BATCHES = (1, 100)
_NOW = datetime(2026, 5, 1, tzinfo=UTC)


def run() -> list[str]:
    """The figures, as lines of text."""
    with tempfile.TemporaryDirectory() as folder:
        stores = [_store(Path(folder, f"{count}.db"), count) for count in (_SMALL, _LARGE)]
        lines = [_compared(stores, size) for size in _BATCHES]
        for store in stores:
            store.close()
    return lines


def _compared(stores: list[Database], size: int) -> str:
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(_ROUNDS + _WARM_UP):
        for store, seen in zip(stores, times, strict=True):
            elapsed = _add(store, f"{size}/{round_}", size)
            if round_ >= _WARM_UP:
                seen.append(elapsed)
    few, many = (statistics.median(seen) / size for seen in times)
    return (
        f"one value more, in an attestation of {size:3}: {few * 1e6:6.0f} us with {_SMALL:,} stored, "
        f"{many * 1e6:6.0f} us with {_LARGE:,}: {many / few:.2f} times"
    )


def _store(path: Path, count: int) -> Database:
    database = Database(f"sqlite:///{path}")
    migrate(database)
    reference_values.fill(database, count)
    return database


def _add(database: Database, seed: str, size: int) -> float:
    admitted = reference_values.admitted_statement(f"round {seed}")
    derived = [
        reference_values.derived_value(
            # A group to each attestation, as it is where a submission names none.
            reference_values.measurement(f"round {seed}", index),
            group=admitted.authentic.attestation,
        )
        for index in range(size)
    ]
    started = time.perf_counter()
    result = ingest(database, admitted, derived, submitted_by="bench", now=_NOW)
    elapsed = time.perf_counter() - started
    assert len(result.added) == size
    return elapsed
