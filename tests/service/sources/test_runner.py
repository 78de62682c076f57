"""The schedule: when a source is pulled, what is told of it, one process at a time."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service import metrics
from service.sources import plan, runner, state
from service.sources.runner import SourceRunner, delay_after
from tests.service.harness import Clock
from tests.service.running import RunningServer
from tests.service.sources.conftest import LATER, MakeSite
from tests.service.world import GOOD, Publisher


def folder_source(folder: Path, **changes: Any) -> dict[str, Any]:
    return {"name": "files", "kind": "directory", "path": str(folder), "interval_s": 60} | changes


def test_a_source_is_pulled_at_once_then_after_its_interval(
    make_site: MakeSite, tmp_path: Path, clock: Clock
) -> None:
    site = make_site(folder_source(tmp_path))
    running = SourceRunner(site.services)
    running.prepare()
    assert [running.run_due(), running.run_due()] == [1, 0]
    clock.now += timedelta(seconds=59)
    assert running.run_due() == 0
    clock.now += timedelta(seconds=1)
    assert running.run_due() == 1
    (told,) = site.sources()
    assert (told["name"], told["found"], told["next_pull"]) == ("files", 0, "2026-01-03T00:02:00Z")
    assert told["failure"] is None


def test_a_failing_source_is_asked_ever_more_seldom_and_holds_up_no_other(
    make_site: MakeSite, tmp_path: Path, clock: Clock
) -> None:
    site = make_site(
        folder_source(tmp_path / "absent", name="broken"), folder_source(tmp_path, name="whole")
    )
    running = SourceRunner(site.services)
    running.prepare()
    assert running.run_due() == 2
    broken, whole = site.sources()
    assert (broken["failure"], broken["failures"]) == ("input.not_found", 1)
    assert whole["last_success"] == "2026-01-03T00:00:00Z"
    clock.now += timedelta(seconds=60)
    assert running.run_due() == 2
    clock.now += timedelta(seconds=60)
    assert running.run_due() == 1  # the broken one waits two minutes now
    text = metrics.exposition().decode()
    assert 'touchstone_source_pulls_total{outcome="failure",source="broken"}' in text
    assert 'touchstone_source_last_seconds{outcome="success",source="whole"}' in text
    (tmp_path / "absent").mkdir()
    clock.now += timedelta(seconds=60)
    assert running.run_due() == 2
    mended = site.sources()[0]
    assert (mended["failure"], mended["failures"]) == (None, 0)
    assert mended["last_failure"] == "2026-01-03T00:01:00Z"


@pytest.mark.parametrize(
    ("interval", "failures", "seconds"),
    [(60, 1, 60), (60, 2, 120), (60, 100, 61440), (3600, 100, 86400), (604_800, 5, 604_800)],
)
def test_the_pause_after_failures_grows_up_to_a_day(interval: int, failures: int, seconds: int) -> None:
    assert delay_after(interval, failures) == timedelta(seconds=seconds)


def test_the_schedule_survives_a_restart_and_follows_changed_settings(
    make_site: MakeSite, tmp_path: Path
) -> None:
    site = make_site(folder_source(tmp_path))
    first = SourceRunner(site.services)
    first.prepare()
    first.run_due()
    second = SourceRunner(site.services)
    second.prepare()
    assert second.run_due() == 0
    known = state.read(site.services.settings)["files"]
    (source,) = plan.sources_of(site.services.settings)
    assert runner.begin(msgspec.structs.replace(source, interval_s=10), known).next_pull is None
    elsewhere = msgspec.structs.replace(source, pattern="*.other")
    assert runner.begin(elsewhere, known).last_success is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[{"name": 1}]', b"\xff" * 10])
def test_a_damaged_state_file_only_means_a_pull_more(
    make_site: MakeSite, tmp_path: Path, content: bytes
) -> None:
    site = make_site(folder_source(tmp_path))
    (site.services.settings.storage.data_dir / "sources.json").write_bytes(content)
    assert site.sources()[0]["last_success"] is None
    running = SourceRunner(site.services)
    running.prepare()
    assert running.run_due() == 1
    assert site.sources()[0]["last_success"] == LATER.isoformat().replace("+00:00", "Z")


def test_of_two_processes_one_pulls_and_the_other_takes_over(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site(folder_source(tmp_path))
    first, second = (SourceRunner(site.services, tick_s=0.01) for _ in range(2))
    first.start()
    wait_for(lambda: bool(first._pullers))
    second.start()
    time.sleep(0.1)
    assert not second._pullers
    first.close()
    wait_for(lambda: bool(second._pullers))
    second.close()


def test_a_server_without_sources_starts_no_thread(make_site: MakeSite) -> None:
    site = make_site(trusting=False)
    running = SourceRunner(site.services)
    running.start()
    assert running._thread is None
    running.close()
    assert site.sources() == []


@pytest.mark.xdist_group("server")
def test_a_real_server_pulls_a_folder_in_one_of_its_workers(tmp_path: Path) -> None:
    publisher, folder = Publisher(), tmp_path / "inbox"
    folder.mkdir()
    launch = tmp_path / "launch.json"
    launch.write_text(json.dumps({"rule": "reference-values"}))
    (folder / "release.json").write_bytes(publisher.envelope(GOOD, now=datetime.now(UTC)))
    server = RunningServer(tmp_path, {}, workers=2)
    with server.config.open("a", encoding="utf-8") as config:
        config.write(f"[[sources]]\nname = 'files'\nkind = 'directory'\npath = '{folder}'\n")
        config.write(f"derivation = '{launch}'\ninterval_s = 10\n")
    with server:
        admin = server.admin()
        told = admin.call("GET", "/v1/sources")["items"][0]
        assert told["last_success"] is None  # no trust policy yet: nothing is pulled
        body = {"text": json.dumps(publisher.trust_policy()), "activate": True}
        admin.call("PUT", "/v1/policies/trust/default", body=body)
        wait_for(lambda: admin.call("GET", "/v1/sources")["items"][0]["last_success"], seconds=15)
        for _ in range(8):  # whichever worker answers
            (told,) = admin.call("GET", "/v1/sources")["items"]
            assert (told["found"], told["added"]) == (1, 1)
        (value,) = admin.call("GET", "/v1/reference-values")["items"]
        assert value["value"] == GOOD.hex()
        assert server.log_text().count("stands for another image") == 0
        assert server.stop() == 0


def wait_for(condition: Any, *, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
