"""Events that are measured and init-data that is confirmed; registers in memory, all else real."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest

from common import aael, init_data
from common.errors import Malformed
from guest_agent.daemon.routes import Routes
from guest_agent.daemon.services import GuestServices, require_init_data
from guest_agent.errors import InitDataDiffers, RuntimeRegisterInvalid
from guest_agent.measurements import RuntimeMeasurements

TOML = b'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n"aa.toml" = ""\n'


class Registers:
    """Registers as a TPM has them."""

    algorithm = "sha256"

    def __init__(self):
        self.lock = threading.RLock()
        self.values: dict[int, bytes] = {}

    def register_of(self, pcr):
        if not 8 <= pcr <= 23:
            raise RuntimeRegisterInvalid("no such register")
        return pcr

    def read(self, register):
        return self.values.get(register, bytes(32))

    def extend(self, register, digest):
        self.values[register] = hashlib.sha256(self.read(register) + digest).digest()


class Platform:
    """A TEE with a field for init-data, or with registers."""

    def __init__(self, tee, field=None, registers=None):
        self.tee = tee
        self.registers = registers
        self._field = field

    def evidence(self, report_data):
        return {"report_data": report_data.hex()}

    def init_data_digest(self):
        return self._field


def services(platform, tmp_path, *, enabled=True):
    measurements = RuntimeMeasurements(platform, enabled=enabled, log=tmp_path / "log" / "eventlog")
    return GuestServices(
        platform, devices={}, measurements=measurements, secrets=None, tokens={}, key_dir=tmp_path
    )


def post(made, **event):
    body = json.dumps({"domain": "example.com", "operation": "load", "content": "x"} | event).encode()
    return Routes(made, "all").answer("POST", "/aa/aael", "", body).body


def test_an_event_is_measured_and_logged(tmp_path):
    registers = Registers()
    made = services(Platform("tpm", registers=registers), tmp_path)
    assert post(made) == b'{"success":"true"}'
    digest = aael.digest(aael.LogicalEvent("example.com", "load", "x"), "sha256")
    assert registers.values == {17: hashlib.sha256(bytes(32) + digest).digest()}
    assert (tmp_path / "log" / "eventlog").stat().st_size > 0


def test_events_that_cannot_be_read_one_way(tmp_path):
    registers = Registers()
    made = services(Platform("tpm", registers=registers), tmp_path)
    for event in ({"domain": "two words"}, {"operation": "a b"}, {"content": "a\nb"}):
        with pytest.raises(Malformed):
            post(made, **event)
    with pytest.raises(RuntimeRegisterInvalid):
        made.extend("example.com", "load", "x", 3)
    assert registers.values == {}


def test_without_registers_or_without_being_asked_to(tmp_path):
    answer = json.loads(post(services(Platform("snp"), tmp_path)))
    assert answer == {
        "success": "false",
        "message": "The platform does not support runtime measurement",
    }
    answer = json.loads(post(services(Platform("tpm", registers=Registers()), tmp_path, enabled=False)))
    assert answer["success"] == "false"


def test_init_data_of_this_launch():
    parsed = init_data.parse(TOML)
    platform = Platform("snp", field=parsed.digest[:32])
    require_init_data(platform, parsed)
    require_init_data(platform, parsed.digest)
    with pytest.raises(InitDataDiffers):
        require_init_data(platform, init_data.parse(TOML + b"\n"))
    with pytest.raises(InitDataDiffers):
        require_init_data(Platform("snp", field=bytes(32)), parsed)
    with pytest.raises(InitDataDiffers):
        require_init_data(Platform("sample"), parsed)
    with pytest.raises(Malformed):
        require_init_data(platform, parsed.digest[:31])


def test_init_data_of_a_tpm_is_extended_once():
    registers = Registers()
    platform = Platform("tpm", registers=registers)
    digest = hashlib.sha256(TOML).digest()
    require_init_data(platform, digest)
    value = registers.read(8)
    require_init_data(platform, digest)
    assert registers.read(8) == value == hashlib.sha256(bytes(32) + digest).digest()
    with pytest.raises(InitDataDiffers):
        require_init_data(platform, hashlib.sha256(b"other").digest())
