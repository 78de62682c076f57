"""The shipped policies on claims of real and of test devices: what affirms, and what takes it away."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from policy import shipped
from policy.claims import apply_floors
from policy.port import PolicyKind, ReferenceEntry, canonical_key
from policy.regorus_engine import RegorusEngine
from service.conformance.case_files import CaseFiles
from service.conformance.nvidia import _AnyManifest, _chain
from service.conformance.runner import cases_of
from testkit.nvidia_authority import NvidiaAuthority
from testkit.nvidia_device import TestDevice, system
from tests.verifier.nvidia.conftest import BOUND, NONCE, NOW, verifier_of, verify
from verifier.composite import DeviceResult
from verifier.model import ReportDataBinding, VerifiedEvidence
from verifier.nvidia import NvidiaSettings, NvidiaVerifier
from verifier.nvidia.coco import certificates_of
from verifier.nvidia.collateral import FixedCollateral
from verifier.nvidia.evidence import NvidiaDevice, NvidiaEvidence

ENGINE = RegorusEngine()
NAMES = ("instance-identity", "hardware", "executables", "configuration")


def vector(
    policy: str, verified: VerifiedEvidence, references: dict[str, list[Any]] | None = None
) -> tuple[int, ...]:
    """Identity, hardware, executables and configuration, with the engine's floors."""
    known = {
        name: {
            canonical_key(value): ReferenceEntry(value, scalar=False, groups=("release",))
            for value in values
        }
        for name, values in (references or {}).items()
    }
    verification = {
        "tee": verified.tee,
        "bound": verified.bound,
        "init_data": verified.init_data,
        "identity": verified.identity,
        "failed": [check.code for check in verified.checks if check.verdict == "fail"],
    }
    document = verified.claims | {"reference": known, "verification": verification}
    compiled = ENGINE.compile(shipped.load(PolicyKind.APPRAISAL, policy))
    claims = compiled.evaluate(msgspec.json.encode(document))["data.policy.trust_claims"]
    floored = apply_floors(claims, verified.floors)
    return tuple(floored.get(name, 0) for name in NAMES)


def references_of(verified: VerifiedEvidence) -> dict[str, list[Any]]:
    """What an operator would declare of this device, without its zeros."""
    claims = verified.claims["nvidia"]
    values = [value for value in claims["measurements"] if value.strip("0")]
    found = {
        "nvidia_gpu_fwid": [claims["fwid"]],
        "nvidia_gpu_measurements": values,
        "nvidia_measurements_digest": [claims["measurements_digest"]],
        "allowed_vbios_versions": [claims["vbios_version"]],
        "allowed_switch_bios_versions": [claims["vbios_version"]],
    }
    if "driver_version" in claims:
        found["allowed_driver_versions"] = [claims["driver_version"]]
    return found


def real(vectors: Path, case_id: str) -> VerifiedEvidence:
    (case,) = [one for one in cases_of(vectors / "evidence" / "manifest.json") if one["id"] == case_id]
    files = CaseFiles(case, vectors / "evidence")
    chain = files.read("certs")
    assert _chain(chain, None)
    from common.encoding import b64url_encode

    device = NvidiaDevice(
        evidence=b64url_encode(files.read("evidence")), certificates=certificates_of(chain)
    )
    rims = [files.read(role) for role in case["files"] if role.startswith("rim")]
    verifier = NvidiaVerifier(NvidiaSettings(revocation="if-present"), _AnyManifest(rims))
    at = datetime.fromisoformat(case["verification_time"])
    return verifier.verify(
        NvidiaEvidence((device,)), ReportDataBinding(bytes.fromhex(case["nonce"])), None, at
    )


@pytest.mark.parametrize(
    "case", ["hopper-550-trustee", "hopper-580-coco-trustee", "blackwell-590-veraison"]
)
def test_a_real_gpu_with_declared_values_affirms(vectors: Path, case: str) -> None:
    verified = real(vectors, f"nvidia/{case}")
    references = references_of(verified)
    assert vector("default_gpu", verified, references) == (0, 2, 3, 2)
    assert vector("default", verified, references) == (2, 2, 4, 3)
    assert vector("default_gpu", verified) == (0, 97, 33, 36)
    assert vector("default", verified) == (2, 2, 96, 36)


@pytest.mark.parametrize("name", ["measurements", "vbios", "driver"])
def test_a_real_gpu_with_one_value_that_is_not_declared_does_not(vectors: Path, name: str) -> None:
    verified = real(vectors, "nvidia/hopper-580-coco-trustee")
    references = references_of(verified)
    for key in references:
        if name in key:
            references[key].pop()
    found = vector("default_gpu", verified, references)
    assert found == (0, 2, 33 if name == "measurements" else 3, 36)
    assert vector("default", verified, references)[2:] == ((96, 36) if name == "measurements" else (4, 3))


def test_a_real_switch_with_its_real_manifest_is_closed(vectors: Path) -> None:
    verified = real(vectors, "nvidia-rim/pair-switch-ls10")
    assert vector("default", verified) == (2, 2, 3, 2)
    # CoCo's policy wants to know of revocation too, of which no public response is at hand.
    assert vector("default_switch", verified, references_of(verified)) == (0, 97, 33, 2)
    assert vector("default_switch", verified) == (0, 97, 33, 3)


def test_devices_with_manifests_and_good_status_affirm(authority: NvidiaAuthority) -> None:
    for chip, policy in (("GH100", "default_gpu"), ("GB100", "default_gpu"), ("LS_10", "default_switch")):
        verified = verify(TestDevice(authority, chip))
        assert vector("default", verified) == (2, 2, 3, 2)
        assert vector(policy, verified) == (0, 2, 3, 3)
        assert vector(policy, verified, references_of(verified)) == (0, 2, 3, 2)


@pytest.mark.parametrize(("policy", "identity"), [("default", 97), ("default_gpu", 0)])
def test_firmware_that_nvidia_did_not_publish_is_contraindicated(
    gpu: TestDevice, policy: str, identity: int
) -> None:
    """Also where an operator declares its measurements: floors are not a policy's to lift."""
    verified = verify(gpu, collateral=gpu.collateral(wrong=True))
    found = vector(policy, verified, references_of(verified))
    assert found[0] == identity
    assert found[2:] == (96, 96)


def _system(devices: list[TestDevice]) -> list[DeviceResult]:
    authority = devices[0].authority
    responses = tuple(response for device in devices for response in device.status())
    rims: dict[str, bytes] = {}
    for device in devices:
        rims |= device.manifests()
    collateral = FixedCollateral(ocsp=(*responses, *authority.rim_status()), rims=rims)
    entries = tuple(device.document(device.exchange(NONCE)) for device in devices)
    return list(
        verifier_of(authority, collateral).verify_devices(NvidiaEvidence(entries), BOUND, None, NOW)
    )


def test_a_whole_system_affirms_and_one_link_to_elsewhere_takes_it_away(authority: NvidiaAuthority) -> None:
    devices = system(authority)
    good = _system(devices)
    for result in good[:12]:
        assert vector("default", result.evidence) == (2, 2, 3, 2)
        assert vector(f"default_{result.device_class}", result.evidence)[1:] == (2, 3, 3)
    assert vector("default", good[12].evidence) == (0, 0, 0, 2)
    assert vector("default_ppcie", good[12].evidence) == (0, 0, 0, 2)
    devices[9].fields[22] = bytes([9] * 8)
    bad = _system(devices)
    assert vector("default_ppcie", bad[12].evidence) == (0, 0, 0, 96)
    assert vector("default", bad[12].evidence) == (97, 97, 96, 96)
    assert vector("default_gpu", bad[0].evidence)[3] == 96
