"""Real claims under the shipped policies: affirmed with the reference values, and not without."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from policy import shipped
from policy.port import PolicyEngine, PolicyKind, ReferenceEntry, canonical_key
from policy.regorus_engine import RegorusEngine
from testkit.csv_platform import POLICY, CsvPlatform, ReportFields
from tests.verifier.csv.conftest import NOW
from verifier.csv.coco import CsvCocoForm
from verifier.csv.verifier import CsvVerifier
from verifier.model import ReportDataBinding

DATA = bytes(range(64))
MEASURE = bytes(range(32)).hex()
KNOWN: dict[str, list[Any]] = {"csv_measure": [MEASURE], "csv_api_major": [1], "csv_api_minor": [3]}


@pytest.fixture(scope="module")
def engine() -> PolicyEngine:
    return RegorusEngine()


def _vector(
    engine: PolicyEngine,
    policy: str,
    claims: dict[str, Any],
    known: dict[str, list[Any]],
    **verification: Any,
) -> dict[str, int]:
    reference = {
        name: {canonical_key(value): ReferenceEntry(value, declared=True) for value in values}
        for name, values in known.items()
    }
    stated = {
        "tee": "csv", "bound": "report-data", "init_data": "absent", "identity": "csv-cek:00", "failed": [],
    } | verification  # fmt: skip
    document = claims | {"reference": reference, "verification": stated}
    compiled = engine.compile(shipped.load(PolicyKind.APPRAISAL, policy))
    found: dict[str, int] = compiled.evaluate(msgspec.json.encode(document))["data.policy.trust_claims"]
    return found


def _claims(
    verifier: CsvVerifier, platform: CsvPlatform, version: int, policy: int = POLICY
) -> dict[str, Any]:
    evidence = platform.evidence(version, ReportFields(report_data=DATA, policy=policy))
    verified = verifier.verify(evidence, ReportDataBinding(DATA), None, NOW)
    return CsvCocoForm().claims_of(verified)


@pytest.mark.parametrize("version", [1, 2])
def test_a_known_measurement_affirms_all(
    engine: PolicyEngine, verifier: CsvVerifier, platform: CsvPlatform, version: int
) -> None:
    claims = _claims(verifier, platform, version)
    assert _vector(engine, "default", claims, KNOWN) == {
        "instance-identity": 2, "hardware": 2, "executables": 3, "configuration": 3, "runtime-opaque": 2,
    }  # fmt: skip
    found = _vector(engine, "default_cpu", claims, KNOWN)
    assert (found["executables"], found["hardware"], found["configuration"]) == (3, 2, 3)


def test_without_one_version_1_affirms_nothing_and_version_2_the_platform(
    engine: PolicyEngine, verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    other = KNOWN | {"csv_measure": ["00" * 32]}
    first, second = (_claims(verifier, platform, version) for version in (1, 2))
    found = _vector(engine, "default", first, other)
    assert (found["hardware"], found["executables"], found["configuration"]) == (97, 96, 36)
    assert found["runtime-opaque"] == 0
    found = _vector(engine, "default", second, other)
    assert (found["hardware"], found["executables"], found["configuration"]) == (2, 96, 3)
    found = _vector(engine, "default_cpu", first, other)
    assert (found["executables"], found["hardware"], found["configuration"]) == (33, 97, 36)
    found = _vector(engine, "default_cpu", second, other)
    assert (found["executables"], found["hardware"], found["configuration"]) == (33, 2, 3)


@pytest.mark.parametrize("bit", [0x01, 0x02, 0x04, 0x08, 0x80])
def test_a_guest_that_is_open_has_no_configuration(
    engine: PolicyEngine, verifier: CsvVerifier, platform: CsvPlatform, bit: int
) -> None:
    claims = _claims(verifier, platform, 2, POLICY ^ bit)
    for policy in ("default", "default_cpu"):
        assert _vector(engine, policy, claims, KNOWN)["configuration"] == 36


def test_failed_checks_and_unbound_init_data_affirm_nothing(
    engine: PolicyEngine, verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    claims = _claims(verifier, platform, 2)
    found = _vector(engine, "default", claims, KNOWN, failed=["evidence.policy"])
    assert (found["hardware"], found["configuration"], found["instance-identity"]) == (97, 36, 97)
    assert _vector(engine, "default", claims, KNOWN, init_data="unsupported")["configuration"] == 36
