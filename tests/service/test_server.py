"""The real server: gunicorn, sockets, a guest with the real client; graceful stop, kill, secrecy."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import urllib3
from sqlalchemy import func, select

from common.encoding import b64url_encode
from common.errors import FetchFailed, TouchstoneError
from guest_agent.client import GuestClient
from guest_agent.errors import ServerRefused
from guest_agent.keys import EphemeralKey
from kms.audit import AuditLog
from kms.checkpoints import CheckpointKey, verify_checkpoints
from kms.tables import audit_record, secret_release
from rvps import queries
from rvps.tables import attestation
from service.client import ApiClient, RemoteError
from storage.database import Database
from testkit.daemon import children_of
from testkit.snp_firmware import SnpFirmware
from tests.service.running import Authority, FirmwareAttester, RunningServer, gone
from tests.service.world import GOOD, SECRET, Publisher, firmware_settings
from verifier.tables import appraisal

pytestmark = pytest.mark.xdist_group("server")
RESOURCE = "vault/key/one"
SHIPPED_POLICIES = {
    ("appraisal", "default"),
    *(("appraisal", f"default_{name}") for name in ("cpu", "dcu", "gpu", "nvidia-dpu", "ppcie", "switch")),
    ("release", "default"),
    ("resource", "resource-policy"),
}


on_both_engines = pytest.mark.parametrize("server", ["gunicorn", "granian"], indirect=True)


@pytest.fixture
def server(
    request: pytest.FixtureRequest, tmp_path: Path, firmware: SnpFirmware
) -> Iterator[RunningServer]:
    sections = firmware_settings(firmware, tmp_path, datetime.now(UTC))
    engine = getattr(request, "param", "gunicorn")
    with RunningServer(tmp_path, sections, engine=engine) as running:
        yield running


def trust(admin: ApiClient, publisher: Publisher) -> None:
    body = {"text": json.dumps(publisher.trust_policy()), "activate": True}
    admin.call("PUT", "/v1/policies/trust/default", body=body)


def publish(admin: ApiClient, publisher: Publisher, *measurements: bytes, revision: str = "a" * 40) -> dict:
    submission = publisher.submission(*measurements, now=datetime.now(UTC), revision=revision)
    return admin.call("POST", "/v1/attestations", body=submission)


def store(admin: ApiClient) -> None:
    admin.call("PUT", f"/v1/resources/{RESOURCE}", body={"data": b64url_encode(SECRET)})


@on_both_engines
def test_guest_attests_over_http_and_gets_the_secret_until_retraction(
    server: RunningServer, firmware: SnpFirmware
) -> None:
    admin, publisher = server.admin(), Publisher()
    trust(admin, publisher)
    store(admin)
    attestation = publish(admin, publisher, GOOD)["attestation"]
    guest = GuestClient(server.url, FirmwareAttester(firmware))
    assert guest.get_resource(RESOURCE) == SECRET
    session = guest.attest(explain=True)
    assert session.status == "affirming"
    assert session.explanation is not None
    admin.call("POST", f"/v1/attestations/{attestation}/retract", body={"reason": "compromised"})
    # At once, on every worker: no request may find a process that does not know yet.
    for _ in range(8):
        with pytest.raises(ServerRefused) as refused:
            guest.get_resource(RESOURCE, session=session)
        assert refused.value.remote_code == "release.stale"
        assert guest.attest().status != "affirming"


@on_both_engines
def test_one_nonce_serves_one_of_many_concurrent_appraisals(
    server: RunningServer, firmware: SnpFirmware
) -> None:
    guest = GuestClient(server.url, FirmwareAttester(firmware))
    body = msgspec.json.encode(guest.evidence(EphemeralKey("P-256")))
    gate = threading.Barrier(8)

    def appraise(_: int) -> int:
        with urllib3.PoolManager(retries=False) as pool:
            gate.wait()
            headers = {"Content-Type": "application/json"}
            return pool.request("POST", f"{server.url}/v1/appraisals", body=body, headers=headers).status

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(appraise, range(8))) == [200, *[409] * 7]


@on_both_engines
def test_graceful_stop_loses_no_record_and_signs_the_end_of_the_log(
    server: RunningServer, firmware: SnpFirmware
) -> None:
    admin = server.admin()
    store(admin)
    guest = GuestClient(server.url, FirmwareAttester(firmware))
    for _ in range(5):
        guest.attest()
    assert server.stop() == 0
    database = Database(f"sqlite:///{server.folder / 'data' / 'touchstone.db'}")
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(appraisal)).scalar_one() == 5
    head = AuditLog(database).head()
    key = CheckpointKey.open_or_create(server.folder / "data" / "keys" / "audit-checkpoint.pem")
    checkpoints = verify_checkpoints(
        database, key.public_jwk, server.folder / "data" / "audit-checkpoints.jws"
    )
    assert (checkpoints.holds, checkpoints.covered) == (True, head.sequence)
    database.close()


@on_both_engines
def test_request_under_way_is_finished_by_a_graceful_stop(server: RunningServer) -> None:
    body = json.dumps({"tee": "snp"}).encode()
    head = (
        "POST /v1/challenges HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode() + body[:5])
        # The worker is waiting for the rest of the body when it is told to stop.
        threading.Event().wait(0.5)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        threading.Event().wait(0.5)
        connection.sendall(body[5:])
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 201")
    assert server.process.wait(30) == 0


def test_key_files_are_private_and_made_once(server: RunningServer) -> None:
    data = server.folder / "data"
    files = [data / "admin.token", *(data / "keys").iterdir()]
    assert len(files) >= 4
    before = {path: path.read_bytes() for path in files}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert server.stop() == 0
    server.start()
    assert {path: path.read_bytes() for path in files} == before


@on_both_engines
def test_connections_are_kept_alive_and_metrics_cover_every_worker(server: RunningServer) -> None:
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, retries=False) as pool:
        for _ in range(40):
            assert pool.request("GET", "/healthz").status == 200
        assert pool.num_connections == 1
    with urllib3.PoolManager(retries=False) as many:
        for _ in range(10):
            many.request("GET", f"{server.url}/healthz", headers={"Connection": "close"})
        text = many.request("GET", f"{server.url}/metrics").data.decode()
    line = next(
        line
        for line in text.splitlines()
        if line.startswith("touchstone_requests_total{") and "healthz" in line
    )
    assert float(line.rpartition(" ")[2]) == 50


def test_oversized_request_line_and_headers_are_refused(server: RunningServer) -> None:
    with urllib3.PoolManager(retries=False) as pool:
        assert pool.request("GET", f"{server.url}/v1/resources/a/b/{'x' * 10_000}").status == 414
        assert pool.request("GET", f"{server.url}/healthz", headers={"X": "y" * 20_000}).status == 431


def test_development_profile_is_said_at_start_and_in_health(server: RunningServer) -> None:
    health = ApiClient(server.url).call("GET", "/healthz")
    assert (health["profile"], health["status"]) == ("development", "insecure")
    assert any("extra_anchors" in switch for switch in health["insecure"])
    assert "DEVELOPMENT PROFILE" in server.log_text()
    assert "INSECURE: [snp] extra_anchors" in server.log_text()


def test_production_server_does_not_start_with_test_anchors(tmp_path: Path, firmware: SnpFirmware) -> None:
    sections = firmware_settings(firmware, tmp_path) | {"profile": "production"}
    with pytest.raises(AssertionError, match="production profile refuses"):
        RunningServer(tmp_path, sections).start()
    assert not (tmp_path / "data").exists()


@on_both_engines
def test_logs_are_json_and_hold_no_secret(server: RunningServer, firmware: SnpFirmware) -> None:
    admin, publisher = server.admin(), Publisher()
    trust(admin, publisher)
    store(admin)
    publish(admin, publisher, GOOD)
    guest = GuestClient(server.url, FirmwareAttester(firmware))
    session = guest.attest()
    assert guest.get_resource(RESOURCE, session=session) == SECRET
    token = (server.folder / "data" / "admin.token").read_text().strip()
    with pytest.raises(RemoteError):
        ApiClient(server.url, token=token[:-1]).call("GET", "/v1/audit")
    with pytest.raises(RemoteError):
        admin.call("PUT", "/v1/resources/vault/key/bad", body={"data": b64url_encode(SECRET) + "!"})
    assert server.stop() == 0
    log = server.log_text()
    for line in log.splitlines():
        assert isinstance(json.loads(line), dict), line
    secrets = [
        token.split("_", 2)[2],
        session.token,
        session.token.split(".")[2],
        SECRET.decode(),
        b64url_encode(SECRET),
        *(
            path.read_text("ascii", "replace").splitlines()[1]
            for path in (server.folder / "data" / "keys").glob("*.pem")
        ),
    ]
    for secret in secrets:
        assert secret not in log
    assert '"operation":"resources.release"' in log


@pytest.mark.parametrize("engine", ["gunicorn", "granian"])
def test_production_server_over_tls(tmp_path: Path, engine: str) -> None:
    with RunningServer(tmp_path, {}, workers=1, tls=Authority(), engine=engine) as server:
        health = ApiClient(server.url, ca_file=server.ca_file).call("GET", "/healthz")
        assert (health["profile"], health["status"]) == ("production", "ok")
        policies = server.admin().call("GET", "/v1/policies")["items"]
        assert {(item["kind"], item["name"]) for item in policies} == SHIPPED_POLICIES
        with pytest.raises(FetchFailed):
            ApiClient(server.url).call("GET", "/healthz")
        assert server.stop() == 0


class Submitter(threading.Thread):
    """Submits attestations until the server is gone; keeps what was acknowledged."""

    def __init__(self, admin: ApiClient, publisher: Publisher, number: int) -> None:
        super().__init__()
        self._admin, self._publisher, self._number = admin, publisher, number
        self.acknowledged: list[dict] = []
        self.stop = threading.Event()

    def run(self) -> None:
        count = 0
        while not self.stop.is_set():
            count += 1
            measurement = hashlib.sha384(f"{self._number}/{count}".encode()).digest()
            try:
                self.acknowledged.append(publish(self._admin, self._publisher, measurement))
            except TouchstoneError:
                return


class Receiver(threading.Thread):
    """Fetches a secret until the server is gone; counts what arrived."""

    def __init__(self, server: RunningServer, firmware: SnpFirmware) -> None:
        super().__init__()
        self._guest = GuestClient(server.url, FirmwareAttester(firmware))
        self.received = 0
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                assert self._guest.get_resource(RESOURCE) == SECRET
            except TouchstoneError:
                return
            self.received += 1


@on_both_engines
def test_workers_end_with_a_main_process_that_is_killed(server: RunningServer) -> None:
    assert server.process is not None
    workers = children_of(server.process.pid)
    assert len(workers) >= 2
    server.process.kill()
    server.process.wait(30)
    deadline = time.monotonic() + 30
    while not all(gone(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_kill_during_submissions_and_releases_loses_nothing_acknowledged(
    server: RunningServer, firmware: SnpFirmware
) -> None:
    publisher = Publisher()
    trust(server.admin(), publisher)
    store(server.admin())
    publish(server.admin(), publisher, GOOD)
    acknowledged: list[dict] = []
    received = 0
    for turn in range(3):
        submitters = [Submitter(server.admin(), publisher, 10 * turn + number) for number in range(2)]
        receiver = Receiver(server, firmware)
        for thread in (*submitters, receiver):
            thread.start()
        threading.Event().wait(1.0)
        server.kill()
        for thread in (*submitters, receiver):
            thread.stop.set()
            thread.join(60)
            assert not thread.is_alive()
        acknowledged += [answer for thread in submitters for answer in thread.acknowledged]
        received += receiver.received
        server.start()
    assert len(acknowledged) > 3
    assert received > 3
    assert server.stop() == 0
    database = Database(f"sqlite:///{server.folder / 'data' / 'touchstone.db'}")
    for answer in acknowledged:
        record = queries.get_attestation(database, answer["attestation"])
        assert record.reference_values == 1
        assert queries.get_reference_value(database, answer["reference_values"][0], now=datetime.now(UTC))
    log = AuditLog(database)
    assert log.verify().holds
    with database.read() as connection:
        released = connection.execute(select(func.count()).select_from(secret_release)).scalar_one()
        ingested = connection.execute(
            select(func.count()).where(audit_record.c.action == "attestation.ingest")
        ).scalar_one()
        stored = connection.execute(select(func.count()).select_from(attestation)).scalar_one()
    assert released >= received
    assert ingested == stored >= len(acknowledged) + 1
    database.close()
