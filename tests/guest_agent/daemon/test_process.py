"""Start and stop of the process: readiness, credentials, addresses, and starts that must fail."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from guest_agent.daemon.credentials import target
from guest_agent.errors import InitDataDiffers
from tests.guest_agent.daemon.kbs import Kbs
from tests.guest_agent.daemon.running import Guest

NO_GRPC = {"grpc": {"enabled": False}}


def test_it_says_when_it_is_ready_and_when_it_ends():
    guest = Guest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(guest.folder / "notify"))
        manager.settimeout(20)
        guest.environ["NOTIFY_SOCKET"] = str(guest.folder / "notify")
        with guest:
            assert manager.recv(100) == b"READY=1"
            assert guest.get("/info").status == 200
            assert guest.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"
            assert not guest.agent.exists()
            assert not guest.hub.exists()


def test_what_is_being_answered_is_answered():
    with Kbs() as kbs, Guest(kbs.url) as guest:
        kbs.resources["default/test/dummy"] = b"whole"
        kbs.delay_s = 0.5
        answers = []

        def ask():
            answers.append(guest.get("/cdh/resource/default/test/dummy").data)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)
        assert guest.stop() == 0
        thread.join()
        assert answers == [b"whole"]


def test_credentials_are_there_before_it_is_ready():
    with Kbs() as kbs:
        kbs.resources |= {"default/credential/one": b"first", "default/credential/two": b"second"}
        guest = Guest(kbs.url)
        one, two = guest.credentials / "one", guest.credentials / "kms-credential" / "aws" / "two"
        guest.members["credentials"] = [
            {"path": str(one), "resource_uri": "kbs:///default/credential/one"},
            {"path": str(two), "resource_uri": "kbs:///default/credential/two"},
        ]
        with guest:
            assert (one.read_bytes(), two.read_bytes()) == (b"first", b"second")
            for path in (one, two):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert "first" not in guest.log_text()


def failed(guest: Guest) -> tuple[int, str]:
    """Start it; its exit code and what it said last."""
    guest.options.append("--json")
    try:
        code = guest.launch().ended()
        text = guest.log_text()
        assert '"message":"ready"' not in text
        assert not guest.agent.exists()
        assert not guest.hub.exists()
        document = json.loads(text[text.index('{\n  "error"') :])
        return code, document["error"]["code"]
    finally:
        guest.__exit__()


def test_a_credential_that_is_not_released_stops_the_start():
    with Kbs() as kbs:
        guest = Guest(kbs.url)
        path = str(guest.credentials / "one")
        guest.members["credentials"] = [{"path": path, "resource_uri": "kbs:///default/credential/nosuch"}]
        assert failed(guest) == (2, "input.kbs_resource")


@pytest.mark.parametrize("path", ["/etc/passwd", "{}/../outside", "{}", "{}/a//b", "relative", "{}x/one"])
def test_a_credential_outside_its_folder_stops_the_start(path):
    with Kbs() as kbs:
        kbs.resources["default/credential/one"] = b"first"
        guest = Guest(kbs.url)
        where = path.format(guest.credentials)
        guest.members["credentials"] = [{"path": where, "resource_uri": "kbs:///default/credential/one"}]
        assert failed(guest) == (3, "configuration.invalid")
        assert kbs.attestations == 0


def test_a_folder_that_is_a_link(tmp_path):
    from common.errors import InvalidSetting

    folder = tmp_path / "kbs"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidSetting):
        target(str(folder / "link" / "deep" / "one"), folder)
    assert list((tmp_path / "outside").iterdir()) == []


def test_credentials_without_a_kbs():
    guest = Guest()
    path = str(guest.credentials / "one")
    guest.members["credentials"] = [{"path": path, "resource_uri": "kbs:///default/credential/one"}]
    assert failed(guest) == (3, "configuration.absent")


def test_an_address_that_is_taken():
    with Guest() as first:
        second = Guest()
        second.members["rest"]["listen"] = first.members["rest"]["listen"]
        assert failed(second) == (4, "unavailable.address")
        third = Guest()
        third.members["grpc"]["confidential_data_hub"] = f"unix://{first.hub}"
        assert failed(third) == (4, "unavailable.address")
        assert first.hub.exists()
        assert first.get("/info").status == 200


def test_a_dead_socket_is_replaced_and_a_file_is_not():
    guest = Guest()
    guest.agent.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(guest.agent))
    with guest:
        assert guest.stop() == 0
    other = Guest()
    other.hub.with_name("other").write_bytes(b"precious")
    other.members["grpc"]["confidential_data_hub"] = f"unix://{other.hub.with_name('other')}"
    assert failed(other) == (4, "unavailable.address")


def test_development_settings_need_the_switch():
    guest = Guest()
    guest.options.clear()
    assert failed(guest) == (3, "configuration.development_only")


def test_no_tee():
    guest = Guest()
    guest.options.clear()
    del guest.members["allow_sample"]
    assert failed(guest)[0] == 4


def test_init_data_that_the_platform_does_not_confirm():
    guest = Guest()
    text = guest.folder / "initdata.toml"
    text.write_text('version = "0.1.0"\nalgorithm = "sha384"\n[data]\n')
    guest.members["init_data"] = {"file": str(text)}
    code, error = failed(guest)
    assert code in {1, 2}
    assert error in {"input.init_data", InitDataDiffers.code}
    other = Guest()
    other.options += ["--initdata-digest", "not base64"]
    assert failed(other) == (2, "input.malformed")


def test_skipping_verification_is_warned_about():
    with Guest(sealed_secrets={"skip_verification": True}, **NO_GRPC) as guest:
        assert "development only" in guest.log_text()


def test_without_grpc_rest_is_served(tmp_path):
    # A grpc that is not there: a module of that name which raises as the import of a missing one does.
    (tmp_path / "grpc.py").write_text("raise ModuleNotFoundError('No module named grpc', name='grpc')\n")
    guest = Guest()
    guest.environ["PYTHONPATH"] = f"{tmp_path}:{Path(__file__).resolve().parents[3]}"
    with guest:
        assert guest.get("/info").status == 200
        assert "gRPC is not served" in guest.log_text()


def test_only_its_own_module_needs_grpc():
    code = (
        "import sys; import guest_agent.cli, guest_agent.daemon.process;"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in {'grpc', 'google', 'Crypto'}))"
    )
    root = Path(__file__).resolve().parents[3]
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
