"""Administrators write, list and destroy resources, with a record; a guest's GET is not answered here."""

from __future__ import annotations

import json

import pytest

from coco.errors import PluginFailed
from coco.plugins.port import PluginCall
from coco.plugins.resource import ResourcePlugin, path_ref, resource_ref
from common.errors import TooLarge, TouchstoneError
from kms import secret_id
from kms.errors import AuditUnavailable, SecretNotFound

PATH = ("default", "test", "dummy")


@pytest.fixture
def plugin(secrets):
    return ResourcePlugin(secrets, release_policy="kbs")


def _call(method, path=PATH, body=b"", **query):
    return PluginCall(method, path, query, body)


def test_post_stores_the_next_version_under_the_kbs_policy(plugin, secrets, events, now):
    for body in (b"1234567890abcde\n", b"second"):
        answer = plugin.handle(_call("POST", body=body), by="alice (idp)", now=now)
        assert (answer.status, answer.body) == (200, b"")
    info = secrets.describe(secret_id.resource("default/test/dummy"))
    assert [(v.version, v.size, v.release_policy) for v in info.versions] == [(1, 16, "kbs"), (2, 6, "kbs")]
    assert events() == [("secret.put", "resource/default/test/dummy", "alice (idp)")] * 2


def test_delete_destroys_every_version_and_a_second_time_there_is_none(plugin, secrets, events, now):
    plugin.handle(_call("POST", body=b"x"), by="a", now=now)
    plugin.handle(_call("POST", body=b"y"), by="a", now=now)
    plugin.handle(_call("DELETE"), by="a", now=now)
    states = {v.state.value for v in secrets.describe(path_ref(PATH)).versions}
    assert states == {"destroyed"}
    assert len(events()) == 4
    for path in (PATH, ("default", "test", "never")):
        with pytest.raises(SecretNotFound):
            plugin.handle(_call("DELETE", path), by="a", now=now)
    plugin.handle(_call("POST", body=b"again"), by="a", now=now)
    assert secrets.describe(path_ref(PATH)).latest_version == 3


def test_a_change_that_cannot_be_recorded_is_not_made(plugin, secrets, database, now):
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE audit_head")
    with pytest.raises(AuditUnavailable):
        plugin.handle(_call("POST", body=b"x"), by="a", now=now)
    assert secrets.find(path_ref(PATH)) is None


def test_who_may_call_what(plugin):
    assert plugin.validate_auth(_call("GET")) is False
    assert plugin.needs_encryption(_call("GET")) is True
    for call in (_call("POST"), _call("DELETE"), _call("GET", ())):
        assert plugin.validate_auth(call) is True
        assert plugin.needs_encryption(call) is False


@pytest.mark.parametrize(
    "call",
    [
        _call("PUT"),
        _call("PATCH"),
        _call("HEAD"),
        _call("get"),
        _call("GET", ("onlyone",)),
        _call("GET", (*PATH, "d")),
        _call("POST", ()),
        _call("DELETE", ("a", "b")),
    ],
    ids=str,
)
def test_what_is_no_call_of_the_plugin_is_refused_by_each_method(plugin, call, now):
    for ask in (plugin.validate_auth, plugin.needs_encryption, lambda c: plugin.handle(c, by="a", now=now)):
        with pytest.raises(PluginFailed):
            ask(call)


def test_a_guests_get_is_not_answered_here(plugin, now):
    plugin.handle(_call("POST", body=b"secret"), by="a", now=now)
    with pytest.raises(PluginFailed, match="release"):
        plugin.handle(_call("GET"), by="guest", now=now)


@pytest.mark.parametrize(
    "path",
    [
        ("..", "..", "etc"),
        (".hidden", "b", "c"),
        ("a", "b", "..%2f..%2fkbs"),
        ("a", "b", ""),
        ("a", "b/c", "d"),
        ("a", "b", "c d"),
        ("a", "b", "c\n"),
        ("a", "b", "\u00e9"),
        ("a", "b", "c" * 129),
        ("a b", "c", "d"),
    ],
)
def test_a_path_that_is_none_names_nothing(plugin, path, now):
    for call in (
        lambda: path_ref(path),
        lambda: plugin.handle(_call("POST", path, b"x"), by="a", now=now),
    ):
        with pytest.raises(PluginFailed):
            call()


@pytest.mark.parametrize("path", [("default", "key", "1"), ("_a", "-b", "c.d-e_f"), ("A" * 128, "b", "c")])
def test_the_paths_of_the_reference_are_taken(path):
    assert path_ref(path).id == resource_ref(_call("GET", path)).id == "/".join(path)


@pytest.mark.parametrize(("body", "refusal"), [(b"", PluginFailed), (b"x" * 4097, TooLarge)])
def test_empty_and_too_large_are_refused(plugin, body, refusal, now):
    with pytest.raises(refusal):
        plugin.handle(_call("POST", body=body), by="a", now=now)


def test_the_listing_shows_names_and_states_page_by_page_and_no_secret(plugin, now):
    for tag in ("a", "b", "c"):
        plugin.handle(_call("POST", ("r", "t", tag), b"very secret"), by="a", now=now)
    plugin.handle(_call("DELETE", ("r", "t", "b")), by="a", now=now)
    answer = plugin.handle(_call("GET", (), limit="2"), by="a", now=now)
    assert answer.content_type == "application/json"
    page = json.loads(answer.body)
    assert page["resources"] == [
        {"path": "r/t/a", "version": 1, "state": "active", "size": 11},
        {"path": "r/t/b", "version": 1, "state": "destroyed", "size": 11},
    ]
    last = json.loads(plugin.handle(_call("GET", (), cursor=page["next"]), by="a", now=now).body)
    assert [item["path"] for item in last["resources"]] == ["r/t/c"]
    assert last["next"] is None


@pytest.mark.parametrize("limit", ["0", "501", "-1", "x", "", "1e3", "\u0661", "9" * 5000])
def test_a_limit_is_a_small_number(plugin, limit, now):
    with pytest.raises(TouchstoneError):
        plugin.handle(_call("GET", (), limit=limit), by="a", now=now)
