"""The shipped policies over evidence of a test machine: approved evidence affirms, every other does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from policy import shipped
from policy.port import PolicyKind
from service.inspection import appraise
from testkit.se_host import TAGS, image_header
from tests.verifier.se.conftest import EXPECTED, NOW, REPORT_DATA, World
from verifier.model import InitDataClaim, Unbound, VerifiedEvidence
from verifier.se.coco import SeCocoForm
from verifier.se.header import parse_header

TAG = TAGS[192:].hex()
APPROVED = {"se_tag": [TAG]}


def evidence(world: World, *, dumps: bool = False, known: bool = True, **changes: Any) -> VerifiedEvidence:
    headers = (parse_header(image_header(dumps=dumps)),) if known else ()
    arguments = {"expected": EXPECTED, "init_data": None, "now": NOW} | changes
    return world.verifier(image_headers=headers).verify(world.evidence(), **arguments)


def claims(
    verified: VerifiedEvidence, references: dict[str, Any], policy: str = "default"
) -> tuple[str, dict[str, int]]:
    source = shipped.load(PolicyKind.APPRAISAL, policy).text
    result = appraise(verified, source, references, NOW)
    return str(result.status), {name: int(value) for name, value in result.trust_vector.items()}


def test_approved_evidence_of_a_known_image_affirms(world: World) -> None:
    status, found = claims(evidence(world), APPROVED)
    assert status == "affirming"
    wanted = {
        "instance-identity": 2,
        "configuration": 3,
        "executables": 3,
        "hardware": 2,
        "runtime-opaque": 2,
    }
    assert found.items() >= wanted.items()


def test_each_thing_that_is_missing(world: World) -> None:
    assert claims(evidence(world), {"se_tag": ["00" * 16]})[1]["executables"] == 96
    assert claims(evidence(world, known=False), APPROVED)[1]["configuration"] == 36
    assert claims(evidence(world, dumps=True), APPROVED)[1]["configuration"] == 96
    assert claims(evidence(world, expected=Unbound()), APPROVED)[1]["instance-identity"] == 97
    unbound = InitDataClaim(digest=REPORT_DATA, data=b"")
    assert claims(evidence(world, init_data=unbound), APPROVED)[1]["configuration"] == 36


@pytest.mark.parametrize("left_out", ["se_tag", "se_image_phkh", "se_attestation_phkh", "se_version"])
def test_the_policy_in_cocos_style(world: World, left_out: str) -> None:
    verified = evidence(world)
    coco = msgspec.structs.replace(verified, claims=SeCocoForm().claims_of(verified))
    phkh = world.host.phkh.hex()
    declared: dict[str, Any] = {
        "se_tag": [TAG],
        "se_image_phkh": [phkh],
        "se_attestation_phkh": [phkh],
        "se_version": [256],
    }
    assert claims(coco, declared, "default_cpu")[0] == "affirming"
    del declared[left_out]
    _, found = claims(coco, declared, "default_cpu")
    claim = {"se_attestation_phkh": "hardware", "se_version": "configuration"}.get(left_out, "executables")
    assert found[claim] > 32
