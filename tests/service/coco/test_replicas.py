"""Two server processes on one PostgreSQL database: a nonce is spent once among them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from testkit.postgres import PostgresServer
from tests.databases import postgres
from tests.service.coco.conftest import ALLOW_SAMPLE, DEVELOPMENT, SECRET
from tests.service.coco.kbs import SVN, Administrator, Answer, Guest
from tests.service.running import RunningServer

__all__ = ["postgres"]
pytestmark = pytest.mark.xdist_group("server")
PATH = "resource/default/test/dummy"
SESSIONS, AT_ONCE = 12, 8


class Http:
    """Sends like Flask's client, over sockets."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(maxsize=AT_ONCE, block=False, retries=False)

    def open(self, path: str, method: str, data: bytes | None, headers: dict[str, str]) -> Sent:
        got = self._pool.request(method, self._url + path, body=data, headers=headers, timeout=30)
        headers = {name.title(): value for name, value in got.headers.items()}  # HTTP knows no case
        return Sent(got.status, got.data, headers)


class Sent:
    """The parts of an answer that guests of these tests read."""

    def __init__(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.status_code, self.data, self.headers = status, data, headers


@pytest.fixture
def replicas(postgres: PostgresServer, tmp_path: Path) -> Iterator[list[RunningServer]]:
    url = postgres.empty_database_url()
    sections = DEVELOPMENT | {"storage": {"data_dir": str(tmp_path / "data"), "url": url}}
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with (
        RunningServer(folders[0], sections, workers=1) as first,
        RunningServer(folders[1], sections, workers=1, engine="granian") as second,
    ):
        yield [first, second]


def test_case_15_of_attestations_at_once_on_two_servers_one_holds(
    replicas: list[RunningServer], tmp_path: Path
) -> None:
    token = (tmp_path / "data" / "admin.token").read_text(encoding="ascii").strip()
    clients = [Http(server.url) for server in replicas]
    admin = Administrator(clients[0], token)
    assert admin.reference_values(SVN).status == 200
    assert admin.call("POST", PATH, SECRET).status == 200
    assert admin.resource_policy(ALLOW_SAMPLE).status == 200
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number in range(SESSIONS):
            guest = Guest(clients[number % 2])
            assert guest.auth().status == 200
            document = guest.attestation()
            callers = [Guest(clients[index % 2], cookie=guest.cookie) for index in range(AT_ONCE)]
            answers: list[Answer] = list(
                pool.map(lambda one, body=document: one.call("POST", "attest", body), callers)
            )
            assert sorted(answer.status for answer in answers) == [200] + [401] * (AT_ONCE - 1)
            # The session is attested on either server.
            for client in clients:
                guest.http = client
                assert guest.open(guest.call("GET", PATH).json) == SECRET


def test_case_15_a_nonce_that_failed_on_one_server_is_spent_on_the_other(
    replicas: list[RunningServer],
) -> None:
    first, second = (Http(server.url) for server in replicas)
    guest = Guest(first)
    assert guest.auth().status == 200
    assert guest.call("POST", "attest", guest.attestation(evidence={"x": 1})).status == 401
    guest.http = second
    assert guest.call("POST", "attest", guest.attestation()).variant == "AttestationError"
    # And the other way round, by what an attested session was attested with.
    guest = Guest(second)
    assert guest.attest().status == 200
    guest.http = first
    assert guest.call("POST", "attest", guest.attestation()).variant == "AttestationError"
