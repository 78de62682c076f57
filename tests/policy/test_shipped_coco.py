"""The default policies of the CoCo attestation service: each TEE affirmed, and each single thing wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest

from policy import shipped
from policy.port import PolicyEngine, PolicyKind, ReferenceEntry, canonical_key

INTEL = "939a7233f79c4ca9940a0db3957f0607"
SNP = {
    "measurement": "ab" * 48,
    "policy_debug_allowed": False,
    "policy_migrate_ma": False,
    "policy_abi_major": 0,
    "policy_abi_minor": 31,
    "policy_single_socket": False,
    "policy_smt_allowed": True,
    "platform_smt_enabled": True,
    "platform_tsme_enabled": False,
    "reported_tcb_bootloader": 4,
    "reported_tcb_microcode": 219,
    "reported_tcb_snp": 27,
    "reported_tcb_tee": 0,
}
LOG = [
    {
        "index": 2,
        "type_name": "EV_EFI_BOOT_SERVICES_APPLICATION",
        "details": {},
        "digests": [{"alg": "SHA-384", "digest": "ke"}],
    },
    {
        "index": 3,
        "type_name": "EV_EVENT_TAG",
        "details": {"string": "LOADED_IMAGE::LoadOptions"},
        "digests": [{"alg": "SHA-384", "digest": "cl"}],
    },
]
TDX: dict[str, Any] = {
    "quote": {
        "header": {"tee_type": "81000000", "vendor_id": INTEL},
        "body": {"mr_td": "aa", "rtmr_1": "bb", "rtmr_2": "cc", "xfam": "e702060000000000"},
    },
    "td_attributes": {"debug": False},
    "tcb_status": "UpToDate",
    "collateral_expiration_status": "0",
    "uefi_event_logs": LOG,
}
CHAIN = {"x-nvidia-cert-ocsp-status": "good", "x-nvidia-cert-status": "valid"}


def rim(kind: str, part: str) -> dict[str, Any]:
    flags = ("fetched", "measurements-available", "schema-validated", "signature-verified", "version-match")
    return {f"x-nvidia-{kind}-{part}-rim-{flag}": True for flag in flags} | {
        f"x-nvidia-{kind}-{part}-rim-cert-chain": CHAIN
    }


def remote(kind: str) -> dict[str, Any]:
    report = f"x-nvidia-{kind}-attestation-report"
    return {
        f"{report}-cert-chain": CHAIN,
        f"{report}-cert-chain-fwid-match": True,
        f"{report}-parsed": True,
        f"{report}-signature-verified": True,
        f"x-nvidia-{kind}-arch-check": True,
        "x-nvidia-overall-att-result": True,
        "secboot": True,
        "dbgstat": "disabled",
        "measres": "success",
    }


def texts(claims: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() for name, value in claims.items()}


# Per case: policy, TEE, claims, reference values (a list: to choose from), expected (executables, hardware,
# configuration).
Case = tuple[str, str, dict[str, Any], dict[str, Any], tuple[int, int, int]]
CASES: dict[str, Case] = {
    "sample": (
        "default_cpu",
        "sample",
        {
            "launch_digest": "abcde",
            "svn": "1",
            "platform_version": {"major": 1, "minor": 4},
            "debug": False,
        },
        {"launch_digest": ["abcde"], "svn": ["1"], "major_version": 1, "minimum_minor_version": 4},
        (3, 2, 2),
    ),
    "snp": (
        "default_cpu",
        "snp",
        SNP,
        {
            "snp_launch_measurement": ["ab" * 48],
            "snp_bootloader": [3, 4],
            "snp_microcode": [219],
            "snp_snp_svn": [27],
            "snp_tee_svn": [0],
            "snp_smt_enabled": True,
            "snp_tsme_enabled": False,
            "snp_guest_abi_major": 0,
            "snp_guest_abi_minor": 31,
            "snp_single_socket": False,
            "snp_smt_allowed": True,
        },
        (3, 2, 2),
    ),
    "tdx": (
        "default_cpu",
        "tdx",
        TDX,
        {
            "mr_td": ["aa"],
            "rtmr_1": ["bb"],
            "rtmr_2": ["cc"],
            "xfam": ["e702060000000000"],
            "tdvfkernel": "ke",
            "tdvfkernelparams": "cl",
        },
        (3, 2, 2),
    ),
    "az-snp-vtpm": (
        "default_cpu",
        "az-snp-vtpm",
        texts(SNP) | {"measurement": "q6ur", "tpm": {"pcr11": "11"}},
        {
            "measurement": ["q6ur"],
            "snp_pcr11": ["11"],
            "tcb_bootloader": ["4"],
            "tcb_microcode": ["219"],
            "tcb_snp": ["27"],
            "tcb_tee": ["0"],
            "smt_enabled": ["true"],
            "tsme_enabled": ["false"],
            "abi_major": ["0"],
            "abi_minor": ["31"],
            "single_socket": ["false"],
            "smt_allowed": ["true"],
        },
        (3, 2, 2),
    ),
    "az-tdx-vtpm": (
        "default_cpu",
        "az-tdx-vtpm",
        {
            "quote": {
                "header": TDX["quote"]["header"],
                "body": {"mr_td": "aa", "xfam": "e702060000000000"},
            },
            "td_attributes": {"debug": False},
            "tcb_status": "UpToDate",
            "collateral_expiration_status": "0",
            "tpm": {"pcr11": "11"},
        },
        {"tdx_pcr11": ["11"], "mr_td": ["aa"], "xfam": ["e702060000000000"]},
        (3, 2, 2),
    ),
    "tpm": (
        "default_cpu",
        "tpm",
        {"pcr11": "11", "ak_public": "QQ=="},
        {"tpm_pcr11": ["11"], "trusted_aks": ["QQ=="]},
        (3, 2, 0),
    ),
    "se": (
        "default_cpu",
        "se",
        {"tag": "t", "image_phkh": "i", "attestation_phkh": "a", "version": 256},
        {"se_tag": ["t"], "se_image_phkh": ["i"], "se_attestation_phkh": ["a"], "se_version": 256},
        (3, 2, 2),
    ),
    "sgx": (
        "default_cpu",
        "sgx",
        {
            "header": {"vendor_id": INTEL},
            "body": {"mr_enclave": "ee", "attributes.flags": "0500000000000000"},
            "tcb_status": "UpToDate",
            "collateral_expiration_status": "0",
        },
        {"sgx_mr_enclave": ["ee"], "sgx_attributes_flags": ["0500000000000000"]},
        (3, 2, 2),
    ),
    "sgx, by signer": (
        "default_cpu",
        "sgx",
        {
            "header": {"vendor_id": INTEL},
            "body": {
                "mr_signer": "dd",
                "isv_prod_id": "0100",
                "isv_svn": "0a01",
                "attributes.flags": "0500000000000000",
            },
            "tcb_status": "UpToDate",
            "collateral_expiration_status": "0",
        },
        {
            "sgx_mr_signer": ["dd"],
            "sgx_isv_prod_id": ["0100"],
            "sgx_minimum_isv_svn": 266,
            "sgx_attributes_flags": ["0500000000000000"],
        },
        (4, 2, 2),
    ),
    "csv": (
        "default_cpu",
        "csv",
        {
            "measure": "mm",
            "policy": {
                "nodbg": 1,
                "noks": 1,
                "es": 1,
                "nosend": 1,
                "asid_reuse": 0,
                "api_major": 1,
                "api_minor": 3,
            },
        },
        {"csv_measure": ["mm"], "csv_api_major": [1], "csv_api_minor": [3]},
        (3, 2, 3),
    ),
    "cca": (
        "default_cpu",
        "cca",
        {
            "rim": "rim",
            "implementation_id": "impl",
            "lifecycle": 12291,
            "config": "cfg",
            "sw_components": [{"value": "one"}, {"value": "two"}],
        },
        {
            "cca_realm_initial_measurement": ["rim"],
            "cca_platform_implementation_id": ["impl"],
            "cca_platform_config": ["cfg"],
            "cca_platform_sw_component": ["one", "two"],
        },
        (3, 2, 2),
    ),
    "nvidia, remote": (
        "default_gpu",
        "nvidia",
        remote("gpu")
        | rim("gpu", "driver")
        | rim("gpu", "vbios")
        | {"x-nvidia-gpu-vbios-version": "96", "x-nvidia-gpu-driver-version": "550"},
        {"allowed_vbios_versions": ["96"], "allowed_driver_versions": ["550"]},
        (3, 2, 2),
    ),
    "nvidia, local": (
        "default_gpu",
        "nvidia",
        {
            "measurements": ["m1", "m2"],
            "config": {"fwid": "fw", "vbios_version": "96", "driver_version": "550"},
        },
        {
            "nvidia_gpu_fwid": ["fw"],
            "nvidia_gpu_measurements": ["m1", "m2"],
            "allowed_vbios_versions": ["96"],
            "allowed_driver_versions": ["550"],
        },
        (3, 2, 2),
    ),
    "switch": (
        "default_switch",
        "nvidia",
        remote("switch") | rim("switch", "bios") | {"x-nvidia-switch-bios-version": "96"},
        {"allowed_switch_bios_versions": ["96"]},
        (3, 2, 2),
    ),
    "hygondcu": (
        "default_dcu",
        "hygondcu",
        {"body": {"measure": "m", "version": "1"}},
        {"dcu_measure": ["m"], "dcu_version": ["1"]},
        (3, 2, 0),
    ),
    "nvidia-dpu": (
        "default_nvidia-dpu",
        "nvidia-dpu",
        {"accumulated_fwid": "f", "device_class": "bf3"},
        {"nvidia_dpu_fwid": ["f"], "nvidia_dpu_device_class": ["bf3"]},
        (3, 2, 0),
    ),
}
NAMES = ("executables", "hardware", "configuration")
# What a configuration is of which nothing bad is known, and nothing is approved.
LESSER = 3


def references(values: dict[str, Any], *, declared: bool = True) -> dict[str, dict[str, ReferenceEntry]]:
    found = {}
    for name, value in values.items():
        members = value if isinstance(value, list) else [value]
        found[name] = {
            canonical_key(member): ReferenceEntry(
                member,
                scalar=not isinstance(value, list),
                groups=() if declared else ("release",),
                declared=declared,
            )
            for member in members
        }
    return found


def vector(
    engine: PolicyEngine, policy: str, tee: str, claims: object, known: dict[str, Any]
) -> tuple[int, ...]:
    document = {tee: claims, "reference": known, "verification": {"bound": "report-data", "failed": []}}
    compiled = engine.compile(shipped.load(PolicyKind.APPRAISAL, policy))
    found = compiled.evaluate(msgspec.json.encode(document))["data.policy.trust_claims"]
    return tuple(found[name] for name in NAMES)


def affirms(value: int) -> bool:
    return 2 <= value <= 31


def leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))]
    return [path]


def changed(claims: dict[str, Any], path: tuple[str | int, ...], *, gone: bool) -> dict[str, Any]:
    copied = copy.deepcopy(claims)
    parent: Any = copied
    for step in path[:-1]:
        parent = parent[step]
    value = parent[path[-1]]
    if gone:
        del parent[path[-1]]
    elif value is True or value is False:
        parent[path[-1]] = not value
    elif isinstance(value, int):
        parent[path[-1]] = value - 1 if path[-1] == "minor" else value + 4096
    elif path[-1] == "attributes.flags":
        parent[path[-1]] = "0700000000000000"
    else:
        parent[path[-1]] = {"true": "false", "false": "true"}.get(value, "0901")
    return copied


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "verified"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_known_is_affirmed(engine: PolicyEngine, name: str, *, declared: bool) -> None:
    policy, tee, claims, values, expected = CASES[name]
    assert vector(engine, policy, tee, claims, references(values, declared=declared)) == expected


@pytest.mark.parametrize("form", ["lists", "single values"])
@pytest.mark.parametrize("name", CASES)
def test_either_form_of_a_reference_value_is_taken(engine: PolicyEngine, name: str, form: str) -> None:
    policy, tee, claims, values, expected = CASES[name]
    if form == "lists":
        other = {
            key: value if isinstance(value, list) or "minimum" in key else [value]
            for key, value in values.items()
        }
    else:
        other = {
            key: value[-1] if isinstance(value, list) and len(value) == 1 else value
            for key, value in values.items()
        }
    assert vector(engine, policy, tee, claims, references(other)) == expected


@pytest.mark.parametrize(
    ("name", "path"),
    [pytest.param(name, path, id=f"{name}-{path}") for name in CASES for path in leaves(CASES[name][2])],
)
@pytest.mark.parametrize("gone", [False, True], ids=["wrong", "absent"])
def test_a_single_claim_that_is_wrong_takes_an_affirmation_away(
    engine: PolicyEngine, name: str, path: tuple[str | int, ...], *, gone: bool
) -> None:
    policy, tee, claims, values, expected = CASES[name]
    if path[-1] == "alg" or (path[-1] == 0 and "device_paths" in path):
        return  # nothing rests on those
    if gone and path == ("x-nvidia-overall-att-result",):
        return  # it is there or not; if it is there it must hold
    if gone and isinstance(path[-1], int):
        return  # what is not reported is not compared
    found = vector(engine, policy, tee, changed(claims, path, gone=gone), references(values))
    lost = [
        number
        for number, (value, before) in enumerate(zip(found, expected, strict=True))
        if value != before
    ]
    assert lost, f"{path} changes nothing"
    for number in lost:
        lesser = NAMES[number] == "configuration" and found[number] == LESSER
        by_registers = tee == "tdx" and NAMES[number] == "executables" and found[number] == LESSER + 1
        assert lesser or by_registers or not affirms(found[number])


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        pytest.param(name, reference, id=f"{name}-{reference}")
        for name in CASES
        for reference in CASES[name][3]
    ],
)
def test_a_reference_value_that_nobody_set_is_not_met(
    engine: PolicyEngine, name: str, reference: str
) -> None:
    policy, tee, claims, values, expected = CASES[name]
    found = vector(engine, policy, tee, claims, references({**values, reference: []}))
    assert found != expected
    assert all(
        before == value or value in (LESSER, LESSER + 1) or not affirms(value)
        for before, value in zip(expected, found, strict=True)
    )


@pytest.mark.parametrize("name", [name for name in CASES if "remote" not in name and name != "switch"])
def test_without_reference_values_no_software_is_affirmed(engine: PolicyEngine, name: str) -> None:
    policy, tee, claims, _, _ = CASES[name]
    executables, hardware, _ = vector(engine, policy, tee, claims, {})
    assert executables == 33
    assert hardware == 97 or tee == "sgx"  # Intel's collateral vouches for the platform


@pytest.mark.parametrize("policy", sorted({case[0] for case in CASES.values()}))
@pytest.mark.parametrize("claims", [{}, None, [], "", {"nvidia": None}, {"se": {}}])
def test_nothing_is_affirmed_of_no_evidence(engine: PolicyEngine, policy: str, claims: object) -> None:
    for tee in ("snp", "tdx", "nvidia", "se", "cca", "sgx", "unknown"):
        executables, hardware, configuration = vector(engine, policy, tee, claims, {})
        assert (executables, hardware) == (33, 97)
        assert not affirms(configuration)


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("snp", "snp_launch_measurement"),
        ("tdx", "rtmr_2"),
        ("az-snp-vtpm", "snp_pcr11"),
        ("se", "se_tag"),
        ("sgx, by signer", "sgx_isv_prod_id"),
    ],
)
def test_verified_values_of_two_releases_do_not_go_together_and_a_declared_one_goes_with_any(
    engine: PolicyEngine, name: str, moved: str
) -> None:
    policy, tee, claims, values, expected = CASES[name]
    known = references(values, declared=False)
    known[moved] = {
        key: msgspec.structs.replace(entry, groups=("another",)) for key, entry in known[moved].items()
    }
    assert vector(engine, policy, tee, claims, known) != expected
    known[moved] = references({moved: values[moved]})[moved]
    assert vector(engine, policy, tee, claims, known) == expected


@pytest.mark.parametrize(
    ("svn", "minimum", "met"),
    [
        ("0a01", 266, True),
        ("0901", 266, False),
        ("0000", 0, True),
        ("ffff", 65535, True),
        ("00ff", 65280, True),
        ("0f10", 4111, True),
        ("0f10", 4112, False),
        ("FFFF", 0, False),
        ("0a", 0, False),
        ("0a0100", 0, False),
        (266, 0, False),
        (None, 0, False),
        ("ffff", "0", False),
        ("ffff", None, False),
        ("ffff", [0], False),
    ],
)
def test_a_security_version_is_a_number_and_has_a_minimum(
    engine: PolicyEngine, svn: object, minimum: object, *, met: bool
) -> None:
    policy, tee, claims, values, _ = CASES["sgx, by signer"]
    body = {**claims["body"], "isv_svn": svn}
    known = references({**values, "sgx_minimum_isv_svn": minimum})
    assert vector(engine, policy, tee, {**claims, "body": body}, known)[0] == (4 if met else 33)


def test_a_topology_is_what_its_result_says(engine: PolicyEngine) -> None:
    assert vector(engine, "default_ppcie", "ppcie", {}, {}) == (0, 0, 2)
    compiled = engine.compile(shipped.load(PolicyKind.APPRAISAL, "default_ppcie"))
    for document in ({}, {"verification": {"failed": ["topology"]}}):
        found = compiled.evaluate(json.dumps(document).encode())
        assert found["data.policy.trust_claims"]["configuration"] == 36


def test_a_sample_device_affirms_its_version_alone(engine: PolicyEngine) -> None:
    known = references({"device_svn": ["1"]})
    assert vector(engine, "default_gpu", "sampledevice", {"svn": "1"}, known) == (33, 2, 36)
    assert vector(engine, "default_gpu", "sampledevice", {"svn": "2"}, known) == (33, 97, 36)
