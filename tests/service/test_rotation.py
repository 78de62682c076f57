"""Rotation under the real server: `touchstone keys rotate` beside it, no restart, no result refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography import x509

from common.encoding import b64url_decode
from guest_agent.client import GuestClient
from guest_agent.errors import ServerRefused
from testkit.snp_firmware import SnpFirmware
from tests.service.running import FirmwareAttester, RunningServer
from tests.service.test_server import RESOURCE, publish, store, trust
from tests.service.world import GOOD, SECRET, Publisher, firmware_settings

pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture(params=["gunicorn", "granian"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, firmware: SnpFirmware
) -> Iterator[RunningServer]:
    sections = firmware_settings(firmware, tmp_path, datetime.now(UTC))
    with RunningServer(tmp_path, sections, engine=request.param) as running:
        yield running


def keys(server: RunningServer, *arguments: str) -> Any:
    command = [Path(sys.executable).with_name("touchstone"), "keys", *arguments]
    command += ["--config", str(server.config), "--json"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return json.loads(done.stdout)


def published(server: RunningServer) -> list[str]:
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request("GET", f"{server.url}/.well-known/jwks.json", headers={"Connection": "close"})
        return [key["kid"] for key in answer.json()["keys"]]


def kid_of(token: str) -> str:
    return str(json.loads(b64url_decode(token.split(".", 1)[0]))["kid"])


def test_workers_take_up_a_rotation_while_guests_go_on(
    server: RunningServer, firmware: SnpFirmware
) -> None:
    admin, publisher = server.admin(), Publisher()
    trust(admin, publisher)
    store(admin)
    publish(admin, publisher, GOOD)
    guest = GuestClient(server.url, FirmwareAttester(firmware))
    old_session = guest.attest()
    old = published(server)
    assert [kid_of(old_session.token)] == old

    new = keys(server, "rotate", "--lead", "4")["kid"]
    listed = keys(server, "list")["items"]
    assert {row["kid"]: row["state"] for row in listed} == {old[0]: "signs", new: "next"}
    time.sleep(1.2)
    assert all(published(server) == [*old, new] for _ in range(6))  # whichever worker answers
    assert kid_of(guest.attest().token) == old[0]

    deadline = time.monotonic() + 20
    while kid_of(guest.attest().token) != new:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for _ in range(6):  # results of either key, at either worker
        assert guest.get_resource(RESOURCE, session=old_session) == SECRET
        assert guest.get_resource(RESOURCE, session=guest.attest()) == SECRET
    assert published(server) == [new, *old]
    assert server.process is not None
    assert server.process.poll() is None


def test_compromised_key_is_out_within_a_second(server: RunningServer, firmware: SnpFirmware) -> None:
    admin, publisher = server.admin(), Publisher()
    trust(admin, publisher)
    store(admin)
    publish(admin, publisher, GOOD)
    guest = GuestClient(server.url, FirmwareAttester(firmware))
    session = guest.attest()
    authority = keys(server, "ca")["certificate"]
    assert guest.get_resource(RESOURCE, session=session) == SECRET
    new = keys(server, "rotate", "--compromised")["kid"]
    time.sleep(1.2)
    for _ in range(6):
        with pytest.raises(ServerRefused) as refused:
            guest.get_resource(RESOURCE, session=session)
        assert refused.value.remote_code == "access.ear"
    assert published(server) == [new]
    assert guest.get_resource(RESOURCE) == SECRET
    successor = keys(server, "ca")["certificate"]
    assert successor != authority
    assert x509.load_pem_x509_certificate(successor.encode())
