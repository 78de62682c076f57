"""Reference manifests: signature, path, version, every index, and XML's own attacks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TouchstoneError
from testkit.nvidia_authority import START, NvidiaAuthority
from testkit.nvidia_device import ON, TestDevice
from tests.verifier.nvidia.conftest import PARTIAL, failed, verify
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateRevoked,
    CrlMissing,
    RimInvalid,
    RootUntrusted,
)
from verifier.model import VerifiedEvidence
from verifier.nvidia import NvidiaSettings
from verifier.nvidia.collateral import FixedCollateral
from verifier.nvidia.opaque import Field
from verifier.nvidia.rim import rim_root, verify_rim

DRIVER = "NV_GPU_DRIVER_GH100_550.90.07"
VBIOS = "NV_GPU_VBIOS_1010_0200_882_96009F0001"
VALUE = bytes([7] * 48)


def judge(
    device: TestDevice, settings: NvidiaSettings = PARTIAL, **manifests: bytes | None
) -> VerifiedEvidence:
    """With its manifests, some of them replaced or taken away."""
    rims = device.manifests() | {
        {"driver": DRIVER, "vbios": VBIOS}[part]: one for part, one in manifests.items()
    }
    held = {identifier: data for identifier, data in rims.items() if data is not None}
    return verify(device, collateral=FixedCollateral(ocsp=device.status(), rims=held), settings=settings)


def test_measurements_that_are_nvidias_affirm_boot_and_debug(gpu: TestDevice) -> None:
    claims = judge(gpu).claims["nvidia"]
    assert (claims["measres"], claims["secboot"], claims["dbgstat"]) == ("success", True, "disabled")
    assert claims["uncovered"] == []
    assert claims["x-nvidia-mismatch-measurement-records"] == []
    for part in ("driver", "vbios"):
        assert claims[f"x-nvidia-gpu-{part}-rim-signature-verified"] is True


def test_debug_firmware_is_contraindicated_whatever_a_policy_says(gpu: TestDevice) -> None:
    """Abuse case 12 for GPUs: what NVIDIA did not publish, debug firmware among it, sets a floor."""
    verified = verify(gpu, collateral=gpu.collateral(wrong=True))
    claims = verified.claims["nvidia"]
    assert failed(verified) == ["nvidia.measurements"]
    assert verified.floors == {"executables": 96, "configuration": 96}
    assert claims["measres"] == "fail"
    assert not {"secboot", "dbgstat"} & claims.keys()
    assert "debug" not in verified.claims["common"]
    records = claims["x-nvidia-mismatch-measurement-records"]
    assert [item["index"] for item in records] == [3, 4, 0, 1, 2]
    assert records[0]["runtimeValue"] == gpu.measurements[4].hex()


def test_a_claim_never_holds_a_value_that_the_device_did_not_report(gpu: TestDevice) -> None:
    """Else a reference value would be met by the manifest, not by the device."""
    device = TestDevice(gpu.authority)
    golden = dict.fromkeys(range(3, 5), (VALUE,))
    verified = judge(device, driver=device.authority.rim("550.90.07", golden))
    assert verified.claims["nvidia"]["measres"] == "fail"
    assert VALUE.hex() not in repr(verified.claims)


def test_any_alternative_may_match_and_inactive_indexes_do_not_count(gpu: TestDevice) -> None:
    golden = {3: (VALUE, gpu.measurements[4]), 4: (gpu.measurements[5],)}
    rim = gpu.authority.rim("550.90.07", golden, inactive={0: (VALUE,), 60: (VALUE,)})
    assert judge(gpu, driver=rim).claims["nvidia"]["measres"] == "success"


def test_an_active_index_that_was_not_measured_is_a_mismatch(gpu: TestDevice) -> None:
    rim = gpu.authority.rim("550.90.07", {40: (bytes(48),)})
    verified = judge(gpu, driver=rim)
    assert verified.claims["nvidia"]["x-nvidia-mismatch-measurement-records"] == [
        {"index": 40, "measurementSource": "driver", "runtimeValue": "NA", "runtimeSize": 0}
    ]


def test_an_active_value_of_zeros_counts(gpu: TestDevice) -> None:
    """Block 1 was not measured: the manifest says zeros, which a measured value is not."""
    device = TestDevice(gpu.authority, measurements=gpu.measurements | {1: VALUE})
    golden = {0: (bytes(48),), 1: (device.measurements[2],), 2: (device.measurements[3],)}
    verified = judge(device, vbios=device.authority.rim("96.00.9F.00.01", golden))
    assert verified.claims["nvidia"]["measres"] == "fail"


@pytest.mark.parametrize("part", ["driver", "vbios"])
def test_half_of_the_manifests_prove_nothing(gpu: TestDevice, part: str) -> None:
    verified = judge(gpu, **{part: None})
    assert not {"measres", "secboot", "dbgstat"} & verified.claims["nvidia"].keys()
    assert failed(verified) == []
    required = judge(gpu, NvidiaSettings(revocation="if-present", manifests="require"), **{part: None})
    assert failed(required) == [f"nvidia.rim.{part}"]
    assert required.floors == {"executables": 96}


def test_a_version_that_is_not_stated_has_no_manifest(authority: NvidiaAuthority) -> None:
    device = TestDevice(authority)
    manifests = device.manifests()
    del device.fields[Field.DRIVER_VERSION]
    verified = verify(
        device, collateral=FixedCollateral(ocsp=device.status(), rims=manifests), settings=PARTIAL
    )
    assert "measres" not in verified.claims["nvidia"]


def test_index_35_is_left_out_where_nvdec0_is_off_and_there_alone(authority: NvidiaAuthority) -> None:
    for status, result in ((b"\x55", "success"), (ON, "fail"), (None, "fail")):
        device = TestDevice(authority, opaque={Field.NVDEC0_STATUS: status})
        golden = {3: (device.measurements[4],), 35: (VALUE,)}
        verified = judge(device, driver=authority.rim("550.90.07", golden))
        assert verified.claims["nvidia"]["measres"] == result
    with pytest.raises(Malformed):
        judge(TestDevice(authority, opaque={Field.NVDEC0_STATUS: b"\0"}))


def test_mandatory_measurements_must_be_covered(gpu: TestDevice) -> None:
    wanted = NvidiaSettings(revocation="if-present", mandatory_measurements=frozenset({1, 5}))
    assert failed(judge(gpu, wanted)) == []
    wanted = NvidiaSettings(revocation="if-present", mandatory_measurements=frozenset({1, 9}))
    verified = judge(gpu, wanted)
    assert failed(verified) == ["nvidia.measurements.mandatory"]
    assert verified.floors == {"executables": 96}


def test_a_manifest_of_another_version_is_refused(gpu: TestDevice) -> None:
    with pytest.raises(RimInvalid):
        judge(gpu, driver=gpu.authority.rim("550.90.08", {3: (VALUE,)}))
    with pytest.raises(RimInvalid):
        judge(gpu, driver=gpu.manifests()[VBIOS])


def test_two_manifests_with_one_active_index_are_refused(gpu: TestDevice) -> None:
    with pytest.raises(RimInvalid):
        judge(gpu, driver=gpu.authority.rim("550.90.07", {0: (bytes(48),)}))


def test_an_altered_manifest_is_refused(gpu: TestDevice) -> None:
    rim = gpu.manifests()[DRIVER]
    digest = gpu.measurements[4].hex().encode()
    for altered in (rim.replace(digest, VALUE.hex().encode()), rim.replace(b'"True"', b'"False"', 1)):
        assert altered != rim
        with pytest.raises(RimInvalid):
            judge(gpu, driver=altered)


def test_an_unsigned_manifest_is_refused(gpu: TestDevice) -> None:
    rim = gpu.manifests()[DRIVER]
    start, end = rim.index(b"<ds:Signature"), rim.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    with pytest.raises(RimInvalid):
        judge(gpu, driver=rim[:start] + rim[end:])
    with pytest.raises(Malformed):
        judge(gpu, driver=rim[:end] + rim[start:])


def test_a_signer_of_another_root_is_refused(gpu: TestDevice, stranger: NvidiaAuthority) -> None:
    golden = {3: (gpu.measurements[4],)}
    with pytest.raises(RootUntrusted):
        judge(gpu, driver=stranger.rim("550.90.07", golden))
    with pytest.raises(CertificateInvalid):
        judge(
            gpu,
            driver=stranger.rim(
                "550.90.07", golden, chain=(stranger.rim_signer, gpu.authority.rim_ca.certificate)
            ),
        )
    with pytest.raises(RimInvalid):
        judge(gpu, driver=stranger.rim("550.90.07", golden, chain=(
            gpu.authority.rim_signer, gpu.authority.rim_ca.certificate
        )))  # fmt: skip


def test_a_device_signs_no_manifests(gpu: TestDevice) -> None:
    """The chains of devices and of manifests have roots of their own."""
    with pytest.raises(RootUntrusted):
        verify_rim(gpu.manifests()[DRIVER], (gpu.authority.root.certificate,))


def test_a_manifest_whose_signer_has_expired_is_refused(gpu: TestDevice) -> None:
    collateral = FixedCollateral(rims=gpu.manifests())
    with pytest.raises(CertificateExpired):
        verify(gpu, collateral=collateral, settings=PARTIAL, now=START + timedelta(days=731))


def test_the_signers_status_is_demanded_like_the_devices(gpu: TestDevice) -> None:
    with pytest.raises(CrlMissing):
        judge(gpu, NvidiaSettings())
    crl = gpu.authority.rim_ca.crl([gpu.authority.rim_signer])
    collateral = FixedCollateral(ocsp=gpu.status(), crls=(crl,), rims=gpu.manifests())
    with pytest.raises(CertificateRevoked):
        verify(gpu, collateral=collateral, settings=PARTIAL)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(('corpus="false"', 'corpus="true"'), id="corpus"),
        pytest.param(('supplemental="false"', 'supplemental="TRUE"'), id="supplemental"),
        pytest.param(('PayloadType="direct"', 'PayloadType="indirect"'), id="values elsewhere"),
        pytest.param(('colloquialVersion="550.90.07"', ""), id="no version"),
        pytest.param(("</Payload>", "</Payload><Payload/>"), id="two payloads"),
        pytest.param(("<Payload>", "<Evidence/><Payload>"), id="evidence"),
        pytest.param(("<Payload>", '<Payload><File name="x"/>'), id="a file"),
        pytest.param(('type="Measurement"', 'type="OpaqueData"'), id="another resource"),
        pytest.param(('index="4"', 'index="3"'), id="an index twice"),
        pytest.param(('index="4"', 'index="-4"'), id="a negative index"),
        pytest.param(('index="4"', 'index="04"'), id="an index with a zero before it"),
        pytest.param(('index="4"', 'index="255"'), id="an index that no block has"),
        pytest.param(('active="True"', 'active="true"'), id="neither active nor not"),
        pytest.param(('alternatives="2"', 'alternatives="1"'), id="fewer alternatives than there are"),
        pytest.param(('alternatives="2"', 'alternatives="3"'), id="more alternatives than there are"),
        pytest.param(('alternatives="2"', 'alternatives="0"'), id="no alternatives"),
        pytest.param(("n:Hash1", "n:Hash2"), id="alternatives with a gap"),
        pytest.param(("xmlenc#sha384", "xmlenc#sha256"), id="another algorithm"),
        pytest.param(('n:Hash1="00', 'n:Hash1="0'), id="a digest of another length"),
        pytest.param(('n:Hash1="00', 'n:Hash1="zz'), id="a digest that is no hexadecimal"),
        pytest.param(("SoftwareIdentity", "Software"), id="no tag"),
    ],
)
def test_a_signed_manifest_of_another_form_is_refused(gpu: TestDevice, edit: tuple[str, str]) -> None:
    golden = {3: (gpu.measurements[4], bytes(48)), 4: (gpu.measurements[5], bytes(48))}
    rim = gpu.authority.rim("550.90.07", golden, edit=edit)
    with pytest.raises(Malformed):
        judge(gpu, driver=rim)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"<a/>",
        b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
        b"<a>" * 100 + b"</a>" * 100,
        b"\xff\xfe",
    ],
)
def test_what_is_no_manifest_is_refused(gpu: TestDevice, text: bytes) -> None:
    with pytest.raises(TouchstoneError):
        judge(gpu, driver=text)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_changed_manifest_is_refused_with_an_error_of_ours(gpu: TestDevice, data: st.DataObject) -> None:
    rim = bytearray(_MANIFESTS.setdefault("rim", gpu.manifests()[DRIVER]))
    start = data.draw(st.integers(0, 1 << 16)) % len(rim)
    rim[start : start + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        verify_rim(bytes(rim), (gpu.authority.rim_root.certificate,))
    except TouchstoneError:
        return
    # White space between attributes and the like is not signed, and means nothing.
    assert verify_rim(bytes(rim), (gpu.authority.rim_root.certificate,)).golden.keys() == {3, 4}


_MANIFESTS: dict[str, bytes] = {}


def test_real_manifests_are_read(vectors: Path) -> None:
    folder = vectors / "evidence" / "nvidia-rim"
    rim = verify_rim((folder / "rim-driver-gh100-550.144.03" / "rim.xml").read_bytes(), (rim_root(),))
    assert (rim.version, rim.manufacturer, len(rim.golden)) == ("550.144.03", "5703", 21)
    with pytest.raises(RimInvalid):
        verify_rim((folder / "rim-driver-gh100-badsig" / "rim.xml").read_bytes(), (rim_root(),))


def test_the_ids_are_those_of_nvidias_service(authority: NvidiaAuthority) -> None:
    asked: list[str] = []

    class Asked(FixedCollateral):
        def rim(self, name: str) -> bytes | None:
            asked.append(name)
            return None

    for chip in ("GH100", "GB100", "LS_10"):
        device = TestDevice(authority, chip)
        verify(device, collateral=Asked(ocsp=device.status()))
    assert asked == [
        DRIVER,
        VBIOS,
        "NV_GPU_CC_DRIVER_GB100_590.48.01",
        VBIOS,
        "NV_SWITCH_BIOS_5612_0002_890_9610550001",
    ]
