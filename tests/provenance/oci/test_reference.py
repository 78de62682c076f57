"""Image references: what is one, what it stands for."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provenance.oci import reference
from provenance.oci.errors import ImageReferenceInvalid

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "image:",
        "image@",
        "image@sha256:abcd",
        f"image@{DIGEST.upper()}",
        "image@sha512:" + "ab" * 64,
        f"image@{DIGEST}@{DIGEST}",
        "../etc/passwd",
        "registry.test/../secret",
        "registry.test/a//b",
        "registry.test/",
        "registry.test/A/b",
        "registry.test/a?x=1",
        "registry.test/a#b",
        "registry.test/a b",
        "registry.test/a%2e%2e/b",
        "registry.test:0/a",
        "registry.test:99999/a",
        "user:password@registry.test/a",
        "https://registry.test/a",
        "registry.test/a:" + "t" * 129,
        "registry.test/a:-tag",
        "registry.test/" + "a" * 300,
        "registry.test/a\n",
        "registry.test/a:v1\n",
        "régistry.test/a",
        "-registry.test/a",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ImageReferenceInvalid):
        reference.parse(text)


@pytest.mark.parametrize(
    ("text", "full", "host"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest", "registry-1.docker.io"),
        ("acme/cvm:v1", "docker.io/acme/cvm:v1", "registry-1.docker.io"),
        ("index.docker.io/acme/cvm", "docker.io/acme/cvm:latest", "registry-1.docker.io"),
        ("localhost/cvm", "localhost/cvm:latest", "localhost"),
        ("127.0.0.1:5000/acme/cvm:v1", "127.0.0.1:5000/acme/cvm:v1", "127.0.0.1:5000"),
        ("[::1]:5000/cvm", "[::1]:5000/cvm:latest", "[::1]:5000"),
        ("GHCR.io/acme/c__v-m.x", "ghcr.io/acme/c__v-m.x:latest", "ghcr.io"),
        (f"ghcr.io/acme/cvm@{DIGEST}", f"ghcr.io/acme/cvm@{DIGEST}", "ghcr.io"),
    ],
)
def test_a_reference_is_normalised_as_docker_does(text: str, full: str, host: str) -> None:
    parsed = reference.parse(text)
    assert (str(parsed), parsed.api_host) == (full, host)
    assert reference.parse(full) == parsed


def test_a_digest_wins_over_the_tag_beside_it() -> None:
    parsed = reference.parse(f"ghcr.io/acme/cvm:v1@{DIGEST}")
    assert (parsed.tag, parsed.wanted) == (None, DIGEST)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="aZ09.:/@-_[]sh256%?#\n ", max_size=80))
@example("a" * 2000)
@example("Z/0")
@example("LOCALHOST/a")
def test_any_text_is_a_reference_or_refused_with_our_error(text: str) -> None:
    try:
        parsed = reference.parse(text)
    except ImageReferenceInvalid:
        return
    assert reference.parse(str(parsed)) == parsed
    assert ".." not in parsed.repository.split("/")
