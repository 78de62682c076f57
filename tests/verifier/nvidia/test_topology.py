"""Several devices: numbering, no device twice, and the topology of protected PCIe."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from testkit.nvidia_authority import NvidiaAuthority
from testkit.nvidia_device import ON, TestDevice, system
from tests.verifier.nvidia.conftest import BOUND, NONCE, NOW, PARTIAL, failed, verifier_of
from verifier.composite import DeviceResult, DeviceVerifier
from verifier.errors import PolicyViolation, ReportDataMismatch, UnsupportedEvidence
from verifier.model import Expectation, Unbound
from verifier.nvidia import NvidiaSettings
from verifier.nvidia.collateral import FixedCollateral
from verifier.nvidia.evidence import NvidiaEvidence
from verifier.nvidia.opaque import Field

LOOSE = NvidiaSettings(revocation="if-present", permit_partial_topology=True)


def judge(
    devices: Sequence[TestDevice], *, settings: NvidiaSettings = PARTIAL, expected: Expectation = BOUND
) -> tuple[DeviceResult, ...]:
    verifier = verifier_of(devices[0].authority, FixedCollateral(), settings)
    entries = tuple(device.document(device.exchange(NONCE)) for device in devices)
    return verifier.verify_devices(NvidiaEvidence(devices=entries), expected, None, NOW)


@pytest.fixture
def whole(authority: NvidiaAuthority) -> list[TestDevice]:
    return system(authority)


def test_a_whole_system_has_a_result_per_device_and_one_for_itself(whole: list[TestDevice]) -> None:
    results = judge(whole)
    assert [result.device_class for result in results] == ["gpu"] * 8 + ["switch"] * 4 + ["ppcie"]
    assert [failed(result.evidence) for result in results] == [[]] * 13
    ppcie = results[-1].evidence
    assert ppcie.floors == {}
    assert ppcie.claims["nvidia"]["topology"]["complete"] is True
    assert ppcie.claims["nvidia"]["topology"]["gpus"] == 8
    assert ppcie.identity is None
    assert len({result.evidence.evidence_digest for result in results}) == 13


def test_the_order_is_the_documents(whole: list[TestDevice]) -> None:
    results = judge(whole[::-1])
    identities = [result.evidence.identity for result in results[:-1]]
    assert identities == [f"nvidia-{kind}:{device.serial:x}" for device, kind in zip(
        whole[::-1], ["switch"] * 4 + ["gpu"] * 8, strict=True
    )]  # fmt: skip


def _other_switch(devices: list[TestDevice]) -> None:
    devices[0].fields[Field.SWITCH_PDI] = devices[0].fields[Field.SWITCH_PDI][:24] + bytes([9] * 8)


def _fifth_switch(devices: list[TestDevice]) -> None:
    devices[3].fields[Field.SWITCH_PDI] += bytes([9] * 8)


def _third_link_off(devices: list[TestDevice]) -> None:
    links = devices[7].fields[Field.SWITCH_PDI]
    devices[7].fields[Field.SWITCH_PDI] = links[:16] + bytes(8) + links[24:]


def _nothing_named(devices: list[TestDevice]) -> None:
    del devices[5].fields[Field.SWITCH_PDI]


def _switch_of_another_name(devices: list[TestDevice]) -> None:
    devices[9].fields[Field.SWITCH_PDI] = bytes([9] * 8)


def _two_switches_of_one_name(devices: list[TestDevice]) -> None:
    devices[9].fields[Field.SWITCH_PDI] = devices[8].fields[Field.SWITCH_PDI]


def _switch_without_a_name(devices: list[TestDevice]) -> None:
    del devices[9].fields[Field.SWITCH_PDI]


def _seven_gpus(devices: list[TestDevice]) -> None:
    gpus = devices[8].fields[Field.SWITCH_GPU_PDIS]
    devices[8].fields[Field.SWITCH_GPU_PDIS] = gpus[:56] + gpus[:8] + gpus[64:]


def _another_gpu(devices: list[TestDevice]) -> None:
    gpus = devices[11].fields[Field.SWITCH_GPU_PDIS]
    devices[11].fields[Field.SWITCH_GPU_PDIS] = gpus[:56] + bytes([9] * 8) + gpus[64:]


def _no_gpus(devices: list[TestDevice]) -> None:
    del devices[10].fields[Field.SWITCH_GPU_PDIS]


@pytest.mark.parametrize(
    "spoil",
    [
        _other_switch, _fifth_switch, _third_link_off, _nothing_named, _switch_of_another_name,
        _two_switches_of_one_name, _switch_without_a_name, _seven_gpus, _another_gpu, _no_gpus,
    ],
)  # fmt: skip
def test_a_link_to_anything_else_is_contraindicated(whole: list[TestDevice], spoil) -> None:  # type: ignore[no-untyped-def]
    spoil(whole)
    results = judge(whole)
    ppcie = results[-1].evidence
    assert results[-1].device_class == "ppcie"
    assert failed(ppcie) == ["nvidia.topology"]
    assert ppcie.floors["configuration"] == 96
    assert ppcie.claims["nvidia"]["topology"]["complete"] is False
    for result in results[:8]:  # and every GPU of it
        assert failed(result.evidence) == ["nvidia.mode.topology"]
        assert result.evidence.floors["configuration"] == 96


@pytest.mark.parametrize("count", [1, 7, 11])
def test_a_part_of_a_system_has_no_result_for_the_whole(whole: list[TestDevice], count: int) -> None:
    results = judge(whole[:count])
    assert "ppcie" not in {result.device_class for result in results}
    assert failed(results[0].evidence) == ["nvidia.mode.topology"]
    assert failed(judge(whole[:count], settings=LOOSE)[0].evidence) == []


def test_gpus_of_other_modes_need_no_switches(authority: NvidiaAuthority) -> None:
    pair = [TestDevice(authority), TestDevice(authority, "GB100", opaque={Field.FEATURE_FLAG: b"\1\0"})]
    results = judge(pair)
    assert [result.device_class for result in results] == ["gpu", "gpu"]
    assert [failed(result.evidence) for result in results] == [[], []]


def test_a_gpu_that_says_ppcie_by_its_flag_is_one_too(authority: NvidiaAuthority) -> None:
    for fields in ({Field.FEATURE_FLAG: b"\2\0"}, {Field.PROTECTED_PCIE_STATUS: ON}):
        (result,) = judge([TestDevice(authority, opaque=fields)])
        assert failed(result.evidence) == ["nvidia.mode.topology"]


def test_a_device_twice_is_refused(whole: list[TestDevice]) -> None:
    """Else one GPU would stand for eight."""
    with pytest.raises(PolicyViolation):
        judge([*whole[:7], whole[0], *whole[8:]])
    renewed = TestDevice(whole[0].authority)
    renewed.brom, renewed.key, renewed.leaf = whole[0].brom, whole[0].key, whole[0].leaf
    with pytest.raises(PolicyViolation):
        judge([whole[0], renewed])


def test_one_device_with_another_nonce_ends_it(whole: list[TestDevice]) -> None:
    verifier = verifier_of(whole[0].authority, FixedCollateral(), PARTIAL)
    entries = [device.document(device.exchange(NONCE)) for device in whole]
    entries[6] = whole[6].document(whole[6].exchange(bytes(32)))
    with pytest.raises(ReportDataMismatch):
        verifier.verify_devices(NvidiaEvidence(devices=tuple(entries)), BOUND, None, NOW)


def test_unbound_devices_make_an_unbound_system(whole: list[TestDevice]) -> None:
    for result in judge(whole, expected=Unbound()):
        assert result.evidence.bound == "unbound"
        assert result.evidence.floors["instance-identity"] == 97


def test_several_devices_have_no_one_result(whole: list[TestDevice]) -> None:
    verifier = verifier_of(whole[0].authority, FixedCollateral(), PARTIAL)
    assert isinstance(verifier, DeviceVerifier)
    document = NvidiaEvidence(devices=tuple(one.document(one.exchange(NONCE)) for one in whole[:2]))
    with pytest.raises(UnsupportedEvidence):
        verifier.verify(document, BOUND, None, NOW)
    single = msgspec.structs.replace(document, devices=document.devices[:1])
    assert verifier.verify(single, BOUND, None, NOW).tee == "nvidia"
