"""Which TEE a guest is in: one fake root per TEE, and the order where there are several."""

from __future__ import annotations

import logging

import pytest

from guest_agent.attesters.azure import SNP, TDX
from guest_agent.attesters.configfs_tsm import TsmReports
from guest_agent.coco import Probes, by_name, detect, detect_devices
from guest_agent.coco.sample import SampleAttester
from guest_agent.errors import EvidenceNotMade, TeeUnavailable
from tests.guest_agent.fake_kernel import Tsm

REPORTS = "sys/kernel/config/tsm/report"
AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"


class FakeVtpm:
    """A TPM that has an HCL report or has none; notes how it was asked for."""

    asked: list[tuple[str, str | None]] = []  # noqa: RUF012

    def __init__(self, kind):
        self._kind = kind

    def nv_read(self, index):
        assert index == "0x01400001"
        if self._kind is None:
            raise EvidenceNotMade("no such index")
        report = bytearray(2600)
        report[:4] = b"HCLA"
        report[0x4C8:0x4CC] = self._kind.to_bytes(4, "little")
        return bytes(report)


def probes(*, provider=None, kind=None, environment=None, ak_handle=None):
    def tsm(folder):
        if provider is None:
            return TsmReports(folder)
        return Tsm(folder, provider, lambda _: (b"", b""))

    def vtpm(tcti, handle):
        FakeVtpm.asked.append((tcti, handle))
        return FakeVtpm(kind)

    return Probes(tsm=tsm, vtpm=vtpm, environment=environment or {}, ak_handle=ak_handle)


@pytest.fixture(autouse=True)
def _forget():
    FakeVtpm.asked.clear()


@pytest.fixture
def root(tmp_path):
    def make(**files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return lambda *names, **files: make(**(dict.fromkeys(names, "") | files))


AZURE = {"sys/class/dmi/id/chassis_asset_tag": AZURE_TAG + "\n", "dev/tpmrm0": ""}
FAKES = {
    "tdx": ({"dev/tdx_guest": ""}, {}),
    "sgx": ({"dev/attestation/quote": ""}, {}),
    "az-tdx-vtpm": (AZURE, {"kind": TDX}),
    "az-snp-vtpm": (AZURE, {"kind": SNP}),
    "snp": ({"dev/sev-guest": ""}, {}),
    "csv": ({"dev/csv-guest": ""}, {}),
    "cca": ({}, {"provider": "arm_cca_guest"}),
    "se": ({"sys/firmware/uv/prot_virt_guest": "1\n"}, {}),
    "tpm": ({"dev/tpm1": ""}, {}),
}


@pytest.mark.parametrize("tee", FAKES)
def test_every_tee_is_found(root, tee):
    files, options = FAKES[tee]
    assert detect(root(**files), probes=probes(**options)).tee == tee


@pytest.mark.parametrize(
    ("tee", "files", "options"),
    [
        ("tdx", {"dev/tdx-guest": ""}, {}),
        ("tdx", {"dev/tdx-attest": ""}, {}),
        ("tdx", {}, {"provider": "tdx_guest"}),
        ("sgx", {"dev/sgx": ""}, {"environment": {"OCCLUM": "yes"}}),
        ("snp", {"sys/devices/platform/sev-guest": ""}, {}),
        ("snp", {}, {"provider": "sev_guest"}),
    ],
)
def test_other_signs_of_them(root, tee, files, options):
    assert detect(root(**files), probes=probes(**options)).tee == tee


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({}, {}),
        ({"dev/sgx": ""}, {}),
        ({"sys/firmware/uv/prot_virt_guest": "0"}, {}),
        ({"sys/class/dmi/id/chassis_asset_tag": AZURE_TAG}, {"kind": SNP}),
        ({"dev/attestation/attestation_type": "none"}, {}),
        ({}, {"provider": "another"}),
        ({f"{REPORTS}/x": ""}, {}),
    ],
)
def test_no_tee_is_an_error_unless_sample_is_allowed(root, files, options, caplog):
    folder = root(**files)
    with pytest.raises(TeeUnavailable):
        detect(folder, probes=probes(**options))
    with caplog.at_level(logging.WARNING):
        assert detect(folder, allow_sample=True, probes=probes(**options)).tee == "sample"
    assert "proves nothing" in caplog.text


@pytest.mark.parametrize(("kind", "tag"), [(None, AZURE_TAG), (1, AZURE_TAG), (SNP, "another")])
def test_an_azure_vm_that_is_not_confidential_has_a_tpm(root, kind, tag):
    files = AZURE | {"sys/class/dmi/id/chassis_asset_tag": tag}
    assert detect(root(**files), probes=probes(kind=kind)).tee == "tpm"


def test_the_first_of_the_order_wins(root):
    order = ["tdx", "sgx", "az-snp-vtpm", "snp", "csv", "se", "tpm"]
    for tee in reversed(order):
        files, options = FAKES[tee]
        folder = root(**files)
        kind = SNP if order.index(tee) <= order.index("az-snp-vtpm") else None
        assert detect(folder, probes=probes(**({"kind": kind} | options))).tee == tee


def test_a_sample_never_hides_a_tee(root):
    assert detect(root("dev/sev-guest"), allow_sample=True, probes=probes()).tee == "snp"


def test_a_tpm_is_reached_through_its_resource_manager(root):
    folder = root("dev/tpm0", "dev/tpmrm0")
    detect(folder, probes=probes(ak_handle="0x81010002"))
    assert FakeVtpm.asked == [(f"device:{folder / 'dev/tpmrm0'}", "0x81010002")]


def test_azures_own_key_is_used(root):
    folder = root(**AZURE)
    detect(folder, probes=probes(kind=SNP, ak_handle="0x81010002"))
    assert FakeVtpm.asked == [(f"device:{folder / 'dev/tpmrm0'}", "0x81000003")]


class TestDevices:
    def test_none_is_the_default(self, root):
        assert detect_devices(root("dev/tpm0"), probes=probes()) == {}

    def test_a_gpu_is_said_and_not_sent(self, root, caplog):
        with caplog.at_level(logging.WARNING):
            assert detect_devices(root("dev/nvidia0"), probes=probes()) == {}
        assert "not supported" in caplog.text

    def test_a_tpm_beside_another_tee(self, root, caplog):
        folder = root("dev/tpm0")
        with caplog.at_level(logging.WARNING):
            found = detect_devices(folder, primary=SampleAttester("snp"), with_tpm=True, probes=probes())
        assert [(name, attester.tee) for name, attester in found.items()] == [("tpm", "tpm")]
        assert "nothing binds it" in caplog.text

    @pytest.mark.parametrize("tee", ["tpm", "az-snp-vtpm", "az-tdx-vtpm"])
    def test_a_tpm_that_is_the_tee_is_no_device(self, root, tee):
        primary = SampleAttester(tee)
        assert detect_devices(root("dev/tpm0"), primary=primary, with_tpm=True, probes=probes()) == {}

    def test_no_tpm_no_device(self, root):
        assert detect_devices(root(), with_tpm=True, probes=probes()) == {}

    def test_a_sample_device_only_where_allowed(self, root):
        found = detect_devices(root(), allow_sample=True, probes=probes())
        assert [(name, attester.tee) for name, attester in found.items()] == [
            ("sampledevice", "sampledevice")
        ]


@pytest.mark.parametrize(
    "tee",
    [
        "tdx",
        "sgx",
        "az-tdx-vtpm",
        "az-snp-vtpm",
        "snp",
        "csv",
        "cca",
        "se",
        "tpm",
        "nvidia",
        "sample",
        "sampledevice",
    ],
)
def test_a_tee_by_name(tmp_path, tee):
    assert by_name(tee, tmp_path, probes=probes()).tee == tee


@pytest.mark.parametrize("tee", ["", "sev", "SNP", "hygondcu"])
def test_a_name_without_an_attester(tmp_path, tee):
    with pytest.raises(TeeUnavailable):
        by_name(tee, tmp_path, probes=probes())
