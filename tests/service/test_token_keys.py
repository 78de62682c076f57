"""The keys as running workers see them: changes of the folder are taken up, at once where it matters."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from common.errors import InvalidSetting
from service import token_keys as module
from service.keys import KeyFolder, KeyOptions
from service.token_keys import TokenKeys
from tests.service.test_keys import LEAD, NOW, Chain, write_key
from verifier.coco_token import CocoForm, CocoVerifier
from verifier.compact import MAX_TOKEN_BYTES, header_of, public_jwk
from verifier.ear import EarVerifier
from verifier.errors import EarInvalid

CLAIMS = {"iss": "coco", "eat_profile": "p"}


def view(path: Path, options: KeyOptions | None = None, form: CocoForm | None = None) -> TokenKeys:
    folder = KeyFolder(path, options or KeyOptions(lead=LEAD))
    return TokenKeys(folder, issuer="i", developer="d", build="b", form=form or CocoForm(), now=NOW)


def ears(keys: TokenKeys) -> EarVerifier:
    return EarVerifier(keys, issuer="i", audience="a")


def coco(keys: TokenKeys) -> CocoVerifier:
    return CocoVerifier(keys, issuer="coco", profile="p")


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the files at every use, not once a second."""
    monkeypatch.setattr(module, "_CHECK_INTERVAL_S", 0.0)


def coco_kid(keys: TokenKeys, now: datetime) -> str:
    """Of the key that signs tokens for Confidential Containers at ``now``."""
    return str(header_of(keys.sign_coco(CLAIMS, now=now, expires=now + LEAD))["kid"])


@pytest.mark.usefixtures("no_waiting")
def test_workers_take_up_a_rotation_and_turn_to_it_at_the_same_time(tmp_path: Path) -> None:
    one, other = view(tmp_path), view(tmp_path)
    old = one.signer(NOW).kid
    new = KeyFolder(tmp_path, KeyOptions(lead=LEAD)).rotate(NOW).kid
    for keys in (one, other):
        assert [key["kid"] for key in keys.jwks(NOW)["keys"]] == [old, new]
        assert keys.signer(NOW + LEAD - timedelta(seconds=1)).kid == old
        assert keys.signer(NOW + LEAD).kid == coco_kid(keys, NOW + LEAD) == new
        assert [key["kid"] for key in keys.jwks(NOW + LEAD)["keys"]] == [new, old]


def test_token_of_another_worker_verifies_at_once(tmp_path: Path) -> None:
    """This worker's last look was a moment ago: an unknown key is worth another one."""
    stale = view(tmp_path)
    new = KeyFolder(tmp_path).rotate(NOW, compromised=True).kid
    fresh = view(tmp_path)
    token = fresh.sign({"aud": "a", "jti": "1"}, now=NOW, expires=NOW + LEAD)
    assert fresh.signer(NOW).kid == new
    assert ears(stale).verify(token, NOW)["jti"] == "1"
    coco_token = fresh.sign_coco(CLAIMS, now=NOW, expires=NOW + LEAD)
    assert coco(stale).verify(coco_token, NOW)


def test_token_with_a_certificate_renewed_by_another_worker_verifies_at_once(tmp_path: Path) -> None:
    stale = view(tmp_path)
    later = NOW + timedelta(days=21)
    before = stale.sign_coco(CLAIMS, now=later, expires=later + LEAD)
    KeyFolder(tmp_path).maintain(later)
    fresh = view(tmp_path)
    after = fresh.sign_coco(CLAIMS, now=later, expires=later + LEAD)
    assert before.split(".")[0] != after.split(".")[0]
    for keys in (stale, fresh):
        for token in (before, after):
            assert coco(keys).verify(token, later)


@pytest.mark.usefixtures("no_waiting")
def test_compromised_key_verifies_no_more(tmp_path: Path) -> None:
    keys = view(tmp_path)
    token = keys.sign({"aud": "a", "jti": "1"}, now=NOW, expires=NOW + LEAD)
    assert ears(keys).verify(token, NOW)
    KeyFolder(tmp_path).rotate(NOW, compromised=True)
    with pytest.raises(EarInvalid):
        ears(keys).verify(token, NOW)


@pytest.mark.usefixtures("no_waiting")
def test_retired_key_verifies_until_no_such_token_can_live(tmp_path: Path) -> None:
    keys = view(tmp_path)
    day = timedelta(days=1)
    token = keys.sign({"aud": "a", "jti": "1"}, now=NOW, expires=NOW + 3 * day)
    KeyFolder(tmp_path).rotate(NOW, lead=timedelta(0))
    assert ears(keys).verify(token, NOW + day - timedelta(seconds=1))
    with pytest.raises(EarInvalid, match="no key"):
        ears(keys).verify(token, NOW + day)


@pytest.mark.usefixtures("no_waiting")
def test_damaged_folder_leaves_the_keys_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = view(tmp_path)
    good = (tmp_path / "token-keys.json").read_bytes()
    (tmp_path / "token-keys.json").write_bytes(b"{")
    for _ in range(3):
        assert ears(keys).verify(keys.sign({"aud": "a"}, now=NOW, expires=NOW + LEAD), NOW)
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1
    (tmp_path / "token-keys.json").write_bytes(good)
    new = KeyFolder(tmp_path).rotate(NOW, lead=timedelta(0)).kid
    assert keys.signer(NOW).kid == new


@pytest.mark.usefixtures("no_waiting")
def test_key_of_ones_own_is_taken_up_when_both_files_are_there(tmp_path: Path) -> None:
    own = Chain(tmp_path)
    keys = view(tmp_path / "keys", own.options())
    old = keys.signer(NOW).kid
    own.renew(with_chain=False)
    assert keys.signer(NOW).kid == old
    own.certify()
    assert keys.signer(NOW).kid == public_jwk(own.key)["kid"] != old
    assert list(keys.verifying(NOW)) == [keys.signer(NOW).kid, old]


def test_folder_is_looked_at_once_a_second_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = view(tmp_path)
    looks = []
    look = keys.folder.signature
    monkeypatch.setattr(keys.folder, "signature", lambda: looks.append(1) or look())
    token = keys.sign({"aud": "a"}, now=NOW, expires=NOW + LEAD)
    for _ in range(200):
        ears(keys).verify(token, NOW)
    assert len(looks) <= 1


@pytest.mark.usefixtures("no_waiting")
def test_threads_sign_and_verify_through_rotations(tmp_path: Path) -> None:
    keys, folder = view(tmp_path), KeyFolder(tmp_path)
    stop = threading.Event()

    def work(_: int) -> int:
        done = 0
        while not stop.is_set():
            assert ears(keys).verify(keys.sign({"aud": "a"}, now=NOW, expires=NOW + LEAD), NOW)
            assert coco(keys).verify(keys.sign_coco(CLAIMS, now=NOW, expires=NOW + LEAD), NOW)
            done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        running = pool.map(work, range(4))
        for _ in range(5):
            folder.rotate(NOW, lead=timedelta(0))
        stop.set()
        assert min(running) > 0
    assert len(keys.verifying(NOW)) == 6


def test_token_with_much_evidence_verifies(tmp_path: Path) -> None:
    keys = view(tmp_path)
    claims = CLAIMS | {"evidence": "x" * (MAX_TOKEN_BYTES // 2)}
    assert coco(keys).verify(keys.sign_coco(claims, now=NOW, expires=NOW + LEAD), NOW)
    with pytest.raises(EarInvalid, match="large"):
        coco(keys).verify(
            keys.sign_coco(claims | {"more": "x" * MAX_TOKEN_BYTES}, now=NOW, expires=NOW + LEAD), NOW
        )


def test_claims_are_in_the_token_as_given(tmp_path: Path) -> None:
    keys = view(tmp_path)
    token = keys.sign_coco({"jti": "1"} | CLAIMS, now=NOW, expires=NOW + LEAD)
    claims = coco(keys).verify(token, NOW)
    assert (claims["iss"], claims["jti"]) == ("coco", "1")


def test_missing_private_key_is_refused_at_start(tmp_path: Path) -> None:
    KeyFolder(tmp_path).maintain(NOW)
    write_key(tmp_path / "token-signing.pem")
    with pytest.raises(InvalidSetting):
        view(tmp_path)
