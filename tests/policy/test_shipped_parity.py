"""Every shipped policy on both engines: good documents, each changed at random, are answered equally."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy import shipped
from policy.errors import PolicyEvaluationFailed
from policy.port import PolicyEngine, PolicyKind
from tests.policy import test_resource, test_shipped_coco

Both = tuple[PolicyEngine, PolicyEngine]
DIGEST = "ab" * 48
VERIFICATION = {
    "bound": "session",
    "identity": "snp-chip:00",
    "failed": [],
    "init_data": "bound",
}
SNP = {
    "measurement": DIGEST,
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
    "vmpl": 0,
}
TPM = {f"pcr{index:02d}": f"{index:02x}" * 32 for index in (0, 4, 7, 8, 9, 11)} | {
    "safe": True,
    "ak_public": "QQ==",
}


def entries(*values: Any) -> dict[str, Any]:
    return {str(value): {"value": value, "groups": ["release"]} for value in values}


def single(value: object) -> dict[str, Any]:
    return {str(value): {"value": value, "scalar": True, "groups": ["other", "release"]}}


SNP_REFERENCES = {
    "snp_launch_measurement": entries(DIGEST, "cd" * 48),
    "snp_bootloader": entries(4, 5),
    "snp_microcode": entries(219),
    "snp_snp_svn": entries(27),
    "snp_tee_svn": entries(0),
    "snp_smt_enabled": single(value=True),
    "snp_tsme_enabled": single(value=False),
    "snp_guest_abi_major": single(value=0),
    "snp_guest_abi_minor": single(value=31),
    "snp_single_socket": single(value=False),
    "snp_smt_allowed": single(value=True),
}
TPM_REFERENCES = {
    f"tpm_{name}": entries(value) for name, value in TPM.items() if name.startswith("pcr")
} | {"trusted_aks": entries("QQ==")}
CONTAINER = {
    "OCI": {"Annotations": {"io.kubernetes.cri.image-name": "a@sha256:b"}, "Process": {"User": {"UID": 0}}}
}
ON_SNP: dict[str, Any] = {
    "snp": SNP,
    "verification": VERIFICATION | {"tee": "snp"},
    "reference": SNP_REFERENCES,
    "init_data_claims": {"agent_policy_claims": {"containers": [CONTAINER]}},
}
ON_TPM: dict[str, Any] = {
    "tpm": TPM,
    "verification": VERIFICATION | {"tee": "tpm", "identity": "tpm-ek:00"},
    "reference": TPM_REFERENCES,
}
RELEASE: dict[str, Any] = {
    "ear": {
        "submods": {
            "cpu0": {
                "ear.status": "affirming",
                "ear.trustworthiness-vector": {
                    "instance-identity": 2,
                    "configuration": 3,
                    "executables": 3,
                    "hardware": 2,
                    "runtime-opaque": 0,
                },
            }
        },
        "touchstone": {"bound": "session", "reference_values": ["rv-1", "rv-2"]},
    },
    "resource": {"kind": "resource", "id": "default/key/1", "version": 1},
}
TRUST: dict[str, Any] = {
    "statement": {
        "subjects": [{"name": "a", "digest": {"sha256": "aa"}}, {"name": "b", "digest": {"sha512": "b"}}]
    },
    "signers": [{"name": "ci", "kind": "certificate"}],
    "origin": {"source_revision": "a" * 40, "proven": True},
}
ASKED: dict[str, Any] = {"claims": test_resource.TOKEN, "data": test_resource.ASKED}
GOOD: list[tuple[PolicyKind, str, dict[str, Any], dict[str, Any]]] = [
    (
        PolicyKind.APPRAISAL,
        "default",
        ON_SNP,
        {"executables": 3, "hardware": 2, "configuration": 3, "instance-identity": 2, "runtime-opaque": 2},
    ),
    (
        PolicyKind.APPRAISAL,
        "default",
        ON_TPM,
        {"executables": 3, "hardware": 2, "configuration": 2, "instance-identity": 2, "runtime-opaque": 0},
    ),
    (
        PolicyKind.APPRAISAL,
        "default_cpu",
        ON_SNP,
        {"executables": 3, "hardware": 2, "configuration": 2, "instance-identity": 2},
    ),
    (
        PolicyKind.APPRAISAL,
        "default_cpu",
        ON_TPM,
        {"executables": 3, "hardware": 2, "configuration": 0, "instance-identity": 2},
    ),
    (PolicyKind.RELEASE, "default", RELEASE, {"allow": True, "reasons": []}),
    (PolicyKind.TRUST, "default", TRUST, {"allow": True, "deny": []}),
]
GOOD += [
    (
        PolicyKind.APPRAISAL,
        policy,
        {
            tee: claims,
            "reference": msgspec.to_builtins(test_shipped_coco.references(values)),
            "verification": {"failed": []},
        },
        dict(zip(test_shipped_coco.NAMES, claimed, strict=True)),
    )
    for policy, tee, claims, values, claimed in test_shipped_coco.CASES.values()
]
GOOD += [
    (PolicyKind.APPRAISAL, "default_ppcie", {"verification": {"failed": []}}, {"configuration": 2}),
    (PolicyKind.RESOURCE, "default", ASKED, {"allow": True, "reasons": []}),
    (PolicyKind.RESOURCE, "affirming", ASKED, {"allow": True, "reasons": []}),
    (PolicyKind.RESOURCE, "allow_all", ASKED, {"allow": True}),
    (PolicyKind.RESOURCE, "deny_all", ASKED, {"allow": False, "reasons": ["every resource is withheld"]}),
]
IDS = [f"{kind}-{name}-{'tpm' if 'tpm' in document else 'other'}" for kind, name, document, _ in GOOD]

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-130, 300),
    st.sampled_from(
        [2.5, 2**63, "", "session", "unbound", "snp", "tpm", "affirming", DIGEST, "a" * 40, "a" * 64]
    ),
)
REPLACEMENTS = st.one_of(
    LEAVES,
    st.lists(LEAVES, max_size=2),
    st.dictionaries(st.sampled_from(["value", "scalar", "groups", DIGEST, "x"]), LEAVES, max_size=2),
    st.just(...),  # delete the member
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        found += paths(member, (*prefix, key))
    return found


def changed(document: dict[str, Any], path: tuple[Any, ...], replacement: Any) -> dict[str, Any]:
    result = copy.deepcopy(document)
    place: Any = result
    for key in path[:-1]:
        if not isinstance(place, (dict, list)) or (isinstance(place, dict) and key not in place):
            return result  # an earlier change took the place away
        if isinstance(place, list) and not (isinstance(key, int) and key < len(place)):
            return result
        place = place[key]
    if isinstance(place, dict):
        if replacement is ...:
            place.pop(path[-1], None)
        else:
            place[path[-1]] = replacement
    elif isinstance(place, list) and isinstance(path[-1], int) and path[-1] < len(place):
        if replacement is ...:
            place.pop(path[-1])
        else:
            place[path[-1]] = replacement
    return result


def outcome(engine: PolicyEngine, kind: PolicyKind, name: str, document: dict[str, Any]) -> Any:
    try:
        return dict(engine.compile(shipped.load(kind, name)).evaluate(json.dumps(document).encode()))
    except PolicyEvaluationFailed:
        return "failed"


def test_every_shipped_policy_is_compared() -> None:
    assert {(kind, name) for kind, name, _, _ in GOOD} == set(shipped.names())


@pytest.mark.parametrize(("kind", "name", "document", "expected"), GOOD, ids=IDS)
def test_a_good_document_is_affirmed_by_both_engines(
    engine: PolicyEngine, kind: PolicyKind, name: str, document: dict[str, Any], expected: dict[str, Any]
) -> None:
    answer = outcome(engine, kind, name, document)
    if kind is not PolicyKind.APPRAISAL:
        assert {path.rpartition(".")[2]: value for path, value in answer.items()} == expected
        return
    claims = answer["data.policy.trust_claims"]
    assert {claim: value for claim, value in claims.items() if claim in expected} == expected


@pytest.mark.parametrize(("kind", "name", "document", "expected"), GOOD, ids=IDS)
def test_any_change_is_answered_equally(
    both: Both, kind: PolicyKind, name: str, document: dict[str, Any], expected: dict[str, Any]
) -> None:
    del expected
    all_paths = paths(document)

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.tuples(st.sampled_from(all_paths), REPLACEMENTS), min_size=1, max_size=3))
    def check(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
        value = document
        for path, replacement in changes:
            value = changed(value, path, replacement)
        regorus, opa = (outcome(engine, kind, name, value) for engine in both)
        assert regorus == opa, json.dumps(value)

    check()


@pytest.mark.parametrize("name", ["tpm_pcr00", "tpm_pcr04", "tpm_pcr08", "tpm_pcr09"])
def test_every_boot_register_needs_a_reference_value(engine: PolicyEngine, name: str) -> None:
    document = copy.deepcopy(ON_TPM)
    del document["reference"][name]
    claims = outcome(engine, PolicyKind.APPRAISAL, "default", document)["data.policy.trust_claims"]
    assert claims["executables"] == 96


@pytest.mark.parametrize("tee", ["snp", "tpm"])
def test_a_failed_check_of_the_verifier_denies(engine: PolicyEngine, tee: str) -> None:
    document = copy.deepcopy(ON_SNP if tee == "snp" else ON_TPM)
    document["verification"]["failed"] = ["evidence.tcb_floor"]
    claims = outcome(engine, PolicyKind.APPRAISAL, "default", document)["data.policy.trust_claims"]
    assert claims["hardware"] == 97
    assert claims["instance-identity"] == 97


def test_claims_of_one_tee_do_not_affirm_evidence_of_another(engine: PolicyEngine) -> None:
    document = copy.deepcopy(ON_SNP) | {"tpm": TPM}
    document["reference"] |= TPM_REFERENCES
    document["verification"]["tee"] = "tpm"
    document["tpm"] = {"safe": True}
    claims = outcome(engine, PolicyKind.APPRAISAL, "default", document)["data.policy.trust_claims"]
    assert claims["executables"] == 96
    assert claims["runtime-opaque"] == 0


def test_a_platform_that_hides_its_chip_makes_no_identity_claim(engine: PolicyEngine) -> None:
    document = copy.deepcopy(ON_SNP)
    document["verification"]["identity"] = None
    claims = outcome(engine, PolicyKind.APPRAISAL, "default", document)["data.policy.trust_claims"]
    assert claims["instance-identity"] == 0


def _moved(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """The document with some of its reference values in another release."""
    result = copy.deepcopy(document)
    for name in names:
        for entry in result["reference"][name].values():
            entry["groups"] = ["another"]
    return result


@pytest.mark.parametrize("name", ["tpm_pcr00", "tpm_pcr04", "tpm_pcr08", "tpm_pcr09"])
def test_a_boot_register_of_another_release_is_refused(engine: PolicyEngine, name: str) -> None:
    # The compound-value problem (confidential-containers/trustee#350): each value alone is a good one.
    claims = outcome(engine, PolicyKind.APPRAISAL, "default", _moved(ON_TPM, name))[
        "data.policy.trust_claims"
    ]
    assert (claims["executables"], claims["configuration"]) == (96, 36)


def test_a_secure_boot_policy_of_another_release_is_not_the_approved_one(engine: PolicyEngine) -> None:
    claims = outcome(engine, PolicyKind.APPRAISAL, "default", _moved(ON_TPM, "tpm_pcr07"))[
        "data.policy.trust_claims"
    ]
    assert (claims["executables"], claims["configuration"]) == (3, 36)


def test_registers_that_share_groups_two_by_two_share_none_together(engine: PolicyEngine) -> None:
    document = copy.deepcopy(ON_TPM)
    for name, groups in (
        ("tpm_pcr00", ["a", "b"]),
        ("tpm_pcr04", ["b", "c"]),
        ("tpm_pcr08", ["c", "a"]),
        ("tpm_pcr09", ["a", "b", "c"]),
    ):
        for entry in document["reference"][name].values():
            entry["groups"] = groups
    claims = outcome(engine, PolicyKind.APPRAISAL, "default", document)["data.policy.trust_claims"]
    assert claims["executables"] == 96


@pytest.mark.parametrize(
    "name", ["snp_launch_measurement", "snp_bootloader", "snp_microcode", "snp_snp_svn", "snp_tee_svn"]
)
def test_a_measurement_with_the_firmware_versions_of_another_release_is_refused(
    engine: PolicyEngine, name: str
) -> None:
    claims = outcome(engine, PolicyKind.APPRAISAL, "default_cpu", _moved(ON_SNP, name))[
        "data.policy.trust_claims"
    ]
    assert (claims["hardware"], claims["configuration"]) == (97, 3)


@pytest.mark.parametrize("name", ["snp_smt_enabled", "snp_guest_abi_minor", "snp_smt_allowed"])
def test_a_guest_policy_of_another_release_is_not_the_approved_one(engine: PolicyEngine, name: str) -> None:
    claims = outcome(engine, PolicyKind.APPRAISAL, "default_cpu", _moved(ON_SNP, name))[
        "data.policy.trust_claims"
    ]
    assert (claims["hardware"], claims["configuration"]) == (2, 3)


@pytest.mark.parametrize("name", ["default", "default_cpu"])
@pytest.mark.parametrize("document", [ON_SNP, ON_TPM], ids=["snp", "tpm"])
def test_unverified_values_affirm_nothing(
    engine: PolicyEngine, name: str, document: dict[str, Any]
) -> None:
    shown = copy.deepcopy(document)
    shown["unverified_reference"] = shown.pop("reference")
    claims = outcome(engine, PolicyKind.APPRAISAL, name, shown)["data.policy.trust_claims"]
    assert claims["executables"] > 31
