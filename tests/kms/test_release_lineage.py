"""Lineage that changes, and secrets: trust domains, unverified values, releases that match as a whole."""

from __future__ import annotations

import pytest

from kms.errors import ReleaseDenied, ReleaseStale
from policy import shipped
from policy.port import PolicyKind
from rvps.ingest import ingest
from rvps.retraction import RetractionTarget, TargetKind, retract
from testkit.reference_values import admitted_statement, derived_value
from tests.kms.world import NOW, REF, guest_key, public_of
from verifier.ear import decode_unverified
from verifier.model import VerifiedEvidence

REBUILT = "5e" * 48
INPUTS = {"kernel": "ab" * 32}
TPM = {f"pcr{index:02d}": f"{index:02x}" * 32 for index in (0, 4, 7, 8, 9)} | {"safe": True}


@pytest.fixture(scope="module")
def key():
    return guest_key()


def _attest(world, seed, *domains, **more):
    admitted = admitted_statement(seed, domains=domains, required_domains=2, **more)
    values = [derived_value(REBUILT, inputs=INPUTS)]
    return ingest(world.database, admitted, values, submitted_by="ci", now=NOW)


def _token(world, key):
    return world.token(key, claims={"snp": {"measurement": REBUILT}})


def test_a_value_that_one_rebuilder_attests_releases_nothing(world, key):
    _attest(world, "east", "east")
    with pytest.raises(ReleaseDenied):
        world.service.release(_token(world, key), REF, NOW)


def test_losing_one_rebuilder_denies_the_release_of_a_token_in_force(world, key):
    east, west = _attest(world, "east", "east"), _attest(world, "west", "west")
    token = _token(world, key)
    world.service.release(token, REF, NOW)
    target = RetractionTarget(TargetKind.ATTESTATION, east.attestation)
    retract(world.database, target, reason="compromised", by="responder", now=NOW)
    with pytest.raises(ReleaseStale) as caught:
        world.service.release(token, REF, NOW)
    # The other rebuilder's value is not retracted; alone it does not count either.
    named = set(caught.value.details["reference_values"])
    assert named == {*east.added, *west.added}


def test_a_rule_that_is_retracted_denies_the_release(world, key):
    token = world.token(key)
    target = RetractionTarget(TargetKind.RULE, "snp-launch-digest/1")
    retract(world.database, target, reason="it was wrong", by="responder", now=NOW)
    with pytest.raises(ReleaseStale):
        world.service.release(token, REF, NOW)


LENIENT = """package policy

import rego.v1

default executables := 33

executables := 3 if {
	measurement := input.snp.measurement
	input.unverified_reference.snp_launch_measurement[measurement].value == measurement
}

trust_claims := {"executables": executables, "hardware": 2, "configuration": 2, "instance-identity": 2}
"""


@pytest.fixture
def claimed(world):
    admitted = admitted_statement("unsigned", unverified=True)
    values = [derived_value("0c" * 48)]
    return ingest(world.database, admitted, values, submitted_by="ci", now=NOW)


def test_a_value_that_nobody_signed_is_not_a_reference_value(world, key, claimed):
    for policy in ("default", "default_cpu"):
        world.activate(PolicyKind.APPRAISAL, shipped.load(PolicyKind.APPRAISAL, policy).text)
        token = world.token(key, claims={"snp": {"measurement": "0c" * 48}})
        assert decode_unverified(token)["touchstone"]["reference_values"] == []
        with pytest.raises(ReleaseDenied):
            world.service.release(token, REF, NOW)


def test_a_policy_that_affirms_one_does_not_meet_the_default_release_policy(world, key, claimed):
    world.activate(PolicyKind.APPRAISAL, LENIENT)
    token = world.token(key, claims={"snp": {"measurement": "0c" * 48}})
    additions = decode_unverified(token)["touchstone"]
    assert additions["reference_values"] == []
    assert additions["unverified_reference_values"] == list(claimed.added)
    with pytest.raises(ReleaseDenied) as caught:
        world.service.release(token, REF, NOW)
    assert "the result rests on no reference value" in caught.value.details["reasons"]


def test_retracting_one_stales_the_token_that_rests_on_it(world, key, claimed):
    world.activate(PolicyKind.APPRAISAL, LENIENT)
    rule = 'default allow := false\n\nallow if input.resource.kind == "resource"'
    world.activate(PolicyKind.RELEASE, f"package policy\n\nimport rego.v1\n\n{rule}\n")
    token = world.token(key, claims={"snp": {"measurement": "0c" * 48}})
    world.service.release(token, REF, NOW)
    target = RetractionTarget(TargetKind.ATTESTATION, claimed.attestation)
    retract(world.database, target, reason="r", by="responder", now=NOW)
    with pytest.raises(ReleaseStale):
        world.service.release(token, REF, NOW)


def _boot(world, group, registers):
    values = [
        derived_value(value, name=f"tpm_{name}", group=group, tee="tpm")
        for name, value in registers.items()
        if name != "safe"
    ]
    ingest(world.database, admitted_statement(group), values, submitted_by="ci", now=NOW)


def _appraise(world, key, registers):
    verified = VerifiedEvidence(
        tee="tpm",
        evidence_digest="ab" * 32,
        claims={"tpm": registers},
        comparable=("tpm",),
        checks=(),
        floors={},
        bound="session",
        init_data="absent",
        endorsements=(),
        identity="tpm-ek:" + "cd" * 32,
        tee_pubkey=public_of(key),
    )
    return world.appraiser.appraise_verified(verified, NOW, explain=True)


def test_a_kernel_of_one_release_with_the_command_line_of_another_is_refused(world, key):
    # The compound-value problem: confidential-containers/trustee#350.
    world.activate(PolicyKind.APPRAISAL, shipped.load(PolicyKind.APPRAISAL, "default").text)
    other = TPM | {"pcr08": "f8" * 32, "pcr09": "f9" * 32}
    _boot(world, "release-a", TPM)
    _boot(world, "release-b", other)
    for registers, group in ((TPM, "release-a"), (other, "release-b")):
        good = _appraise(world, key, registers)
        assert good.status == "affirming"
        assert good.explanation["reference_values"]["groups"] == [group]
    mixed = _appraise(world, key, TPM | {"pcr08": other["pcr08"]})
    assert mixed.status == "contraindicated"
    assert mixed.explanation["reference_values"]["groups"] == []
    (check,) = [item for item in mixed.explanation["checks"] if item["name"] == "reference.group"]
    assert check["verdict"] == "fail"
    assert check["observed"]["tpm_pcr08"] == ["release-b"]
    assert check["observed"]["tpm_pcr09"] == ["release-a"]
