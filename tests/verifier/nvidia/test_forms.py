"""The document as Confidential Containers sends it, raw files, settings, and inspection."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError, Malformed, TooLarge
from service import inspection
from testkit.nvidia_authority import NvidiaAuthority
from testkit.nvidia_device import TestDevice
from tests.verifier.nvidia.conftest import BOUND, NONCE, NOW, PARTIAL, verifier_of
from verifier.errors import RootUntrusted
from verifier.nvidia.chain import Architecture
from verifier.nvidia.collateral import FixedCollateral
from verifier.nvidia.section import NvidiaSection, insecure_switches
from verifier.nvidia.tee import TEE, Surroundings
from verifier.tee import Inspection

COCO = TEE.coco
assert COCO is not None


@pytest.mark.parametrize("as_hex", [False, True])
def test_evidence_of_a_coco_guest_is_read(gpu: TestDevice, as_hex: bool) -> None:
    document = COCO.evidence_of({"device_evidence_list": [gpu.coco(NONCE, as_hex=as_hex)] * 2})
    assert document.devices[0] == document.devices[1]
    verifier = verifier_of(gpu.authority, FixedCollateral(), PARTIAL)
    single = COCO.evidence_of({"device_evidence_list": [gpu.coco(NONCE, as_hex=as_hex)]})
    verified = verifier.verify(single, BOUND, None, NOW)
    assert COCO.claims_of(verified) == verified.claims


def test_members_that_are_not_known_are_left_alone(gpu: TestDevice) -> None:
    entry = gpu.coco(NONCE) | {"version": 1}
    assert COCO.evidence_of({"device_evidence_list": [entry], "more": {}}).devices


@pytest.mark.parametrize(
    "change",
    [
        {"evidence": "*"},
        {"evidence": "11e0z"},
        {"evidence": "11e"},
        {"evidence": 1},
        {"evidence": "A" * (1 << 20)},
        {"evidence": "11e0" + "0" * (1 << 20)},
        {"certificate": "*"},
        {"certificate": base64.b64encode(b"no certificate").decode()},
        {"certificate": "A" * (1 << 20)},
        {"arch": 1},
    ],
)
def test_parts_that_are_not_as_published_are_refused(gpu: TestDevice, change: dict[str, Any]) -> None:
    with pytest.raises((Malformed, TooLarge)):
        COCO.evidence_of({"device_evidence_list": [gpu.coco(NONCE) | change]})


@pytest.mark.parametrize(
    "document", [None, [], {}, "", {"device_evidence_list": []}, {"device_evidence_list": [1]}]
)
def test_other_documents_are_refused(document: Any) -> None:
    with pytest.raises(Malformed):
        COCO.evidence_of(document)


def test_more_devices_than_a_machine_has_are_refused(gpu: TestDevice) -> None:
    with pytest.raises(TooLarge):
        COCO.evidence_of({"device_evidence_list": [gpu.coco(NONCE)] * 33})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.one_of(JSON, st.builds(lambda item: {"device_evidence_list": [item]}, st.fixed_dictionaries(
    {"evidence": st.text(max_size=20), "certificate": st.text(max_size=20)}
))))  # fmt: skip
def test_any_document_gives_evidence_or_an_error_of_ours(document: Any) -> None:
    try:
        COCO.evidence_of(document)
    except InputError:
        return


# --- offline inspection -----------------------------------------------------------------------------


def _inspection(device: TestDevice, **changes: Any) -> Inspection:
    anchors = (device.authority.root.certificate, device.authority.rim_root.certificate)
    return Inspection(**({"now": NOW, "report_data": NONCE, "anchors": anchors} | changes))


def test_a_raw_exchange_is_judged_with_the_certificates_beside_it(gpu: TestDevice) -> None:
    evidence = inspection.recognise(gpu.exchange(NONCE))
    verified = inspection.verify(evidence, _inspection(gpu, certificates=gpu.chain))
    assert verified.identity == f"nvidia-gpu:{gpu.serial:x}"
    assert inspection.unverified_contents(evidence)["devices"][0]["opaque"]["driver_version"]
    with pytest.raises(Malformed):
        inspection.verify(gpu.evidence(NONCE), _inspection(gpu, certificates=gpu.chain))


def test_manifests_and_a_response_may_be_given_as_files(gpu: TestDevice) -> None:
    driver, vbios = gpu.manifests().values()
    files = {"driver-rim": driver, "vbios-rim": vbios, "ocsp": gpu.status()[0]}
    verified = inspection.verify(gpu.evidence(NONCE), _inspection(gpu, files=files))
    assert verified.claims["nvidia"]["measres"] == "success"
    switch = TestDevice(gpu.authority, "LS_10")
    (bios,) = switch.manifests().values()
    verified = inspection.verify(switch.evidence(NONCE), _inspection(switch, files={"bios-rim": bios}))
    assert verified.claims["nvidia"]["measres"] == "success"
    with pytest.raises(Malformed):
        inspection.verify(switch.evidence(NONCE), _inspection(switch, files={"event-log": bios}))


def test_evidence_that_cannot_be_parsed_shows_nothing(gpu: TestDevice) -> None:
    assert TEE.contents(gpu.evidence(b"short")) == {}
    shown = TEE.contents(gpu.evidence(NONCE))["devices"][0]
    assert shown["nonce"] == NONCE.hex()
    assert shown["certificates"]


def test_other_files_are_not_taken_for_an_exchange() -> None:
    for data in (b"", b"\x11\xe0", b"\x11\x60\0\0", bytes(1184)):
        assert TEE.recognise(data) is None


# --- settings ---------------------------------------------------------------------------------------


def test_the_settings_make_a_verifier(authority: NvidiaAuthority, tmp_path: Path) -> None:
    anchor = tmp_path / "root.pem"
    anchor.write_bytes(authority.root.certificate.public_bytes(Encoding.PEM))
    device = TestDevice(authority)
    section = NvidiaSection(revocation="if-present", extra_anchors=(anchor,))
    verified = TEE.build(section, Surroundings(collateral=tmp_path)).verify(
        device.evidence(NONCE), BOUND, None, NOW
    )
    assert verified.claims["nvidia"]["arch"] == Architecture.HOPPER
    plain = TEE.build(NvidiaSection(), Surroundings(collateral=tmp_path))
    with pytest.raises(RootUntrusted):
        plain.verify(device.evidence(NONCE), BOUND, None, NOW)


def test_switches_that_weaken_a_verdict_are_named(tmp_path: Path) -> None:
    assert list(insecure_switches(NvidiaSection())) == []
    section = NvidiaSection(
        revocation="if-present",
        permit_partial_topology=True,
        extra_anchors=(tmp_path / "a",),
        extra_manifest_anchors=(tmp_path / "b",),
    )
    assert len(list(insecure_switches(section))) == 4


def test_the_pinned_roots_are_nvidias(vectors: Path) -> None:
    (published,) = x509.load_pem_x509_certificates(
        (vectors / "vendor-roots" / "nvidia_device_root.pem").read_bytes()
    )
    from verifier.nvidia.chain import device_root

    assert device_root() == published
