"""The token-signing key: made once, private, rotated without losing what it signed."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from common.errors import InvalidSetting
from service.keys import MAX_TOKEN_LIFETIME, SigningKeys
from verifier.ear import EarSigner, EarVerifier

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path)
    keys.private_key()
    (tmp_path / "token-signing.pem").chmod(0o640)
    with pytest.raises(InvalidSetting, match="read by others"):
        keys.private_key()


@pytest.mark.parametrize("content", [b"", b"not a key"])
def test_key_file_without_a_key_is_refused_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token-signing.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidSetting):
        SigningKeys(tmp_path).private_key()
    assert path.read_bytes() == content


def test_key_of_another_curve_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token-signing.pem"
    key = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(InvalidSetting, match="P-256"):
        SigningKeys(tmp_path).private_key()


def test_key_is_made_at_first_use_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = SigningKeys(folder).verifying_keys(NOW)
    assert stat.S_IMODE((folder / "token-signing.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert SigningKeys(folder).verifying_keys(NOW) == first
    assert "d" not in first[0]


def test_replicas_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: SigningKeys(tmp_path).verifying_keys(NOW), range(16)))
    assert all(each == keys[0] for each in keys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["token-signing.pem"]


def test_token_of_a_retired_key_verifies_until_no_such_token_can_live(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path)
    signer = EarSigner(keys.private_key(), issuer="i", developer="d", build="b")
    token = signer.sign({"jti": "1", "aud": "a"}, now=NOW, expires=NOW + timedelta(minutes=5))
    new_kid = keys.rotate(NOW)
    present = keys.verifying_keys(NOW)
    assert [key["kid"] for key in present] == [new_kid, signer.kid]
    assert EarVerifier(present, issuer="i", audience="a").verify(token, NOW)["jti"] == "1"
    later = keys.verifying_keys(NOW + MAX_TOKEN_LIFETIME)
    assert [key["kid"] for key in later] == [new_kid]
