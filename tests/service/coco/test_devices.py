"""GPUs beside a machine through the KBS: the handshake's additional evidence, names, and one verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from common import runtime_data
from testkit.nvidia_authority import NvidiaAuthority
from testkit.nvidia_device import TestDevice, system
from tests.service.coco.conftest import DEVELOPMENT, Kbs, make
from tests.service.coco.kbs import SVN, Answer, Guest, claims_of


@pytest.fixture(scope="module")
def authority() -> NvidiaAuthority:
    return NvidiaAuthority()


@pytest.fixture
def kbs(tmp_path: Path, authority: NvidiaAuthority) -> Iterator[Kbs]:
    anchor = tmp_path / "anchor.pem"
    anchor.write_bytes(authority.root.certificate.public_bytes(Encoding.PEM))
    nvidia = {"revocation": "if-present", "extra_anchors": [str(anchor)]}
    made = make(tmp_path, DEVELOPMENT | {"nvidia": nvidia})
    assert made.admin.reference_values(SVN).status == 200
    yield made
    made.services.close()


def _declared(device: TestDevice) -> dict[str, Any]:
    return {
        "nvidia_gpu_fwid": [device.fwid.hex()],
        "nvidia_gpu_measurements": [value.hex() for value in device.measurements.values() if any(value)],
        "allowed_vbios_versions": ["96.00.9F.00.01"],
        "allowed_driver_versions": ["550.90.07"],
    }


def _attest(
    kbs: Kbs, devices: list[TestDevice], *, nonce: bytes | None = None, **options: Any
) -> tuple[Guest, Answer]:
    guest = kbs.guest()
    assert guest.auth().status == 200
    wanted = nonce or runtime_data.digest({"nonce": guest.nonce, "tee-pubkey": guest.jwk})[:32]
    entries = [device.coco(wanted) for device in devices]
    additional = json.dumps({"nvidia": {"device_evidence_list": entries}})
    document = guest.attestation(additional=options.pop("bound", additional), **options)
    document["tee-evidence"]["additional_evidence"] = additional
    return guest, guest.call("POST", "attest", document)


def test_every_device_has_a_submodule_in_the_order_of_the_list(
    kbs: Kbs, authority: NvidiaAuthority
) -> None:
    devices = [TestDevice(authority), TestDevice(authority, "LS_10"), TestDevice(authority, "GB100")]
    assert kbs.admin.reference_values(SVN | _declared(devices[0])).status == 200
    _, answer = _attest(kbs, devices)
    assert answer.status == 200, answer.body
    submods = claims_of(answer.json["token"])["submods"]
    assert set(submods) == {"cpu0", "gpu0", "gpu1", "switch0"}
    nvidia = [
        submods[name]["ear.veraison.annotated-evidence"]["nvidia"] for name in ("gpu0", "gpu1", "switch0")
    ]
    assert [one["chip"] for one in nvidia] == ["GH100", "GB100", "LS10"]
    assert submods["cpu0"]["ear.status"] == "affirming"
    assert submods["gpu0"]["ear.status"] == "affirming"
    assert submods["switch0"]["ear.status"] == "contraindicated"  # neither manifests nor declared values
    assert submods["gpu0"]["ear.veraison.annotated-evidence"]["runtime_data_claims"]["nonce"]


def test_a_whole_system_has_ppcie0(kbs: Kbs, authority: NvidiaAuthority) -> None:
    _, answer = _attest(kbs, system(authority))
    assert answer.status == 200, answer.body
    submods = claims_of(answer.json["token"])["submods"]
    assert len(submods) == 14
    assert submods["ppcie0"]["ear.status"] == "affirming"


def test_devices_of_another_session_end_the_attestation(kbs: Kbs, authority: NvidiaAuthority) -> None:
    _, answer = _attest(kbs, [TestDevice(authority)], nonce=bytes(32))
    assert answer.status == 401


def test_devices_that_the_machine_did_not_put_into_its_report_end_it(
    kbs: Kbs, authority: NvidiaAuthority
) -> None:
    for bound in ("", "{}"):
        _, answer = _attest(kbs, [TestDevice(authority)], bound=bound)
        assert answer.status == 401


def test_a_device_of_a_machine_that_is_not_affirming_is_not_recognised(
    kbs: Kbs, authority: NvidiaAuthority
) -> None:
    device = TestDevice(authority)
    assert kbs.admin.reference_values({"svn": ["2"]} | _declared(device)).status == 200
    _, answer = _attest(kbs, [device])
    assert answer.status == 200, answer.body
    submods = claims_of(answer.json["token"])["submods"]
    assert submods["cpu0"]["ear.status"] != "affirming"
    assert submods["gpu0"]["ear.status"] == "contraindicated"
    assert submods["gpu0"]["ear.trustworthiness-vector"]["instance-identity"] == 97
