"""Flow A's first half, whole: envelope -> authentic -> admitted -> derived."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from provenance.errors import NotDerivable, PredicateUnexpected, SubjectMismatch
from provenance.model import Artifact, DerivationRequest, DerivedValue
from provenance.pipeline import Pipeline
from provenance.predicates import reference_statement
from provenance.predicates.reference import PREDICATE_TYPE
from testkit.authority import TestAuthority
from tests.provenance.builds import IDENTITY, NOW, policy, sign, statement

FIRMWARE = b"firmware"


def test_artifact_that_is_no_subject_is_refused(authority: TestAuthority) -> None:
    pipeline = Pipeline(policy(authority))
    admitted = pipeline.admit(sign(authority), NOW)
    request = DerivationRequest(
        rule="snp-launch-digest",
        launch={
            "vmm": "QEMU",
            "vcpus": 1,
            "vcpu_type": "EPYC-v4",
            "guest_features": 1,
            "kernel_hashes": False,
        },
    )
    with pytest.raises(SubjectMismatch):
        pipeline.derive(admitted, request, [Artifact("firmware", "OVMF.fd", FIRMWARE)])


def test_statement_without_the_predicate_of_a_rule_derives_nothing(authority: TestAuthority) -> None:
    pipeline = Pipeline(policy(authority))
    admitted = pipeline.admit(sign(authority), NOW)
    with pytest.raises(PredicateUnexpected):
        pipeline.derive(admitted, DerivationRequest(rule="reference-values"), [])


def test_values_carried_by_a_signed_statement_come_back_with_their_source(
    authority: TestAuthority,
) -> None:
    digest = hashlib.sha256(FIRMWARE).hexdigest()
    admitted = Pipeline(policy(authority)).admit(
        sign(authority, statement(subjects={"OVMF.fd": digest})), NOW
    )
    value = DerivedValue(
        name="snp_launch_measurement",
        value="ab" * 48,
        tee="snp",
        group="release-1",
        rule="snp-launch-digest/1",
        inputs={"artifacts": {"firmware": digest}},
        not_before=NOW,
    )
    key = ed25519.Ed25519PrivateKey.generate()
    carried = reference_statement.build(
        [reference_statement.source_of(admitted)], [value], now=NOW + timedelta(minutes=1)
    )
    envelope = reference_statement.sign(carried, key)
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    root = {"name": "key", "kind": "public-key", "algorithm": "ed25519", "key": pem.decode()}
    receiver = Pipeline(
        policy(
            None,
            roots=[root],
            signers=[{"name": "builder", "root": "key"}],
            predicate_types=[PREDICATE_TYPE],
            builders=[],
            sources=[],
        )
    )
    received = receiver.admit(envelope, NOW + timedelta(minutes=2))
    (derived,) = receiver.derive(received, DerivationRequest(rule="reference-values"), [])
    assert (derived.name, derived.value, derived.group) == (value.name, value.value, "release-1")
    assert derived.inputs["derivedFrom"][0]["attestation"] == admitted.authentic.attestation
    assert IDENTITY in str(derived.inputs["derivedFrom"])
    with pytest.raises(NotDerivable):
        receiver.derive(
            received,
            DerivationRequest(rule="reference-values"),
            [Artifact("firmware", "OVMF.fd", FIRMWARE)],
        )
