"""A rule's pattern matches whole paths only, means what Python's ``re`` means, and cannot be made slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coco.endpoint_pattern import EndpointPattern
from coco.errors import CocoSetting


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("^/kbs/.+$", "/kbs/v0/resource/a/b/c", True),
        ("^/kbs/.+$", "/kbs/", False),
        ("^/kbs/.+$", "/kbs/v0/a\nb", False),
        ("^/kbs/v0/resource-policy$", "/kbs/v0/resource-policy", True),
        ("^/kbs/v0/resource-policy$", "/kbs/v0/resource-policy\n", False),
        ("^/kbs/v0/resource-policy$", "/kbs/v0/resource-policyx", False),
        ("^/kbs/v0/resource/[^/]+/[^/]+/[^/]+$", "/kbs/v0/resource/a/b/c", True),
        ("^/kbs/v0/resource/[^/]+/[^/]+/[^/]+$", "/kbs/v0/resource/a/b/c/d", False),
        ("^/kbs/v0/(?:resource|reference-value)/.*$", "/kbs/v0/reference-value/x", True),
        ("^/kbs/v0/(resource|policy)$", "/kbs/v0/policies", False),
        (r"^/kbs/v\d/team-[a-c]{2,3}$", "/kbs/v0/team-abc", True),
        (r"^/kbs/v\d/team-[a-c]{2,3}$", "/kbs/v0/team-abca", False),
        (r"^/kbs/v0/a\.b$", "/kbs/v0/axb", False),
        ("^/kbs/(a+)+$", "/kbs/aaaa", True),
        ("^/kbs/.+$", "/kbs/" + "a" * 2000, False),
    ],
)
def test_a_pattern_matches_the_whole_path_or_nothing(pattern, path, expected):
    assert EndpointPattern(pattern).matches(path) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/kbs/.*$",
        "^/kbs/.*",
        "^/kbs$",
        "^/.*$",
        "^/kbs/a|.*$",
        "^/kbs/a|/kbs/b$",
        r"^/kbs/a\$",
        "^/kbs/(?i)A$",
        "^/kbs/(?=a).*$",
        r"^/kbs/(a)\1$",
        "^/kbs/(a$",
        "^/kbs/a)$",
        "^/kbs/()$",
        "^/kbs/(a|)$",
        "^/kbs/a**$",
        "^/kbs/a*?$",
        "^/kbs/a{3,1}$",
        "^/kbs/[a$",
        "^/kbs/[a--b]$",
        "^/kbs/[[:alpha:]]$",
        "^/kbs/[z-a]$",
        "^/kbs/a^b$",
        r"^/kbs/\b$",
        "^/kbs/\u00e9$",
        "^/kbs/" + "(" * 20 + "a" + ")" * 20 + "$",
        "^/kbs/((a{100}){100}){100}$",
        "^/kbs/" + "a" * 600 + "$",
    ],
)
def test_a_pattern_that_is_open_or_of_another_dialect_is_refused(pattern):
    with pytest.raises(CocoSetting):
        EndpointPattern(pattern)


@pytest.mark.parametrize("inner", ["(a+)+b", "(a|a)*b", "(a*)*b", ".*.*.*.*.*.*b", "(.*a){20}b"])
def test_no_path_makes_a_pattern_slow(inner):
    pattern = EndpointPattern(f"^/kbs/{inner}$")
    begin = time.perf_counter()
    assert not pattern.matches("/kbs/" + "a" * 1000)
    assert time.perf_counter() - begin < 2


_atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\.", "/"])
_patterns = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("({}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(_patterns, st.text("ab./", max_size=6))
def test_it_means_what_the_standard_library_means(inner, rest):
    pattern = EndpointPattern(f"^/kbs/{inner}$")
    path = "/kbs/" + rest
    assert pattern.matches(path) is bool(re.fullmatch(f"/kbs/{inner}", path, re.ASCII))
