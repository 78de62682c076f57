"""Paths and methods below ``/kbs/v0``: nothing but a plain path names a resource, whoever asks."""

from __future__ import annotations

import pytest

from tests.service.coco.conftest import SECRET, Kbs
from tests.service.coco.kbs import Guest

PATH = "resource/default/test/dummy"
ALLOW_ALL = "package policy\nallow := true\n"
OTHER_SPELLINGS = [
    "resource/default/test/..",
    "resource/default/test/../test/dummy",
    "resource/default/test/%2e%2e",
    "resource/default/test/%2e%2e%2ftest%2fdummy",
    "resource/default/test%2fdummy",
    "resource/default%2ftest/dummy/x",
    "resource//default/test/dummy",
    "resource/default/test/dummy/",
    "resource/default/test/",
    "resource/default/test/dummy%0a",
    "resource/default/test/dummy%00",
    "resource/default/test/dummy%20",
    "resource/default/test/.dummy",
    "resource/default/test/d%C3%BCmmy",
    "resource/default/test/dumm%D1%83",  # Cyrillic
    "resource/default/test/dummy%EF%BC%8E",
    "resource/default/test/%64ummy%25",
    "resource/default/test/" + "d" * 129,
    "resource/default/test/" + "d" * 10_000,
    "resource/" + "a/" * 40,
    "resource/default/test/%ff",
    "resource/default/test/*",
    "resource/default/test/dummy;x=1",
]


@pytest.fixture
def open_kbs(kbs: Kbs) -> Kbs:
    assert kbs.admin.resource_policy(ALLOW_ALL).status == 200
    return kbs


@pytest.fixture
def guest(open_kbs: Kbs) -> Guest:
    guest = open_kbs.guest()
    assert guest.attest().status == 200
    return guest


@pytest.mark.parametrize("path", OTHER_SPELLINGS, ids=lambda path: path[:50])
def test_case_31_other_spellings_name_nothing(open_kbs: Kbs, guest: Guest, path: str) -> None:
    answers = [guest.call("GET", path)]
    answers += [open_kbs.admin.call(method, path, b"x") for method in ("POST", "DELETE")]
    for answer in answers:
        assert 400 <= answer.status < 500, answer.body
        assert answer.variant in {"PluginInternalError", "PluginNotFound", "AdminAuthAccess", "SerdeError"}
    assert guest.open(guest.call("GET", PATH).json) == SECRET


def test_an_escape_of_a_plain_character_is_that_character_for_guests_alone(
    open_kbs: Kbs, guest: Guest
) -> None:
    """Access rules of administrators are held against what was sent, so nothing escaped gets there."""
    assert guest.open(guest.call("GET", "resource/default/test/dumm%79").json) == SECRET
    providers_rule = open_kbs.admin.call("DELETE", "resource/default/test/dumm%79")
    assert providers_rule.variant == "AdminAuthAccess"
    assert guest.call("GET", PATH).status == 200


@pytest.mark.parametrize("path", ["auth", "attest", PATH, "nosuch", "resource-policy"])
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_not_allowed(kbs: Kbs, method: str, path: str) -> None:
    answer = kbs.guest().call(method, path)
    assert (answer.status, answer.body) == (405, b"")
    assert answer.headers["Allow"] == "DELETE, GET, POST, PUT"


@pytest.mark.parametrize(
    "path", ["/kbs/v0", "/kbs", "/kbs/v1/auth", "/KBS/v0/auth", "/kbs/v0x/auth", "//kbs/v0/auth"]
)
def test_what_is_not_below_the_prefix_is_no_route(kbs: Kbs, path: str) -> None:
    assert kbs.http.post(path, json={}).status_code in {404, 405, 308}


@pytest.mark.parametrize("query", ["a=1&a=2", "a=1&a=1", "&".join(f"a{i}=1" for i in range(65)), "a=%ff"])
def test_a_query_that_could_be_read_in_two_ways_is_refused(guest: Guest, query: str) -> None:
    answer = guest.call("GET", f"{PATH}?{query}")
    assert (answer.status, answer.variant) == (400, "SerdeError")
