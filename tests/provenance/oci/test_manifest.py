"""Manifests and indexes: strict where they are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.oci import manifest
from provenance.oci.errors import RegistryContentInvalid

DIGEST = "sha256:" + "ab" * 32
LAYER = {"mediaType": "application/x", "digest": DIGEST, "size": 3}
GOOD: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": manifest.IMAGE_MANIFEST,
    "config": LAYER,
    "layers": [LAYER],
}
INDEX: dict[str, Any] = {"schemaVersion": 2, "mediaType": manifest.IMAGE_INDEX, "manifests": [LAYER]}


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 1},
        {"schemaVersion": "2"},
        {"mediaType": manifest.IMAGE_INDEX},
        {"manifests": []},
        {"layers": None},
        {"layers": [LAYER] * (manifest.MAX_LAYERS + 1)},
        {"layers": [LAYER | {"digest": "sha256:short"}]},
        {"layers": [LAYER | {"digest": "md5:" + "ab" * 16}]},
        {"layers": [LAYER | {"digest": DIGEST.upper()}]},
        {"layers": [LAYER | {"size": -1}]},
        {"layers": [LAYER | {"size": 1.5}]},
        {"layers": [LAYER | {"annotations": {"a": 1}}]},
        {"subject": {"digest": DIGEST}},
        {"subject": LAYER | {"digest": "../../etc"}},
    ],
)
def test_a_manifest_of_another_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RegistryContentInvalid):
        manifest.parse_manifest(json.dumps(GOOD | changes).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"schemaVersion":2,"schemaVersion":2}',
        b"[" * 100,
        b" " * (manifest.MAX_MANIFEST_BYTES + 1),
    ],
)
def test_what_is_no_strict_json_object_is_refused(data: bytes) -> None:
    for parse in (manifest.parse_manifest, manifest.parse_index, manifest.stated_type):
        with pytest.raises(RegistryContentInvalid):
            parse(data)


def test_an_index_with_more_entries_than_the_limit_is_refused() -> None:
    bomb = INDEX | {"manifests": [LAYER] * (manifest.MAX_INDEX_ENTRIES + 1)}
    with pytest.raises(RegistryContentInvalid, match="the limit is"):
        manifest.parse_index(json.dumps(bomb).encode())


def test_a_document_that_is_both_manifest_and_index_is_neither() -> None:
    both = json.dumps(GOOD | INDEX).encode()
    for parse in (manifest.parse_manifest, manifest.parse_index, manifest.stated_type):
        with pytest.raises(RegistryContentInvalid, match="both"):
            parse(both)


def test_members_that_nothing_here_reads_are_left_alone() -> None:
    parsed = manifest.parse_manifest(json.dumps(GOOD | {"future": 1, "subject": LAYER}).encode())
    assert parsed.subject is not None
    assert parsed.subject.digest == DIGEST
    assert manifest.parse_index(json.dumps(INDEX).encode()).manifests[0].size == 3


@settings(deadline=None, max_examples=150)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=4) | st.just(DIGEST),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["schemaVersion", "config", "layers", "manifests", "digest", "size", "mediaType"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    ),
    st.integers(0, 200),
)
def test_foreign_bytes_give_a_manifest_or_our_error(value: object, cut: int) -> None:
    for data in (json.dumps(value).encode(), json.dumps(GOOD | {"layers": value}).encode()[: cut or None]):
        for parse in (manifest.parse_manifest, manifest.parse_index):
            try:
                parse(data)
            except TouchstoneError:
                continue
