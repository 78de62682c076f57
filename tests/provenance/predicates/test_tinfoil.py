"""Tinfoil's predicates: strict, and through a real bundle to values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.errors import PredicateUnexpected
from provenance.model import DerivationRequest, Statement, Subject
from provenance.pipeline import Pipeline
from provenance.predicates import tinfoil
from provenance.statement import STATEMENT_V1
from testkit.authority import TestAuthority
from tests.provenance.builds import IDENTITY, NOW, policy

SNP, RTMR1, RTMR2 = "a1" * 48, "b1" * 48, "b2" * 48
PREDICATE: dict[str, Any] = {
    "snp_measurement": SNP,
    "tdx_measurement": {"rtmr1": RTMR1, "rtmr2": RTMR2},
    "vm_shape": {"cpus": 16, "memory_mb": 65536, "gpus": 1, "disks": 2},
    "cmdline": "readonly=on",
    "hashes": {"kernel": "ab"},
    "config": {"cpus": 16},
}
HARDWARE = {
    "box@1": {"mrtd": "c1" * 48, "rtmr0": "c2" * 48},
    "box@2": {"mrtd": "d1" * 48, "rtmr0": "d2" * 48},
}


def statement(predicate: Any = PREDICATE, kind: str = tinfoil.MULTIPLATFORM) -> Statement:
    return Statement(STATEMENT_V1, (Subject("x", {"sha256": "0" * 64}),), kind, predicate)


def test_measurements_are_read_into_a_group_for_each_tee() -> None:
    found = tinfoil.manifest_of(statement()).facts
    assert [(fact.group, fact.key, fact.value) for fact in found] == [
        ("snp", "snp_measurement", SNP),
        ("tdx", "tdx_measurement.rtmr1", RTMR1),
        ("tdx", "tdx_measurement.rtmr2", RTMR2),
    ]


def test_every_platform_is_a_group_with_its_name_in_the_environment() -> None:
    found = tinfoil.manifest_of(statement(HARDWARE, tinfoil.HARDWARE)).facts
    assert [(fact.group, fact.key, fact.environment) for fact in found][:3] == [
        ("box@1", "mrtd", {"platform": "box@1"}),
        ("box@1", "rtmr0", {"platform": "box@1"}),
        ("box@2", "mrtd", {"platform": "box@2"}),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"snp_measurement": None},
        {"snp_measurement": SNP.upper()},
        {"snp_measurement": SNP[:-2]},
        {"tdx_measurement": {"rtmr1": RTMR1}},
        {"tdx_measurement": {"rtmr1": RTMR1, "rtmr2": RTMR2, "rtmr3": RTMR2}},
        {"vm_shape": {"cpus": 1}},
        {"vm_shape": PREDICATE["vm_shape"] | {"cpus": -1}},
        {"hashes": {"kernel": 1}},
        {"cmdline": 5},
    ],
)
def test_a_predicate_that_is_not_exact_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PredicateUnexpected):
        tinfoil.manifest_of(statement(PREDICATE | changes))


@pytest.mark.parametrize(
    "predicate",
    [
        {},
        {"": HARDWARE["box@1"]},
        {"box": {"mrtd": SNP}},
        {"box": {"mrtd": SNP, "rtmr0": "x"}},
        {"b\n": HARDWARE["box@1"]},
    ],
)
def test_hardware_measurements_that_are_not_exact_are_refused(predicate: Any) -> None:
    with pytest.raises(PredicateUnexpected):
        tinfoil.manifest_of(statement(predicate, tinfoil.HARDWARE))


def test_a_bundle_with_the_predicate_becomes_values(authority: TestAuthority) -> None:
    payload = {
        "_type": STATEMENT_V1,
        "subject": [{"name": "image", "digest": {"sha256": "ab" * 32}}],
        "predicateType": tinfoil.MULTIPLATFORM,
        "predicate": PREDICATE,
    }
    envelope = authority.sign_statement(json.dumps(payload).encode(), identity=IDENTITY, now=NOW)
    pipeline = Pipeline(policy(authority, predicate_types=[tinfoil.MULTIPLATFORM], builders=[], sources=[]))
    line = {
        "key": "snp_measurement",
        "field": "digest.sha-384",
        "name": "snp_launch_measurement",
        "tee": "snp",
    }
    request = DerivationRequest(
        "manifest-values", {"mapping": [line], "unmapped": "ignore"}, group="release-7"
    )
    (value,) = pipeline.derive(pipeline.admit(envelope, NOW), request, [])
    assert (value.name, value.value, value.tee, value.group) == (
        "snp_launch_measurement",
        SNP,
        "snp",
        "release-7.0",
    )


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from([*PREDICATE, "x"]), st.none() | st.text(max_size=4) | st.integers() | st.just({})
    ),
    st.sampled_from(tinfoil.PREDICATE_TYPES),
)
def test_any_predicate_gives_values_or_our_error(predicate: dict[str, Any], kind: str) -> None:
    try:
        tinfoil.manifest_of(statement(predicate, kind))
    except TouchstoneError:
        pass
