"""Secrets and a wrapping key on a real token (SoftHSM)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from coco.errors import CocoSetting, PluginFailed, PluginUnavailable
from coco.plugins.hsm import Hsm, HsmConfig
from coco.plugins.pkcs11_plugin import Pkcs11Plugin
from coco.plugins.port import PluginCall
from kms.errors import AuditUnavailable
from testkit.softhsm import PIN, SoftHsm
from tests.components import require_softhsm

# The module is one for a process, and so is its folder.
pytestmark = pytest.mark.xdist_group("softhsm")
PATH = ("resource", "default", "key", "1")
TOKEN = "touchstone"


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    require_softhsm()
    soft = SoftHsm(tmp_path_factory.mktemp("softhsm") / "hsm")
    for label in (TOKEN, "other"):
        soft.make_token(label)
    soft.make_rsa_pair(TOKEN, "wrapping")
    for _ in range(2):
        soft.make_rsa_pair(TOKEN, "twice")
    return soft


def _config(soft, **changes):
    values = {
        "module": soft.module,
        "pin_file": soft.pin_file,
        "token_label": TOKEN,
        "lookup_label": "wrapping",
        "oaep_hash": "SHA-1",
    }
    return HsmConfig(**values | changes)


@pytest.fixture
def hsm(soft):
    opened = Hsm(_config(soft))
    yield opened
    opened.close()


@pytest.fixture
def plugin(hsm, audit):
    return Pkcs11Plugin(hsm, audit)


@pytest.fixture
def session(soft):
    """A second look at the token, past our code; in the login of the process."""

    def look(**wanted):
        token = pkcs11.lib(str(soft.module)).get_token(token_label=TOKEN)
        try:
            opened = token.open(rw=True, user_pin=PIN)
        except pkcs11.UserAlreadyLoggedIn:
            opened = token.open(rw=True)
        return opened, list(opened.get_objects({Attribute[name]: value for name, value in wanted.items()}))

    return look


def _call(method, path=PATH, body=b""):
    return PluginCall(method, path, {}, body)


def test_a_secret_is_stored_read_replaced_and_destroyed(plugin, events, session, now):
    for body in (b"first", b"\x00second\xff"):
        plugin.handle(_call("POST", body=body), by="alice", now=now)
        answer = plugin.handle(_call("GET"), by="guest", now=now)
        assert (answer.status, answer.body) == (200, body)
    opened, objects = session(LABEL="default/key/1")
    assert len(objects) == 1
    opened.close()
    plugin.handle(_call("DELETE"), by="alice", now=now)
    for method in ("GET", "DELETE"):
        with pytest.raises(PluginFailed, match="no such secret"):
            plugin.handle(_call(method), by="alice", now=now)
    actions = [action for action, _, _ in events()]
    assert actions == [
        *["pkcs11.put", "pkcs11.read"] * 2,
        "pkcs11.delete",
        "pkcs11.read",
        "pkcs11.delete",
    ]
    assert events()[0] == ("pkcs11.put", "pkcs11/default/key/1", "alice")


def test_a_secret_outlives_the_session(soft, plugin, hsm, now):
    plugin.handle(_call("POST", body=b"kept"), by="a", now=now)
    hsm.close()
    again = Hsm(_config(soft))
    assert again.read("default/key/1") == b"kept"
    again.close()


def test_the_newest_wins_where_a_crash_left_two(hsm, session, now):
    hsm.store("a/b/c", b"old", now)
    opened, _ = session(LABEL="none")
    opened.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.TOKEN: True,
            Attribute.SENSITIVE: False,
            Attribute.EXTRACTABLE: True,
            Attribute.LABEL: "a/b/c",
            Attribute.ID: b"\xff" * 12,
            Attribute.VALUE: b"by another program",
        }
    )
    opened.close()
    assert hsm.read("a/b/c") == b"by another program"
    hsm.store("a/b/c", b"new", now)
    assert hsm.read("a/b/c") == b"new"


def test_a_label_reaches_no_key_of_another_kind(hsm, session):
    opened, _ = session(LABEL="none")
    opened.generate_key(
        KeyType.AES, 256, label="keys/aes/1", store=True, template={Attribute.EXTRACTABLE: True}
    )
    opened.close()
    assert hsm.read("keys/aes/1") is None
    assert hsm.delete("keys/aes/1") is False


def test_a_secret_that_the_token_keeps_is_not_read(hsm, session):
    opened, _ = session(LABEL="none")
    opened.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.TOKEN: True,
            Attribute.SENSITIVE: True,
            Attribute.LABEL: "kept/in/token",
            Attribute.VALUE: b"never",
        }
    )
    opened.close()
    with pytest.raises(PluginUnavailable):
        hsm.read("kept/in/token")


def test_wrapping_and_unwrapping_under_the_tokens_key(plugin, events, now):
    wrapped = plugin.handle(_call("POST", ("wrap-key",), b"k" * 32), by="alice", now=now).body
    assert len(wrapped) == 256
    assert plugin.handle(_call("GET", ("wrap-key",), wrapped), by="guest", now=now).body == b"k" * 32
    assert [action for action, _, _ in events()] == ["pkcs11.wrap", "pkcs11.unwrap"]
    altered = bytes([wrapped[0] ^ 1]) + wrapped[1:]
    texts = set()
    for body in (altered, wrapped[:-1], b"x"):
        with pytest.raises((PluginFailed, PluginUnavailable)) as refusal:
            plugin.handle(_call("GET", ("wrap-key",), body), by="guest", now=now)
        texts.add(refusal.value.message)
    # What is wrong with a ciphertext is not told.
    assert len(texts) == 1
    with pytest.raises((PluginFailed, PluginUnavailable)):
        plugin.handle(_call("POST", ("wrap-key",), b"x" * 300), by="alice", now=now)
    assert plugin.handle(_call("GET", ("wrap-key",), wrapped), by="guest", now=now).body == b"k" * 32


def test_a_token_without_the_hash_says_so(soft, audit, now):
    # SoftHSM 2.6 takes no other hash for OAEP than SHA-1.
    hsm = Hsm(_config(soft, oaep_hash="SHA-256"))
    with pytest.raises(PluginUnavailable, match="ArgumentsBad"):
        Pkcs11Plugin(hsm, audit).handle(_call("POST", ("wrap-key",), b"x"), by="a", now=now)
    hsm.close()


@pytest.mark.parametrize("label", ["", "missing", "twice"])
def test_the_wrapping_key_is_one(soft, label):
    hsm = Hsm(_config(soft, lookup_label=label))
    with pytest.raises(PluginFailed, match="wrapping keys"):
        hsm.wrap(b"x")
    hsm.close()


def test_who_may_call_what(plugin):
    for path in (PATH, ("wrap-key",)):
        assert plugin.validate_auth(_call("GET", path)) is False
        assert plugin.validate_auth(_call("POST", path)) is True
        assert plugin.needs_encryption(_call("GET", path)) is True
    assert plugin.validate_auth(_call("DELETE")) is True


@pytest.mark.parametrize(
    "call",
    [
        _call("PUT"),
        _call("DELETE", ("wrap-key",)),
        _call("PUT", ("wrap-key",)),
        _call("GET", ("wrap-key", "x")),
        _call("GET", ()),
        _call("GET", ("resource",)),
        _call("GET", ("resource", "a", "b")),
        _call("GET", ("resource", "a", "b", "..")),
        _call("GET", ("resource", "a", "b", "%2e")),
        _call("GET", ("other", "a", "b", "c")),
    ],
    ids=str,
)
def test_what_is_no_call_of_the_plugin_is_refused(plugin, call, now):
    for ask in (plugin.validate_auth, plugin.needs_encryption, lambda c: plugin.handle(c, by="a", now=now)):
        with pytest.raises(PluginFailed):
            ask(call)


@pytest.mark.parametrize("body", [b"", b"x" * ((64 << 10) + 1)])
def test_a_secret_has_bounds(plugin, body, now, events):
    with pytest.raises(PluginFailed, match="bytes"):
        plugin.handle(_call("POST", body=body), by="a", now=now)
    assert events() == []


def test_a_change_that_cannot_be_recorded_is_not_made(plugin, hsm, database, now):
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE audit_head")
    with pytest.raises(AuditUnavailable):
        plugin.handle(_call("POST", ("resource", "un", "re", "corded"), b"x"), by="a", now=now)
    assert hsm.read("un/re/corded") is None


def test_a_pin_that_is_wrong_or_open_to_others_opens_nothing(soft, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text("0000")
    # Another token, for which this process holds no login.
    hsm = Hsm(_config(soft, pin_file=wrong, token_label="other"))
    with pytest.raises(PluginUnavailable, match="PinIncorrect"):
        hsm.read("a/b/c")
    readable = tmp_path / "readable"
    readable.write_text(PIN)
    readable.chmod(0o644)
    for pin_file in (readable, tmp_path / "missing"):
        with pytest.raises(PluginUnavailable, match="PIN file"):
            Hsm(_config(soft, pin_file=pin_file)).read("a/b/c")


def test_a_token_slot_or_module_that_is_not_there(soft, tmp_path):
    for changes in (
        {"token_label": "missing"},
        {"token_label": None, "slot_index": 99},
        {"module": tmp_path / "none.so"},
    ):
        with pytest.raises(PluginUnavailable):
            Hsm(_config(soft, **changes)).read("a/b/c")
    with pytest.raises(CocoSetting):
        Hsm(_config(soft, oaep_hash="MD5"))


# The library's own destructor complains of the session that is gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broken_session_is_opened_again(hsm, now):
    hsm.store("again/a/b", b"x", now)
    hsm._session.close()  # as when the token was taken out
    with pytest.raises(PluginUnavailable):
        hsm.read("again/a/b")
    assert hsm.read("again/a/b") == b"x"


def test_threads_take_turns(hsm, now):
    hsm.store("thread/a/b", b"value", now)
    seen, errors = [], []

    def work(number):
        try:
            for _ in range(10):
                seen.append(hsm.read("thread/a/b"))
                hsm.store(f"thread/own/{number}", str(number).encode(), now)
                assert hsm.read(f"thread/own/{number}") == str(number).encode()
                assert hsm.unwrap(hsm.wrap(b"data")) == b"data"
        except Exception as error:  # noqa: BLE001 (shown below)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(seen) == {b"value"}
    assert len(seen) == 60


_FORK = """
import os, sys, threading
from pathlib import Path
from datetime import UTC, datetime
from coco.plugins.hsm import Hsm, HsmConfig
module, pin, token = sys.argv[1:]
hsm = Hsm(HsmConfig(module=Path(module), pin_file=Path(pin), token_label=token))
now = datetime(2026, 1, 1, tzinfo=UTC)
hsm.store("fork/a/b", b"parent", now)
hsm._lock.acquire()  # as if another thread were in the HSM at the fork
child = os.fork()
if child == 0:
    good = hsm.read("fork/a/b") == b"parent"
    hsm.store("fork/a/child", b"child", now)
    os._exit(0 if good else 1)
hsm._lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert hsm.read("fork/a/b") == b"parent"
assert hsm.read("fork/a/child") == b"child"
"""


def test_parent_and_child_of_a_fork_have_sessions_of_their_own(soft):
    run = subprocess.run(
        [sys.executable, "-c", _FORK, str(soft.module), str(soft.pin_file), TOKEN],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
