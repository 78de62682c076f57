"""The endorsement store beside requests: renewed in time, measured, and what is wrong with it said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service import collateral, metrics
from service.collateral_metrics import MAX_SUBJECTS, measured
from service.collateral_watch import CollateralWatch
from service.sections_collateral import CollateralSettings
from service.settings import build
from testkit.vendor_service import Reply, VendorService
from tests.service.commands.test_collateral import FMSPC, PCK, QE, TCB, TDX_CASE, case, serve_tdx
from tests.service.harness import Clock
from verifier.endorsements.intel_import import items_of
from verifier.endorsements.listing import Listed

TCB_NAME = f"intel/tdx/tcb-{FMSPC}.json"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[VendorService]:
    with VendorService(tmp_path / "service") as running:
        yield running


@pytest.fixture
def watch(
    vectors: Path, tmp_path: Path, service: VendorService, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[CollateralWatch, Clock]]:
    """A watch on a store with real collateral, at its time, that may ask the service."""
    files, at = case(vectors, TDX_CASE)
    now = datetime.fromisoformat(at)
    serve_tdx(service, files)
    section = CollateralSettings(
        pcs_urls=(service.url,), ca_file=service.ca_file, allow_private=True, expiring_days=7
    )
    monkeypatch.setattr(collateral, "section_of", lambda _settings: section)

    def make(*, enabled: bool = True) -> tuple[CollateralWatch, Clock]:
        settings = build({"storage": {"data_dir": str(tmp_path / "data")}, "fetch": {"enabled": enabled}})
        store = collateral.open_store(settings.collateral_dir)
        store.keep_all(items_of(files["collateral"].read_bytes()), now)
        clock = Clock(now)
        services: Any = SimpleNamespace(settings=settings, clock=clock)
        return CollateralWatch(services, interval_s=3600), clock

    return make


def values(name: str) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.labels["kind"], sample.labels.get("subject", sample.labels.get("state", ""))): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


Watch = Callable[..., tuple[CollateralWatch, Clock]]


def test_ends_and_states_are_measured(watch: Watch) -> None:
    watching, clock = watch(enabled=False)
    found = {item.name: item for item in watching.measure(clock())}
    assert len(found) == 4
    end = found[TCB_NAME].not_after
    assert end is not None
    assert values("touchstone_collateral_expiry_seconds")["tdx.tcb-info", FMSPC] == end.timestamp()
    assert values("touchstone_collateral_items")["tdx.tcb-info", "valid"] == 1
    clock.now = end + timedelta(seconds=1)
    watching.measure(clock())
    states = values("touchstone_collateral_items")
    assert (states["tdx.tcb-info", "valid"], states["tdx.tcb-info", "expired"]) == (0, 1)


def test_what_is_due_is_asked_for_again_and_not_more_often_than_hourly(
    watch: Watch, service: VendorService, caplog: pytest.LogCaptureFixture
) -> None:
    def failures() -> int:
        return sum("was not renewed" in record.getMessage() for record in caplog.records)

    watching, clock = watch()
    watching.look()
    assert service.asked == []  # just got, and good for weeks
    clock.now += timedelta(days=9)  # three of them end within the week
    service.serve(TCB, Reply(status=500))
    watching.look()
    assert sorted(service.asked) == sorted([PCK, QE, TCB])
    assert failures() == 1
    clock.now += timedelta(minutes=10)
    watching.look()
    assert failures() == 1
    clock.now += timedelta(hours=1)
    watching.look()
    assert failures() == 2
    assert TCB_NAME in {item.name for item in watching.measure(clock())}  # it stays


def test_offline_nobody_is_asked(watch: Watch, service: VendorService) -> None:
    watching, clock = watch(enabled=False)
    clock.now += timedelta(days=100)
    watching.look()
    assert service.asked == []


def test_what_is_not_well_is_said_once_a_day(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    watching, clock = watch(enabled=False)
    clock.now += timedelta(days=10)

    def said() -> int:
        with caplog.at_level(logging.WARNING, logger="touchstone.collateral"):
            caplog.clear()
            watching.look()
        return sum("is expiring" in record.getMessage() for record in caplog.records)

    assert said() == 3
    assert said() == 0
    clock.now += timedelta(days=1)
    assert said() == 3


def test_it_starts_and_stops(watch: Watch) -> None:
    watching, _ = watch(enabled=False)
    (watching._store.folder.parent).mkdir(exist_ok=True)  # type: ignore[union-attr]
    watching.start()
    watching.close()


def test_subjects_are_bounded() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    many = [
        Listed(
            f"n{number}",
            "test.many",
            "00",
            "valid",
            subject=f"s{number}",
            not_after=start + number * timedelta(1),
        )
        for number in range(MAX_SUBJECTS * 3)
    ]
    measured(["test.many"], reversed(many))
    subjects = {
        subject for kind, subject in values("touchstone_collateral_expiry_seconds") if kind == "test.many"
    }
    assert subjects == {f"s{number}" for number in range(MAX_SUBJECTS)}
    measured(["test.bad"], [Listed("crl/x.crl", "test.bad", "00", "invalid")])
    assert values("touchstone_collateral_expiry_seconds")["test.bad", "crl/x.crl"] == 0
