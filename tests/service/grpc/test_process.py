"""The gRPC process beside a real ``touchstone serve``: started, killed, started anew, never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from testkit.daemon import children_of, free_port
from testkit.snp_firmware import SnpFirmware
from tests.service.coco.documents import firmware_document
from tests.service.grpc.certificates import TestAuthority
from tests.service.grpc.conftest import Client, refusal
from tests.service.grpc.test_methods import evaluate, message, query, register
from tests.service.running import RunningServer, gone
from tests.service.world import firmware_settings

pytestmark = pytest.mark.xdist_group("server")
Connect = Callable[..., Client]
_TIMEOUT_S = 120  # a process that starts on a busy machine


def settings_of(firmware: SnpFirmware, folder: Path, **more: Any) -> dict[str, Any]:
    return firmware_settings(firmware, folder, datetime.now(UTC)) | {
        "coco": {"declared_reference_values": True},
        "grpc": {"attestation": f"127.0.0.1:{free_port()}", "unauthenticated_writes": "loopback"} | more,
    }


class Beside:
    """A server with its gRPC process."""

    def __init__(self, folder: Path, sections: dict[str, Any], engine: str = "gunicorn") -> None:
        self.server = RunningServer(folder, sections, engine=engine)
        self.address = str(sections["grpc"]["attestation"])

    def child(self) -> int:
        """Process id of the one started last."""
        pids = []
        for line in self.server.log_text().splitlines():
            record = json.loads(line) if line.startswith("{") else {}
            if record.get("message") == "gRPC process started":
                pids.append(int(record["pid"]))
        return pids[-1]

    def main(self) -> int:
        assert self.server.process is not None
        return self.server.process.pid


@pytest.fixture
def beside(request: pytest.FixtureRequest, tmp_path: Path, firmware: SnpFirmware) -> Iterator[Beside]:
    made = Beside(tmp_path, settings_of(firmware, tmp_path), getattr(request, "param", "gunicorn"))
    with made.server:
        yield made


on_both_engines = pytest.mark.parametrize("beside", ["gunicorn", "granian"], indirect=True)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}")


def answers(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


@on_both_engines
def test_served_beside_http_on_the_same_data_and_stopped_with_it(
    beside: Beside, connect: Connect, firmware: SnpFirmware
) -> None:
    until(lambda: answers(beside.address), "gRPC answers")
    client = connect(beside.address)
    register(client, message())
    assert query(client, "snp_launch_measurement") == ["6a65"]
    claims = evaluate(client, firmware_document(firmware))
    assert claims["touchstone"]["bound"] == "unbound"
    published = beside.server.admin().call("GET", "/policy")
    assert {"policy-id": "default_cpu"} in published
    exposed = _metrics(beside)
    assert 'route="/attestation.AttestationService/AttestationEvaluate"' in exposed
    child = beside.child()
    assert beside.server.stop() == 0
    assert gone(child)


def _metrics(beside: Beside) -> str:
    import urllib3

    return urllib3.request("GET", f"{beside.server.url}/metrics").data.decode()


@on_both_engines
def test_killed_grpc_process_is_started_anew_and_http_goes_on(beside: Beside) -> None:
    until(lambda: answers(beside.address), "gRPC answers")
    killed = beside.child()
    os.kill(killed, signal.SIGKILL)
    until(lambda: beside.child() != killed and answers(beside.address), "gRPC answers again")
    assert gone(killed)
    assert {"policy-id": "default_cpu"} in beside.server.admin().call("GET", "/policy")
    assert "the gRPC process ended; it is started anew" in beside.server.log_text()


@on_both_engines
def test_grpc_process_ends_when_the_server_process_is_killed(beside: Beside) -> None:
    until(lambda: answers(beside.address), "gRPC answers")
    child = beside.child()
    os.kill(beside.main(), signal.SIGKILL)
    until(lambda: gone(child), "the gRPC process ends")
    assert not answers(beside.address)


def test_replaced_http_worker_leaves_the_grpc_process_alone(beside: Beside) -> None:
    until(lambda: answers(beside.address), "gRPC answers")
    child, main = beside.child(), beside.main()
    workers = children_of(main) - {child}
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    until(lambda: all(gone(pid) for pid in workers), "workers end")
    assert answers(beside.address)
    assert beside.child() == child
    assert not gone(child)


def test_address_in_use_is_retried_until_it_is_free(tmp_path: Path, firmware: SnpFirmware) -> None:
    import socket

    sections = settings_of(firmware, tmp_path)
    made = Beside(tmp_path, sections)
    host, port = made.address.split(":")
    with socket.socket() as holder:
        holder.bind((host, int(port)))
        holder.listen()
        with made.server:
            until(lambda: "cannot listen on" in made.server.log_text(), "the failure is logged")
            holder.close()
            until(lambda: answers(made.address), "gRPC answers")


def test_replaced_certificate_is_taken_up_by_the_process(
    tmp_path: Path, firmware: SnpFirmware, connect: Connect
) -> None:
    authority = TestAuthority()
    made = Beside(tmp_path, settings_of(firmware, tmp_path, **authority.write(tmp_path)))
    with made.server:

        def served_by(one: TestAuthority) -> bool:
            try:
                query(connect(made.address, one.credentials()), "x")
            except grpc.RpcError:
                return False
            return True

        until(lambda: served_by(authority), "gRPC answers")
        successor = TestAuthority("next authority")
        successor.write(tmp_path)
        until(lambda: served_by(successor), "the new certificate is shown")


def test_served_alone(tmp_path: Path, firmware: SnpFirmware, connect: Connect) -> None:
    sections = settings_of(firmware, tmp_path, unauthenticated_writes="never")
    config = RunningServer(tmp_path, sections).config
    address = sections["grpc"]["attestation"]
    process = subprocess.Popen(
        [Path(sys.executable).with_name("touchstone"), "serve-grpc", "--config", str(config)]
    )
    try:
        until(lambda: answers(address), "gRPC answers")
        error = refusal(lambda: register(connect(address), message()))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        process.terminate()
        assert process.wait(_TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()


def test_alone_without_an_address_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("touchstone"), "serve-grpc", "--data-dir", str(tmp_path / "data")],
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert b"[grpc] names no address" in done.stderr


def test_neither_grpc_nor_metrics_are_in_the_server_process_before_its_time() -> None:
    """gRPC does not survive a fork; the metrics library must see the folder that ``serve`` makes."""
    code = "import service.server, sys; print(sorted({'grpc', 'prometheus_client'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
