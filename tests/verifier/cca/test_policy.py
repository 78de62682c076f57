"""What the shipped appraisal policies make of CCA evidence, with each value known and not known."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from policy import shipped
from policy.port import PolicyKind
from service.inspection import appraise
from tests.verifier.cca.test_verifier import CHALLENGE, NOW, PLATFORM, verify
from verifier.cca import CcaSettings, CcaVerifier
from verifier.cca.endorsements import FixedEndorsements, read_store
from verifier.cca.evidence import CcaEvidence
from verifier.cca.tee import TEE
from verifier.model import ReportDataBinding, VerifiedEvidence

CPU = shipped.load(PolicyKind.APPRAISAL, "default_cpu").text
NAMES = ("hardware", "executables", "configuration", "instance-identity", "runtime-opaque")


def references(cca: dict[str, Any]) -> dict[str, list[str]]:
    """Everything in a token, registered."""
    return {
        "cca_realm_initial_measurement": [cca["rim"]],
        "cca_platform_sw_component": [item["value"] for item in cca["sw_components"]],
        "cca_platform_signer_id": [item["signer_id"] for item in cca["sw_components"]],
        "cca_platform_config": [cca["config"]],
        "cca_platform_implementation_id": [cca["implementation_id"]],
    }


def vector(verified: VerifiedEvidence, known: dict[str, Any], policy: str | None = None) -> tuple[int, ...]:
    found = appraise(verified, policy, known, NOW).trust_vector
    return tuple(found[name] for name in NAMES)


def test_what_is_registered_affirms() -> None:
    verified = verify(PLATFORM.evidence(CHALLENGE))
    known = references(verified.claims["cca"])
    assert vector(verified, known) == (2, 3, 2, 2, 2)
    # CoCo's policy affirms an identity for sessions alone, and says nothing about memory.
    assert vector(verified, known, CPU) == (2, 3, 2, 0, 0)


@pytest.mark.parametrize(
    ("name", "default", "cpu"),
    [
        ("cca_realm_initial_measurement", "executables", "executables"),
        ("cca_platform_sw_component", "hardware configuration", "hardware"),
        ("cca_platform_signer_id", "hardware configuration", ""),
        ("cca_platform_config", "configuration", "configuration"),
        ("cca_platform_implementation_id", "", "hardware"),
    ],
)
def test_a_single_value_that_is_not_known_takes_its_affirmation_away(
    name: str, default: str, cpu: str
) -> None:
    verified = verify(PLATFORM.evidence(CHALLENGE))
    full = references(verified.claims["cca"])
    for policy, lost in ((None, default), (CPU, cpu)):
        whole = dict(zip(NAMES, vector(verified, full, policy), strict=True))
        for known in (full | {name: full[name][1:]}, full | {name: ["00" * 32]}):
            if known[name] and set(known[name]) == set(full[name]):
                continue  # one value that several pieces of firmware share
            found = dict(zip(NAMES, vector(verified, known, policy), strict=True))
            assert {key for key in NAMES if found[key] != whole[key]} == set(lost.split())


def test_nothing_known_affirms_nothing_but_the_instance() -> None:
    verified = verify(PLATFORM.evidence(CHALLENGE))
    assert vector(verified, {}) == (97, 96, 36, 2, 2)
    assert vector(verified, {}, CPU) == (97, 33, 36, 0, 0)


def test_a_register_that_was_extended_must_be_known() -> None:
    extended = PLATFORM.evidence(
        CHALLENGE, realm={"claim_44239": [bytes(64), b"\1" * 64, bytes(64), bytes(64)]}
    )
    verified = verify(extended)
    known = references(verified.claims["cca"])
    assert vector(verified, known)[1] == 96
    assert vector(verified, known | {"cca_realm_extensible_measurement_0": ["01" * 64]})[1] == 96
    assert vector(verified, known | {"cca_realm_extensible_measurement_1": ["01" * 64]})[1] == 3


@pytest.mark.parametrize("lifecycle", [0x4000, 0x5000])
def test_debug_is_refused_whatever_the_policy_says(lifecycle: int) -> None:
    """Abuse case 12: with golden measurements, and a policy that affirms everything."""
    verified = verify(PLATFORM.evidence(CHALLENGE, platform={"claim_2395": lifecycle}))
    known = references(verified.claims["cca"])
    assert vector(verified, known)[0] >= 96
    assert vector(verified, known)[2] >= 96
    assert vector(verified, known, CPU)[0] >= 96
    careless = (
        "package policy\n\nimport rego.v1\n\n"
        'trust_claims := {"hardware": 2, "executables": 3, "configuration": 2, "runtime-opaque": 2}\n'
    )
    found = appraise(verified, careless, known, NOW)
    assert found.status == "contraindicated"
    assert {name: found.trust_vector[name] for name in ("hardware", "configuration", "runtime-opaque")} == {
        "hardware": 96,
        "configuration": 96,
        "runtime-opaque": 96,
    }


def test_a_real_token_affirms_with_the_reference_values_that_come_with_it(vectors: Path) -> None:
    folder = vectors / "evidence" / "cca" / "legacy-trustee"
    evidence = TEE.recognise((folder / "token.cbor").read_bytes())
    assert isinstance(evidence, CcaEvidence)
    case = next(
        case
        for case in json.loads((vectors / "evidence" / "manifest.json").read_text())["cases"]
        if case["id"] == "cca/legacy-trustee"
    )
    verifier = CcaVerifier(
        CcaSettings(), FixedEndorsements(read_store((folder / "tastore.json").read_bytes()))
    )
    expected = ReportDataBinding(bytes.fromhex(case["report_data"]))
    verified = verifier.verify(evidence, expected, None, NOW)
    store = json.loads((folder / "rvstore.json").read_text())
    (platform,), (realm,) = store["platform"], store["realm"]
    known = {
        "cca_realm_initial_measurement": [realm["initial-measurement"]],
        "cca_platform_sw_component": [item["measurement-value"] for item in platform["sw-components"]],
        "cca_platform_signer_id": sorted({item["signer-id"] for item in platform["sw-components"]}),
        "cca_platform_config": [platform["platform-configuration"]],
        "cca_platform_implementation_id": [platform["implementation-id"]],
    }
    assert vector(verified, known) == (2, 3, 2, 2, 2)
    assert vector(verified, known, CPU) == (2, 3, 2, 0, 0)
    less = copy.deepcopy(known)
    less["cca_platform_sw_component"].pop()
    assert vector(verified, less)[0] == 97
    assert vector(verified, less, CPU)[0] == 97
