"""Ids are one spelling of one name: traversal, escapes, look-alikes and over-long ones are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidIdentifier, TouchstoneError
from kms import secret_id
from kms.secret_id import SecretKind, SecretRef

# Abuse case 31.
BAD_PATHS = [
    "",
    "a/b",
    "a/b/c/d",
    "/a/b/c",
    "a/b/c/",
    "a//c",
    "../b/c",
    "a/../c",
    "a/b/..",
    "a/b/c..d",
    ".a/b/c",
    "a/b/.",
    "%2e%2e/b/c",
    "a/b/%2e%2e",
    "a/b/c%00",
    "a/b/c\n",
    "a/b/c\r",
    "a\n/b/c",
    "a/b/c\0",
    "a/b/c d",
    "a\\b\\c/d/e",
    "a/b/\u0441",  # Cyrillic es
    "a/b/c\u0307",  # combining dot
    "\uff41/b/c",  # full-width a
    "a\u2215b/c/d",  # division slash
    "a/b/c\u200b",
    "a/b/" + "c" * 129,
    "x" * 10_000,
    "a/" * 5_000,
]
BAD_KEYS = ["", "..", "a..b", ".a", "-a", "_a", "a/b", "a%2eb", "a\n", "\u0430", "k" * 129, "k" * 10_000]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_resource_path_that_is_not_three_plain_segments_is_refused(path):
    with pytest.raises(InvalidIdentifier):
        secret_id.resource(path)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_id_that_is_not_an_identifier_is_refused(key):
    with pytest.raises(InvalidIdentifier):
        secret_id.key(key)


def test_the_refusal_does_not_quote_the_id():
    with pytest.raises(InvalidIdentifier) as caught:
        secret_id.resource("a/b/c\nforged log line")
    assert "forged" not in str(caught.value)


@pytest.mark.parametrize("path", ["default/key/1", "-r/_t/tag-1.2_3", "a/b/" + "c" * 128])
def test_what_coco_calls_a_resource_path_is_accepted(path):
    assert secret_id.resource(path).text == f"resource/{path}"


def test_a_key_and_a_resource_never_share_a_name():
    assert secret_id.key("a").text != SecretRef(SecretKind.RESOURCE, "a/b/c").text


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=40))
def test_any_text_is_a_plain_path_or_a_typed_refusal(text):
    try:
        ref = secret_id.resource(text)
    except TouchstoneError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*){2}", ref.id)
    assert ".." not in ref.id


@settings(deadline=None, max_examples=300)
@given(st.lists(st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_-]{0,20}", fullmatch=True), min_size=3, max_size=3))
def test_plain_segments_are_always_a_path(segments):
    path = "/".join(segments)
    assert secret_id.resource(path).id == path
