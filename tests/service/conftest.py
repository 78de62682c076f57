"""A real server without sockets: every part built by the composition, on a database of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service import composition, settings
from service.app import create_app
from service.composition import Services
from testkit.snp_firmware import SnpFirmware
from tests.registries import account_pusher, distribution, oci_registry, pusher, repository
from tests.service.harness import Clock, ContractClient
from tests.service.world import Publisher, World, firmware_settings

MakeServices = Callable[..., Services]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder after its first start; tests copy it, so that each has its own."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    composition.prepare(settings.build({"storage": {"data_dir": str(folder)}}), Clock())
    return folder


@pytest.fixture
def make_services(prepared: Path, tmp_path: Path, clock: Clock) -> Iterator[MakeServices]:
    """Builds services on a copy of the prepared folder, with settings laid over the defaults."""
    made: list[Services] = []
    data_dir = tmp_path / "data"

    def make(**sections: Any) -> Services:
        if not data_dir.exists():
            shutil.copytree(prepared, data_dir)
        values = {"storage": {"data_dir": str(data_dir)}} | sections
        services = composition.build(settings.build(values), clock)
        made.append(services)
        return services

    yield make
    for services in made:
        services.close()


@pytest.fixture
def services(make_services: MakeServices) -> Services:
    return make_services()


@pytest.fixture
def admin_token(services: Services) -> str:
    return (services.settings.storage.data_dir / "admin.token").read_text(encoding="ascii").strip()


@pytest.fixture
def client(services: Services, admin_token: str) -> ContractClient:
    """An administrator's client that holds every answer against the contract."""
    return ContractClient(create_app(services), admin_token)


@pytest.fixture(scope="session")
def firmware() -> SnpFirmware:
    return SnpFirmware()


@pytest.fixture
def world(make_services: MakeServices, firmware: SnpFirmware, prepared: Path, tmp_path: Path) -> World:
    """A development server that trusts the test firmware and the publisher's key."""
    services = make_services(**firmware_settings(firmware, tmp_path))
    token = (prepared / "admin.token").read_text(encoding="ascii").strip()
    made = World(services, ContractClient(create_app(services), token), Publisher(), firmware)
    made.trust_publisher()
    return made


__all__ = ["account_pusher", "distribution", "oci_registry", "pusher", "repository"]
