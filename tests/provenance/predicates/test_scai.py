"""SCAI attribute reports, and how a trust policy's Rego sees them and bills of materials."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from policy.regorus_engine import RegorusEngine
from provenance.errors import PredicateUnexpected, TrustRefused
from provenance.pipeline import Pipeline
from provenance.predicates import scai
from provenance.predicates.contents import contents_of
from testkit.authority import TestAuthority
from tests.provenance import builds
from tests.provenance.predicates.test_components import DOCUMENTS, SHA256, statement

V02, V03 = scai.TYPES
REPORT: dict[str, Any] = {
    "attributes": [
        {
            "attribute": "WITH_STACK_PROTECTION",
            "target": {"name": "app", "digest": {"sha256": SHA256}},
            "conditions": {"flags": "-fstack-protector*"},
            "evidence": {"uri": "https://example.com/report.json", "mediaType": "application/json"},
            "later": "ignored",
        },
        {"attribute": "REPRODUCIBLE"},
    ],
    "producer": {"uri": "file:///usr/bin/gcc", "digest": {"gitCommit": "ab" * 20}},
}


@pytest.mark.parametrize("predicate_type", [V02, V03])
def test_a_report_gives_its_attributes(predicate_type: str) -> None:
    report = scai.report_of(statement(predicate_type, REPORT))
    assert report is not None
    first, second = report.attributes
    assert (first.attribute, first.conditions) == ("WITH_STACK_PROTECTION", {"flags": "-fstack-protector*"})
    assert first.target is not None
    assert first.target.digest == {"sha256": SHA256}
    assert first.evidence is not None
    assert first.evidence.media_type == "application/json"
    assert (second.target, second.evidence) == (None, None)
    assert report.producer is not None


def test_another_predicate_type_has_no_report() -> None:
    assert scai.report_of(statement("https://in-toto.io/attestation/scai/v0.1", REPORT)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"attributes": []},
        {"attributes": None},
        {"attributes": {}},
        {"attributes": [{"attribute": ""}]},
        {"attributes": [{"attribute": "a\nb"}]},
        {"attributes": [{"attribute": 1}]},
        {"attributes": [{"conditions": {}}]},
        {"attributes": [{"attribute": "A", "conditions": "x"}]},
        {"attributes": [{"attribute": "A", "target": {}}]},
        {"attributes": [{"attribute": "A", "evidence": {"mediaType": "a/b"}}]},
        {"attributes": [{"attribute": "A", "evidence": {"digest": {"sha256": "zz"}}}]},
        {"attributes": [{"attribute": "A", "evidence": {"digest": {"sha256": "AB" * 32}}}]},
        {"attributes": [{"attribute": "A"}] * 2000},
        {"producer": []},
    ],
)
def test_a_report_that_is_not_of_the_schema_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PredicateUnexpected):
        contents_of(statement(V03, REPORT | changes))


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(["attributes", "producer"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["attribute", "target", "evidence", "digest", "uri"]), inner, max_size=3
                )
            ),
            max_leaves=6,
        ),
    )
)
def test_only_our_errors_come_out_of_a_foreign_report(predicate: dict[str, Any]) -> None:
    try:
        scai.report_of(statement(V02, predicate))
    except TouchstoneError:
        pass


# -- through the pipeline


def _admit(authority: TestAuthority, kind: str, predicate: dict[str, Any], condition: str | None) -> None:
    payload = json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "image", "digest": {"sha256": SHA256}}],
            "predicateType": kind,
            "predicate": predicate,
        }
    ).encode()
    changes: dict[str, Any] = {"predicate_types": [kind], "builders": [], "sources": []}
    if condition is not None:
        changes["rego"] = (
            f"package trust\nimport rego.v1\ndefault allow := false\nallow if {{ {condition} }}\n"
        )
    pipeline = Pipeline(builds.policy(authority, **changes), RegorusEngine())
    pipeline.admit(builds.sign(authority, payload), builds.NOW)


@pytest.mark.parametrize(
    ("kind", "condition", "allowed"),
    [
        (
            "https://spdx.dev/Document",
            'some c in input.components; c.name == "openssl"; c.version == "3.0.11"',
            True,
        ),
        ("https://spdx.dev/Document", 'some c in input.components; c.name == "log4j"', False),
        ("https://cyclonedx.org/bom", f'some c in input.components; c.digests.sha256 == "{SHA256}"', True),
        ("https://cyclonedx.org/bom", "input.attributes == null; input.producer == null", True),
        (V03, 'some a in input.attributes; a.attribute == "REPRODUCIBLE"', True),
        (V03, 'some a in input.attributes; a.attribute == "HAND_MADE"', False),
        (V03, 'input.components == null; input.producer.uri == "file:///usr/bin/gcc"', True),
    ],
)
def test_a_policy_s_rego_sees_the_facts(
    authority: TestAuthority, kind: str, condition: str, allowed: bool
) -> None:
    predicate = DOCUMENTS.get(kind, REPORT)
    if allowed:
        _admit(authority, kind, predicate, condition)
    else:
        with pytest.raises(TrustRefused):
            _admit(authority, kind, predicate, condition)


@pytest.mark.parametrize("kind", ["https://spdx.dev/Document", "https://cyclonedx.org/bom/v1.5", V02])
def test_a_malformed_document_is_refused_also_without_rego(authority: TestAuthority, kind: str) -> None:
    with pytest.raises(PredicateUnexpected):
        _admit(authority, kind, {"name": "image"}, None)
