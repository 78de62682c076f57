"""The systemd unit of the guest's services: systemd checks it where it is there, and we read it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from guest_agent.daemon import config, config_checks

_FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "guest"
_UNIT = _FOLDER / "touchstone-guest.service"


def directives() -> dict[str, list[str]]:
    """Names to values, in their order."""
    found: dict[str, list[str]] = {}
    for line in _UNIT.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, separator, value = line.partition("=")
            assert separator, line
            found.setdefault(name, []).append(value)
    return found


def test_systemd_accepts_it(tmp_path):
    if not shutil.which("systemd-analyze"):
        return  # what follows reads it without systemd
    unit = tmp_path / _UNIT.name
    unit.write_text(_UNIT.read_text().replace("/usr/bin/touchstone-guest", "/bin/true"))
    answer = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


def test_it_is_hardened():
    found = directives()
    for name, value in {
        "Type": "notify",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "DevicePolicy": "closed",
        "MemoryDenyWriteExecute": "yes",
        "RestrictNamespaces": "yes",
        "LimitCORE": "0",
        "MemorySwapMax": "0",
        "UMask": "0077",
    }.items():
        assert found[name] == [value]
    assert set(found["CapabilityBoundingSet"][0].split()) == {"CAP_CHOWN", "CAP_DAC_OVERRIDE"}
    assert found["ExecStart"] == ["/usr/bin/touchstone-guest serve"]
    assert all(device.endswith(" rw") for device in found["DeviceAllow"])


def test_its_folders_are_those_of_the_defaults():
    folders = {f"/run/{name}" for name in directives()["RuntimeDirectory"][0].split()}
    settings = config.Settings()
    for path in (
        settings.grpc.attestation_agent.removeprefix("unix://"),
        settings.grpc.confidential_data_hub.removeprefix("unix://"),
        settings.credentials_dir,
        settings.sealed_secrets.key_dir,
    ):
        assert any(Path(path).is_relative_to(folder) for folder in folders), path


def test_the_example_configuration_is_one():
    settings = config.convert(config.load(_FOLDER / "touchstone-guest.toml"))
    config_checks.check(settings, development=False)
    assert settings.rest.features == "all"
