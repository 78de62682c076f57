"""The shipped policy over reports of a test platform: approved or not, nothing affirms."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from service.inspection import appraise
from testkit.sev_platform import POLICY, SevPlatform
from tests.verifier.sev.conftest import DIGEST, EXPECTED, NONCE, evidence_of, verifier_of
from verifier.sev.report import POLICY_NODBG

NOW = datetime(2026, 6, 1, tzinfo=UTC)
APPROVED = {"sev_launch_digest": [DIGEST.hex()]}
AFFIRM_ALL = """package policy
import rego.v1
trust_claims := {"instance-identity": 2, "configuration": 2, "executables": 2, "hardware": 2}
"""


def result(
    platform: SevPlatform, references: dict[str, Any], *, guest: int = POLICY, policy: str | None = None
) -> tuple[str, dict[str, int]]:
    evidence = evidence_of(platform, platform.report(DIGEST, guest, NONCE))
    verified = verifier_of(platform.authority).verify(evidence, EXPECTED, None, NOW)
    appraisal = appraise(verified, policy, references, NOW)
    return appraisal.status, appraisal.trust_vector


def test_an_approved_launch_is_genuine_with_known_vulnerabilities(platform: SevPlatform) -> None:
    status, found = result(platform, APPROVED)
    assert status == "warning"
    assert (found["hardware"], found["executables"], found["configuration"]) == (32, 3, 3)
    assert found["instance-identity"] == 0


def test_another_launch_and_a_debuggable_guest_are_contraindicated(platform: SevPlatform) -> None:
    assert result(platform, {})[1]["executables"] == 96
    status, found = result(platform, APPROVED, guest=POLICY & ~POLICY_NODBG)
    assert (status, found["configuration"]) == ("contraindicated", 96)


def test_no_policy_makes_it_affirming(platform: SevPlatform) -> None:
    status, found = result(platform, APPROVED, policy=AFFIRM_ALL)
    assert status == "warning"
    assert (found["instance-identity"], found["hardware"]) == (0, 32)
