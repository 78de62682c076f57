"""The platforms' attestation keys: the folder, its two forms, and imports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encoding import b64url_encode
from common.errors import InvalidSetting, Malformed, TouchstoneError
from testkit.cca_platform import CcaPlatform
from verifier.cca.endorsements import FolderEndorsements, jwk_key, read_key, read_store, write_keys

PLATFORM = CcaPlatform()
OTHER = CcaPlatform()


def jwk_of(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    numbers, width = key.public_numbers(), (key.key_size + 7) // 8
    name = {256: "P-256", 384: "P-384", 521: "P-521"}[key.key_size]
    x, y = (b64url_encode(value.to_bytes(width, "big")) for value in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": name, "x": x, "y": y}


def put(store: Path, name: str, data: bytes) -> Path:
    folder = store / "cca" / "cpak" / PLATFORM.implementation_id.hex()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{PLATFORM.instance_id.hex()}{name}"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_both_forms_are_read(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(jwk_of(key) | {"kid": "x", "alg": "ES384", "use": "sig"}).encode()
    for name, data in ((".pem", pem), (".jwk", jwk)):
        path = put(tmp_path, name, data)
        assert FolderEndorsements(tmp_path).attestation_key(*PLATFORM.ids) == key
        path.unlink()


def test_no_file_is_no_key(tmp_path: Path) -> None:
    assert FolderEndorsements(tmp_path / "none").attestation_key(*PLATFORM.ids) is None
    PLATFORM.write_key(tmp_path)
    found = FolderEndorsements(tmp_path)
    assert found.attestation_key(*PLATFORM.ids) == PLATFORM.cpak.public_key()
    assert found.attestation_key(bytes(32), PLATFORM.instance_id) is None
    assert found.attestation_key(PLATFORM.implementation_id, b"\1" + bytes(32)) is None


def test_a_changed_file_is_read_again_and_a_removed_one_is_gone(tmp_path: Path) -> None:
    found = FolderEndorsements(tmp_path)
    path = put(tmp_path, ".jwk", json.dumps(jwk_of(PLATFORM.cpak.public_key())).encode())
    assert found.attestation_key(*PLATFORM.ids) == PLATFORM.cpak.public_key()
    assert found.attestation_key(*PLATFORM.ids) == PLATFORM.cpak.public_key()
    path.write_bytes(json.dumps(jwk_of(OTHER.cpak.public_key()), indent=1).encode())
    assert found.attestation_key(*PLATFORM.ids) == OTHER.cpak.public_key()
    path.unlink()
    assert found.attestation_key(*PLATFORM.ids) is None


def test_an_unusable_file_is_a_broken_setting_not_a_missing_key(tmp_path: Path) -> None:
    for data in (b"", b"{}", b"nothing", b"-----BEGIN PUBLIC KEY-----\n", b"x" * 5000):
        put(tmp_path, ".pem", data)
        with pytest.raises(InvalidSetting):
            FolderEndorsements(tmp_path).attestation_key(*PLATFORM.ids)


def test_two_files_of_one_platform_are_refused(tmp_path: Path) -> None:
    PLATFORM.write_key(tmp_path)
    put(tmp_path, ".jwk", json.dumps(jwk_of(OTHER.cpak.public_key())).encode())
    with pytest.raises(InvalidSetting, match="two"):
        FolderEndorsements(tmp_path).attestation_key(*PLATFORM.ids)


GOOD = jwk_of(PLATFORM.cpak.public_key())


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "RSA"},
        {"kty": None},
        {"crv": "P-192"},
        {"crv": "P-256"},
        {"crv": 5},
        {"crv": []},
        {"x": GOOD["y"] + "AA"},
        {"x": ""},
        {"x": 5},
        {"y": "!" * 64},
        {"x": b64url_encode(bytes(48))},
        {"d": GOOD["x"]},
        {"x5u": "https://example.com"},
    ],
)
def test_other_jwks_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(TouchstoneError):
        jwk_key(GOOD | change)


def test_other_keys_are_refused() -> None:
    for key in (
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
    ):
        with pytest.raises(Malformed):
            read_key(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(Malformed):
        jwk_key([])


def entry(platform: CcaPlatform, **changes: object) -> dict[str, object]:
    return {
        "pkey": jwk_of(platform.cpak.public_key()),
        "implementation-id": platform.implementation_id.hex(),
        "instance-id": platform.instance_id.hex(),
    } | changes


def test_a_trust_anchor_store_is_read_and_written_into_the_folder(tmp_path: Path) -> None:
    second = CcaPlatform(b"second")
    keys = read_store(json.dumps([entry(PLATFORM), entry(second)]).encode())
    assert keys == {item.ids: item.cpak.public_key() for item in (PLATFORM, second)}
    assert write_keys(tmp_path, keys) == 2
    assert write_keys(tmp_path, keys) == 0
    found = FolderEndorsements(tmp_path)
    assert found.attestation_key(*second.ids) == second.cpak.public_key()


def test_a_key_is_never_replaced_silently(tmp_path: Path) -> None:
    PLATFORM.write_key(tmp_path)
    with pytest.raises(InvalidSetting, match="another"):
        OTHER.write_key(tmp_path)
    assert FolderEndorsements(tmp_path).attestation_key(*PLATFORM.ids) == PLATFORM.cpak.public_key()
    with pytest.raises(Malformed):
        write_keys(tmp_path, {(b"../../x", PLATFORM.instance_id): PLATFORM.cpak.public_key()})
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(InvalidSetting):
        PLATFORM.write_key(blocked)


@pytest.mark.parametrize(
    "store",
    [
        {},
        [5],
        [{"pkey": GOOD}],
        [entry(PLATFORM), entry(PLATFORM)],
        [entry(PLATFORM, **{"instance-id": "00"})],
        [entry(PLATFORM, **{"implementation-id": 5})],
        [entry(PLATFORM, **{"implementation-id": "zz" * 32})],
        [entry(PLATFORM, more=1)],
        [entry(PLATFORM, pkey="x")],
    ],
)
def test_other_stores_are_refused(store: object) -> None:
    with pytest.raises(TouchstoneError):
        read_store(json.dumps(store).encode())


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=60), st.dictionaries(st.sampled_from(["kty", "crv", "x", "y"]), st.text(max_size=70))
)
def test_any_bytes_give_keys_or_our_error(data: bytes, change: dict[str, str]) -> None:
    for reader, candidate in (
        (read_key, data),
        (read_key, b"{" + data),
        (read_store, data),
        (read_key, json.dumps(GOOD | change).encode()),
    ):
        try:
            reader(candidate)
        except TouchstoneError:
            pass
