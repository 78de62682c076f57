"""The rule manifest-values: nothing of a manifest becomes a value without the request's word."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cbor2 import CBORTag

from common.errors import TouchstoneError
from provenance.derivation import derive
from provenance.errors import ExpiryInvalid, LaunchShapeInvalid, NotDerivable, PredicateUnexpected
from provenance.model import Artifact, DerivationRequest, DerivedValue
from testkit.authority import TestAuthority
from tests.provenance.builds import admit as admit_build
from tests.provenance.builds import sign as sign_build
from tests.provenance.manifests.material import (
    CLASS,
    DIGEST,
    NOW,
    admit,
    comid,
    corim,
    measurement,
    sign,
    time,
)

LINE = {"key": "text:kernel", "field": "digest.sha-384", "name": "snp_launch_measurement", "tee": "snp"}
OTHER = {0: {1: "Another"}}


def derived(
    content: bytes | None = None, *lines: dict[str, Any], **members: Any
) -> tuple[DerivedValue, ...]:
    launch = {"mapping": list(lines) or [LINE]} | members.pop("launch", {})
    request = DerivationRequest("manifest-values", launch, **members)
    return derive(admit(sign(content)), request, members.pop("artifacts", []))


def test_a_mapped_fact_is_a_value_with_its_origin_on_record() -> None:
    (value,) = derived()
    assert (value.name, value.value, value.tee, value.scalar) == (
        "snp_launch_measurement",
        DIGEST.hex(),
        "snp",
        False,
    )
    assert value.rule == "manifest-values/1"
    assert value.inputs["manifest"]["id"] == "text:corim-1"
    assert value.inputs["environment"]["vendor"] == "AMD"
    assert value.not_before == NOW


def test_what_is_not_mapped_refuses_and_is_named() -> None:
    content = corim(comid(measurement(), measurement("initrd")))
    with pytest.raises(NotDerivable, match="initrd"):
        derived(content)
    assert len(derived(content, launch={"unmapped": "ignore"})) == 1


def test_a_line_without_a_fact_refuses() -> None:
    for change in (
        {"key": "text:none"},
        {"field": "digest.sha-256"},
        {"environment": {"vendor": "X"}},
        {"endorsed": True},
    ):
        with pytest.raises(LaunchShapeInvalid, match="has no"):
            derived(None, LINE | change, launch={"unmapped": "ignore"})


def test_several_environments_need_the_requests_word() -> None:
    triples = {0: [[CLASS, [measurement()]], [OTHER, [measurement(digests=[[7, DIGEST[::-1]]])]]]}
    content = corim(comid(triples=triples))
    with pytest.raises(LaunchShapeInvalid, match="2 environments"):
        derived(content)
    assert len(derived(content, LINE | {"every_environment": True})) == 2
    (value,) = derived(
        content, LINE | {"environment": {"vendor": "Another"}}, launch={"unmapped": "ignore"}
    )
    assert value.value == DIGEST[::-1].hex()


def test_values_of_one_triple_are_one_group_and_of_two_are_two() -> None:
    second = measurement(digests=[[7, DIGEST[::-1]]])
    one = corim(comid(measurement(), measurement(1, svn=CBORTag(553, 4))))
    minimum = {"key": "uint:1", "field": "min-svn", "name": "snp_guest_svn", "tee": "snp"}
    values = derived(one, LINE, minimum, group="release-7")
    assert {value.group for value in values} == {"release-7"}
    assert [value.scalar for value in values] == [False, True]
    two = corim(comid(triples={0: [[CLASS, [measurement()]], [CLASS, [second]]]}))
    assert [value.group for value in derived(two, group="release-7")] == ["release-7.0", "release-7.1"]


def test_two_lines_for_one_fact_with_two_names_refuse() -> None:
    with pytest.raises(LaunchShapeInvalid, match="two lines"):
        derived(None, LINE, LINE | {"name": "another"})


def test_endorsed_values_are_taken_only_as_such() -> None:
    content = corim(comid(triples={1: [[CLASS, [measurement()]]]}))
    with pytest.raises(LaunchShapeInvalid):
        derived(content, launch={"unmapped": "ignore"})
    assert derived(content, LINE | {"endorsed": True})


def test_content_that_is_not_carried_refuses_unless_ignored() -> None:
    content = corim(comid(triples={0: [[CLASS, [measurement()]]], 10: [[[], []]]}))
    with pytest.raises(NotDerivable, match="conditional"):
        derived(content)
    assert derived(content, launch={"unsupported": "ignore"})


def test_a_masked_value_has_no_reference_value() -> None:
    content = corim(comid({0: "kernel", 1: {4: CBORTag(563, [b"\x01", b"\x0f"])}}))
    with pytest.raises(NotDerivable, match="express"):
        derived(content, LINE | {"field": "masked-value"})


def test_the_manifests_end_bounds_the_values() -> None:
    end = NOW + timedelta(days=10)
    content = corim(k4={1: time(end)})
    assert derived(content)[0].expires == end
    assert derived(content, expires=(NOW + timedelta(days=3)).isoformat())[0].expires == NOW + timedelta(
        days=3
    )
    assert derived(content, expires=(NOW + timedelta(days=30)).isoformat())[0].expires == end
    with pytest.raises(ExpiryInvalid):
        derived(content, expires=NOW.isoformat())


@pytest.mark.parametrize(
    "launch",
    [
        {},
        {"mapping": []},
        {"mapping": [LINE], "unknown": 1},
        {"mapping": [LINE], "unmapped": "maybe"},
        {"mapping": [LINE | {"extra": 1}]},
        {"mapping": [LINE | {"tee": "toaster"}]},
        {"mapping": [LINE | {"name": "not an identifier"}]},
        {"mapping": [{"key": "text:kernel"}]},
        {"mapping": [LINE] * 257},
    ],
)
def test_a_malformed_mapping_is_refused(launch: dict[str, Any]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        derive(admit(sign()), DerivationRequest("manifest-values", launch), [])


def test_a_value_that_its_name_does_not_allow_is_refused() -> None:
    content = corim(comid(measurement(digests=[[1, b"x" * 32]])))
    with pytest.raises(TouchstoneError):
        derived(content, LINE | {"field": "digest.sha-256"})


def test_artefacts_and_subjects_could_change_nothing() -> None:
    request = DerivationRequest("manifest-values", {"mapping": [LINE]}, {"kernel": "manifest"})
    with pytest.raises(NotDerivable):
        derive(admit(sign()), request, [])
    with pytest.raises(NotDerivable):
        derive(
            admit(sign()),
            DerivationRequest("manifest-values", {"mapping": [LINE]}),
            [Artifact("a", "a", b"")],
        )


def test_a_statement_without_a_manifest_is_refused(authority: TestAuthority) -> None:
    admitted = admit_build(authority, sign_build(authority))
    with pytest.raises(PredicateUnexpected):
        derive(admitted, DerivationRequest("manifest-values", {"mapping": [LINE]}), [])
