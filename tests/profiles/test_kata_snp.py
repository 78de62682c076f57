"""Profile ``kata-snp``: from the build of a Kata guest to a result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from testkit.snp_firmware import SnpFirmware
from tests.profiles.world import (
    ProfileServer,
    Release,
    commits,
    failed,
    not_affirmed,
    request_of,
    serve,
    values_of,
    vector,
)
from tests.provenance.derivation import material
from tests.service.harness import NOW
from verifier.snp.products import Tcb
from wire.evidence import SnpEvidence

V1, V2 = Release("kata-snp", "kata-v1.0.0", "v1.0.0"), Release("kata-snp", "kata-v2.0.0", "v2.0.0")
DEBUG, MIGRATE = 1 << 19, 1 << 18
POLICY = 0x30000  # as Kata's default


def _artefacts(version: int) -> dict[str, bytes]:
    policy = (
        f'version = "0.1.0"\nalgorithm = "sha256"\n\n[data]\n"policy.rego" = "package agent # {version}"\n'
    )
    return {
        "firmware": material.image(),
        "kernel": material.KERNEL + bytes([version]),
        "cmdline": b"console=hvc0 root=/dev/dm-0 systemd.unit=kata-containers.target",
        "init-data": policy.encode(),
    }


def _publish(server: ProfileServer, release: Release, version: int) -> dict[str, list[str]]:
    steps = [
        (request_of("kata-snp", "derive-launch.json", release.group), ("firmware", "kernel", "cmdline")),
        (request_of("kata-snp", "derive-init-data.json", release.group), ("init-data",)),
    ]
    server.release(release, steps, _artefacts(version))
    return values_of(server, release.group)


@pytest.fixture(scope="module")
def firmware() -> SnpFirmware:
    return SnpFirmware()


@pytest.fixture(scope="module")
def server(firmware: SnpFirmware, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("kata-snp")
    anchor = folder / "ark.pem"
    anchor.write_bytes(firmware.ark.public_bytes(Encoding.PEM))
    lists = folder / "collateral" / "crl"
    lists.mkdir(parents=True)
    name = firmware.ark.fingerprint(hashes.SHA256()).hex()
    (lists / f"{name}.crl").write_bytes(firmware.crl(this_update=NOW - timedelta(hours=1)))
    section = {
        "extra_anchors": [str(anchor)],
        "collateral_dir": str(folder / "collateral"),
    }
    made = serve("kata-snp", folder, snp=section)
    yield made
    made.services.close()


@pytest.fixture(scope="module")
def values(server: ProfileServer) -> dict[str, list[str]]:
    return _publish(server, V1, 1)


@pytest.fixture(scope="module")
def others(server: ProfileServer) -> dict[str, list[str]]:
    return _publish(server, V2, 2)


Report = Callable[..., Callable[[bytes], SnpEvidence]]


@pytest.fixture(scope="module")
def report(firmware: SnpFirmware, values: dict[str, list[str]]) -> Report:
    """Evidence of the release, with changes to the report."""

    def make(**fields: Any) -> Callable[[bytes], SnpEvidence]:
        members: dict[str, Any] = {
            "measurement": bytes.fromhex(values["snp_launch_measurement"][0]),
            "host_data": bytes.fromhex(values["snp_host_data"][0]),
            "policy": POLICY,
        } | fields
        return lambda report_data: firmware.evidence(report_data, **members)

    return make


def test_a_released_guest_is_affirmed_with_its_commit(server: ProfileServer, report: Report) -> None:
    answer = server.appraise(report())
    assert answer.json["status"] == "affirming", answer.body
    assert vector(answer) == {
        "instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 2,
    }  # fmt: skip
    assert commits(answer) == {V1.revision}


def test_every_vcpu_count_of_the_launch_shape_is_affirmed(
    server: ProfileServer, report: Report, values: dict[str, list[str]]
) -> None:
    assert len(set(values["snp_launch_measurement"])) == 4
    for measurement in values["snp_launch_measurement"]:
        answer = server.appraise(report(measurement=bytes.fromhex(measurement)))
        assert answer.json["status"] == "affirming"


def test_another_measurement_is_no_approved_software(server: ProfileServer, report: Report) -> None:
    answer = server.appraise(report(measurement=b"\x42" * 48))
    assert not_affirmed(answer) == {"executables", "configuration"}


@pytest.mark.parametrize("host_data", [bytes(32), b"\x42" * 32], ids=["missing", "other"])
def test_missing_or_other_init_data_is_no_approved_configuration(
    server: ProfileServer, report: Report, host_data: bytes
) -> None:
    assert not_affirmed(server.appraise(report(host_data=host_data))) == {"configuration"}


def test_init_data_of_another_release_is_no_approved_configuration(
    server: ProfileServer, report: Report, others: dict[str, list[str]]
) -> None:
    host_data = bytes.fromhex(others["snp_host_data"][0])
    answer = server.appraise(report(host_data=host_data))
    assert not_affirmed(answer) == {"configuration"}
    assert "reference.group" in failed(answer)
    both = report(host_data=host_data, measurement=bytes.fromhex(others["snp_launch_measurement"][0]))
    assert server.appraise(both).json["status"] == "affirming"


@pytest.mark.parametrize("bit", [DEBUG, MIGRATE])
def test_a_guest_that_is_open_to_its_host(server: ProfileServer, report: Report, bit: int) -> None:
    lost = not_affirmed(server.appraise(report(policy=POLICY | bit)))
    assert {"configuration", "runtime-opaque"} <= lost
    assert "executables" not in lost


def test_a_guest_above_a_service_module(server: ProfileServer, report: Report) -> None:
    lost = not_affirmed(server.appraise(report(vmpl=1)))
    assert {"configuration", "runtime-opaque"} <= lost


def test_a_tcb_below_the_floor_is_no_acceptable_hardware(
    server: ProfileServer, firmware: SnpFirmware, report: Report
) -> None:
    parts = firmware.tcb.as_dict()
    old = Tcb(**(parts | {"snp": parts["snp"] - 1}))
    answer = server.appraise(report(tcb=old))
    assert "hardware" in not_affirmed(answer)
    assert any("tcb" in name for name in failed(answer))


@pytest.mark.parametrize(
    "release",
    [
        Release("kata-snp", "x", "v9.0.0", repository="https://github.com/stranger/kata-guest"),
        Release("kata-snp", "x", "nightly"),
    ],
)
def test_what_the_trust_policy_does_not_admit_gives_no_value(
    server: ProfileServer, release: Release
) -> None:
    artefacts = _artefacts(3)
    answer = server.publish(
        release.provenance(artefacts),
        request_of("kata-snp", "derive-init-data.json", "x"),
        {"init-data": artefacts["init-data"]},
    )
    assert answer.status == 422
    assert answer.code in {"statement.untrusted_signer", "statement.untrusted_source"}


def test_a_retracted_release_is_no_longer_affirmed(server: ProfileServer, report: Report) -> None:
    artefacts = _artefacts(7)
    release = Release("kata-snp", "kata-v7.0.0", "v7.0.0")
    values = _publish(server, release, 7)
    members = report(
        measurement=bytes.fromhex(values["snp_launch_measurement"][0]),
        host_data=bytes.fromhex(values["snp_host_data"][0]),
    )
    answer = server.appraise(members)
    assert answer.json["status"] == "affirming", artefacts.keys()
    relied = answer.json["explanation"]["reference_values"]["relied_on"]
    for attestation in {item["lineage"]["attestation"] for item in relied}:
        server.client.post(f"/v1/attestations/{attestation}/retract", {"reason": "withdrawn"})
    assert not_affirmed(server.appraise(members)) == {"executables", "configuration"}
