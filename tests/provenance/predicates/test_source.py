"""Source URIs and globs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.errors import SourceUntrusted
from provenance.predicates import source


def test_star_never_crosses_a_slash() -> None:
    pattern = "https://github.com/acme/cvm/.github/workflows/build.yml@refs/tags/*"
    assert source.glob_matches(pattern, pattern.replace("*", "v1.2.3"))
    assert not source.glob_matches(pattern, pattern.replace("*", "a/b/evil"))
    assert not source.glob_matches(pattern, pattern.replace("refs/tags/*", "refs/heads/main"))


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("refs/tags/v*", "refs/tags/v1", True),
        ("refs/tags/v*", "refs/tags/v", True),
        ("refs/tags/v*", "refs/tags/w1", False),
        ("refs/tags/v14.*", "refs/tags/v140", False),
        ("refs/tags/v*-rc*", "refs/tags/v1-rc2", True),
        ("refs/tags/v*-rc*", "refs/tags/v1", False),
        ("refs/tags/aa*aa", "refs/tags/aaa", False),
        ("refs/tags/v?", "refs/tags/v1", False),
        ("refs/tags/[v]1", "refs/tags/v1", False),
        ("refs/tags/v1", "refs/tags/v1\n", False),
        ("*", "a/b", False),
    ],
)
def test_glob(pattern: str, text: str, matches: bool) -> None:
    assert source.glob_matches(pattern, text) is matches


def test_glob_of_many_stars_is_quick() -> None:
    started = time.perf_counter()
    assert not source.glob_matches("*a" * 200 + "b", "a" * 5000)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "text",
    [
        "github.com/a/b",
        "https://github.com/a/b",
        "https://GitHub.com/a/b/",
        "git+https://github.com/a/b",
        "git+https://github.com/a/b.git",
        "git+https://github.com/a/b@refs/tags/v1",
    ],
)
def test_spellings_of_one_source_are_one(text: str) -> None:
    assert source.normalise(text) == "https://github.com/a/b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://",
        "http://github.com/a/b",
        "git+ssh://github.com/a/b",
        "file:///etc/passwd",
        "https://user@github.com/a/b",
        "https://github.com/a/../b",
        "https://github.com//b",
        "https://github.com/a/b?x=1",
        "https://github.com/a/b#x",
        "https://github.com/a/b\n",
        "https://github.com/a/ b",
        "https://gith\u00fcb.com/a/b",
    ],
)
def test_other_uris_are_refused(text: str) -> None:
    with pytest.raises(SourceUntrusted):
        source.normalise(text)


def test_a_longer_host_or_path_is_another_source() -> None:
    assert source.normalise("https://github.com/x/y") != source.normalise("https://github.com/x/y.evil")
    assert source.normalise("https://github.com/x") != source.normalise("https://github.com.evil/x")


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_normalises_once_or_raises_our_error(text: str) -> None:
    try:
        once = source.normalise(text)
    except TouchstoneError:
        return
    assert source.normalise(once) == once
