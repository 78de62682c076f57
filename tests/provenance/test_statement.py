"""Statements: what passes every signature layer must still be refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance import statement
from provenance.errors import StatementMalformed

GOOD: dict[str, Any] = {
    "_type": statement.STATEMENT_V1,
    "subject": [{"name": "vmlinuz", "digest": {"sha256": "ab" * 32}}],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {},
}


def parse(**changes: Any) -> Any:
    return statement.parse(json.dumps(GOOD | changes).encode())


def subject(digest: Any, name: str = "vmlinuz") -> list[dict[str, Any]]:
    return [{"name": name, "digest": digest}]


def test_both_statement_versions_are_read() -> None:
    # cosign writes Statement v0.1 around SLSA v1.
    assert parse().type == statement.STATEMENT_V1
    assert parse(_type=statement.STATEMENT_V01).type == statement.STATEMENT_V01


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": "https://in-toto.io/Statement/v2"},
        {"subject": []},
        {"subject": None},
        {"subject": subject({})},
        {"subject": subject({"sha256": "zz"})},
        {"subject": subject({"sha256": "AB" * 32})},
        {"subject": subject({"sha256": "ab" * 31})},
        {"subject": subject({"sha256": "ab" * 32 + "\n"})},
        {"subject": subject({"sha1": "ab" * 20})},
        {"subject": subject({"md5": "ab" * 16, "sha1": "ab" * 20})},
        {"subject": subject({"gitCommit": "ab" * 20})},
        {"subject": subject({"sha256": 7})},
        {"subject": [*subject({"sha256": "ab" * 32}), *subject({"sha256": "cd" * 32})]},
        {"subject": [{"name": "x", "digest": {"sha256": "ab" * 32}, "extra": 1}]},
        {"subject": subject({"sha256": "ab" * 32}) * (statement.MAX_SUBJECTS + 1)},
        {"predicateType": ""},
        {"predicateType": 7},
        {"predicate": None},
        {"predicate": []},
        {"unexpected": True},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_malformed_statement_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StatementMalformed):
        parse(**changes)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"_type":NaN}',
        json.dumps(GOOD).encode() + b"x",
        json.dumps(GOOD).encode()[:-1] + b',"predicateType":"https://example.org/other"}',
        json.dumps(GOOD).replace('"sha256"', '"sha256": "' + "cd" * 32 + '", "sha256"').encode(),
        b"[" * 100_000,
    ],
    ids=lambda payload: payload[-24:].decode("latin-1"),
)
def test_payload_that_reads_in_two_ways_or_not_at_all_is_refused(payload: bytes) -> None:
    with pytest.raises(StatementMalformed):
        statement.parse(payload)


def test_weak_digest_beside_a_strong_one_is_kept_and_still_checked() -> None:
    parsed = parse(subject=subject({"sha256": "ab" * 32, "sha1": "cd" * 20}))
    assert parsed.subjects[0].digest == {"sha256": "ab" * 32, "sha1": "cd" * 20}
    with pytest.raises(StatementMalformed):
        parse(subject=subject({"sha256": "ab" * 32, "sha1": "xx"}))


def test_find_subject_compares_algorithm_and_digest() -> None:
    parsed = parse()
    assert statement.find_subject(parsed, "sha256", "ab" * 32) is parsed.subjects[0]
    assert statement.find_subject(parsed, "sha256", "ab" * 31) is None
    assert statement.find_subject(parsed, "sha512", "ab" * 32) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["_type", "subject", "predicateType", "predicate", "name", "digest", "sha256"]),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(value=json_values, cut=st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_any_json_parses_or_raises_our_error(value: Any, cut: int) -> None:
    for data in (json.dumps(value).encode(), json.dumps(GOOD | {"predicate": value}).encode()[:cut]):
        try:
            statement.parse(data)
        except TouchstoneError:
            continue
