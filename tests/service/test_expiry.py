"""Upkeep beside requests: what expires is measured, and said once a day; keys are renewed and rotated."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service import composition, metrics
from service.composition import Services
from service.expiry import ExpiryWatch
from service.settings import build
from tests.service.harness import Clock
from tests.service.tls_files import TlsAuthority


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC))


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    authority = TlsAuthority()
    authority.server(tmp_path, lifetime=timedelta(days=40))
    roots = authority.write(tmp_path / "roots.pem")
    server = {
        "tls_certificate": str(tmp_path / "tls.pem"),
        "tls_key": str(tmp_path / "tls.key"),
        "tls_client_ca": str(authority.write(tmp_path / "clients.pem")),
        "tls_client_certificates": "admin",
    }
    issuers = [{"name": "other", "certificates": [str(roots)]}]
    return {
        "server": server,
        "storage": {"data_dir": str(tmp_path / "data")},
        "coco": {"trusted_issuers": issuers},
    }


@pytest.fixture
def services(settings: dict[str, Any], clock: Clock) -> Iterator[Services]:
    built = build(settings)
    composition.prepare(built, clock)
    made = composition.build(built, clock)
    yield made
    made.close()


def values(name: str) -> dict[str, float]:
    """Role (or nothing) to value of a gauge in the exposition."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {sample.labels.get("role", ""): sample.value for sample in samples}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def test_end_of_every_certificate_is_measured(services: Services, clock: Clock) -> None:
    ExpiryWatch(services).look()
    ends = values("touchstone_certificate_not_after_seconds")
    assert ends.keys() >= {"tls", "tls_client_ca", "token_signing", "token_ca", "issuer:other"}
    days = {role: (end - clock.now.timestamp()) / 86_400 for role, end in ends.items()}
    assert days["tls"] == pytest.approx(40, abs=0.1)
    assert days["issuer:other"] == pytest.approx(1, abs=0.1)
    assert days["token_signing"] == pytest.approx(30, abs=0.1)
    assert days["token_ca"] == pytest.approx(3652, abs=0.1)
    assert values("touchstone_signing_key_next_rotation_seconds") == {"": 0}
    active = values("touchstone_signing_key_active_since_seconds")[""]
    assert active == pytest.approx(clock.now.timestamp(), abs=1)


def test_what_expires_soon_is_said_once_a_day(
    services: Services, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    watch = ExpiryWatch(services)
    for _ in range(3):
        watch.look()
    soon = [f"the certificate of {role} expires soon" for role in ("tls_client_ca", "issuer:other")]
    assert said(caplog) == soon
    caplog.clear()
    clock.now += timedelta(hours=23)
    watch.look()
    assert said(caplog) == []
    clock.now += timedelta(hours=2)
    watch.look()
    assert said(caplog) == [text.replace("expires soon", "expired") for text in soon]
    caplog.clear()
    clock.now += timedelta(days=10)
    watch.look()
    assert "the certificate of tls expires soon" in said(caplog)


def test_leaf_is_renewed_in_time_and_says_nothing(
    services: Services, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    watch = ExpiryWatch(services)
    for _ in range(60):
        watch.look()
        clock.now += timedelta(days=1)
    assert not [text for text in said(caplog) if "token_signing" in text]
    chain = services.token_keys.folder.ring().keys[0].chain
    assert chain
    end = values("touchstone_certificate_not_after_seconds")["token_signing"]
    assert end > clock.now.timestamp()


def test_next_rotation_is_measured(services: Services, clock: Clock) -> None:
    entry = services.token_keys.folder.rotate(clock.now)
    services.token_keys.find("unknown", clock.now)  # looks at the folder
    ExpiryWatch(services).look()
    at = values("touchstone_signing_key_next_rotation_seconds")[""]
    assert at == pytest.approx(entry.active_from.timestamp())


def test_unreadable_files_are_said_and_stop_nothing(
    services: Services, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "tls.pem").unlink()
    (tmp_path / "data" / "keys" / "token-ca.key").write_bytes(b"broken")
    ends = ExpiryWatch(services)
    ends.look()
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert any("of tls cannot be read" in text for text in errors)
    assert any("cannot be maintained" in text for text in errors)
    now = services.clock()
    assert services.token_keys.sign({"aud": "a"}, now=now, expires=now + timedelta(minutes=1))
