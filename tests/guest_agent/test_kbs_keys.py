"""TEE keys: opened is what was made for this key in exactly the agreed form, and nothing else."""

from __future__ import annotations

import json
import os
import sys

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encoding import b64url_decode, b64url_encode
from common.errors import DependencyMissing, InvalidSetting
from guest_agent.errors import SecretUndecryptable
from guest_agent.kbs_keys import TeeKey, ml_kem_wrapping_key
from tests.components import require
from tests.guest_agent.kbs_server import SECRET, answers, encrypted
from wire.kbs import EncryptedResource

CLASSIC = ("ECDH-ES+A256KW-P256", "ECDH-ES+A256KW-P521", "RSA-OAEP-256")
ML_KEM = "ML-KEM-768+A192KW"
P256 = TeeKey.generate()
KEYS = {name: TeeKey.generate(name) for name in (*CLASSIC, ML_KEM)}


def resource(data: bytes) -> EncryptedResource:
    return msgspec.json.decode(data, type=EncryptedResource)


def ml_kem_encrypted(
    jwk, plaintext=SECRET, *, header=None, wrapping=ml_kem_wrapping_key, cek=None
) -> bytes:
    """What a KBS does for an AKP key."""
    public = mlkem.MLKEM768PublicKey.from_public_bytes(b64url_decode(jwk["pub"]))
    shared, ciphertext = public.encapsulate()
    cek, iv = cek or os.urandom(32), os.urandom(12)
    members = {"alg": ML_KEM, "enc": "A256GCM", "ek": b64url_encode(ciphertext)} | (header or {})
    protected = b64url_encode(json.dumps(members).encode())
    sealed = AESGCM(cek).encrypt(iv, plaintext, protected.encode())
    return json.dumps(
        {
            "protected": protected,
            "encrypted_key": b64url_encode(aes_key_wrap(ml_kem_wrapping_key(shared), cek)),
            "iv": b64url_encode(iv),
            "ciphertext": b64url_encode(sealed[:-16]),
            "tag": b64url_encode(sealed[-16:]),
        }
    ).encode()


def made_for(name: str) -> bytes:
    jwk = KEYS[name].public_jwk
    return ml_kem_encrypted(jwk) if name == ML_KEM else encrypted(jwk)


@pytest.mark.parametrize("name", [*CLASSIC, ML_KEM])
@pytest.mark.parametrize("plaintext", [b"", SECRET, bytes(100_000)])
def test_a_resource_opens(name, plaintext):
    jwk = KEYS[name].public_jwk
    made = ml_kem_encrypted(jwk, plaintext) if name == ML_KEM else encrypted(jwk, plaintext)
    assert KEYS[name].open(resource(made)) == plaintext


def test_public_keys_have_exactly_the_members_of_the_protocol():
    assert list(KEYS[CLASSIC[0]].public_jwk) == ["kty", "crv", "alg", "x", "y"]
    assert len(b64url_decode(KEYS[CLASSIC[0]].public_jwk["x"])) == 32
    assert len(b64url_decode(KEYS[CLASSIC[1]].public_jwk["y"])) == 66
    assert list(KEYS[CLASSIC[2]].public_jwk) == ["kty", "alg", "n", "e"]
    assert KEYS[CLASSIC[2]].public_jwk["e"] == "AQAB"
    assert list(KEYS[ML_KEM].public_jwk) == ["kty", "alg", "pub"]
    assert len(b64url_decode(KEYS[ML_KEM].public_jwk["pub"])) == 1184


def test_rsa1_5_is_not_offered():
    for name in ("RSA1_5", "RSA-OAEP", "ECDH-ES+A256KW", "", "P-256"):
        with pytest.raises(InvalidSetting):
            TeeKey.generate(name)


def test_the_key_of_ml_kem_is_derived_as_the_draft_says():
    """NIST SP 800-185, KMAC256, computed here from its definition over cSHAKE256."""
    from Crypto.Hash import cSHAKE256

    def left(value: int) -> bytes:
        size = max(1, (value.bit_length() + 7) // 8)
        return bytes([size]) + value.to_bytes(size, "big")

    shared = bytes(range(32))
    padded = left(136) + left(256) + shared
    padded += bytes(-len(padded) % 136)
    context = (17).to_bytes(4, "big") + b"ML-KEM-768+A192KW" + (192).to_bytes(4, "big")
    tail = (192).to_bytes(1, "big") + b"\x01"
    sponge = cSHAKE256._new(padded + context + tail, b"", b"KMAC")
    assert ml_kem_wrapping_key(shared) == sponge.read(24)


def test_without_pycryptodome_ml_kem_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "Crypto.Hash", None)
    with pytest.raises(DependencyMissing, match="pycryptodome"):
        TeeKey.generate(ML_KEM)


@pytest.mark.parametrize("name", [*CLASSIC, ML_KEM])
def test_a_key_survives_its_pem(name):
    again = TeeKey.from_pem(KEYS[name].private_pem().encode())
    assert again.public_jwk == KEYS[name].public_jwk
    assert again.open(resource(made_for(name))) == SECRET


def _pem(key) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        _pem(ec.generate_private_key(ec.SECP384R1())),
        _pem(ed25519.Ed25519PrivateKey.generate()),
        _pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505
    ],
)
def test_other_keys_are_refused(pem):
    with pytest.raises(InvalidSetting):
        TeeKey.from_pem(pem)


@pytest.mark.parametrize("name", [*CLASSIC, ML_KEM])
def test_anothers_resource_does_not_open(name):
    with pytest.raises(SecretUndecryptable):
        TeeKey.generate(name).open(resource(made_for(name)))


@pytest.mark.parametrize("name", [*CLASSIC, ML_KEM])
@pytest.mark.parametrize("other", [*CLASSIC, ML_KEM])
def test_a_resource_for_another_algorithm_does_not_open(name, other):
    if name != other:
        with pytest.raises(SecretUndecryptable):
            KEYS[name].open(resource(made_for(other)))


@pytest.mark.parametrize("name", [*CLASSIC, ML_KEM])
@pytest.mark.parametrize("member", ["protected", "encrypted_key", "iv", "ciphertext", "tag"])
def test_every_part_is_authenticated(name, member):
    document = json.loads(made_for(name))
    text = document[member]
    for changed in ("B" + text[1:] if text[0] != "B" else "C" + text[1:], text[:-4], "", text + "=", "ü"):
        with pytest.raises(SecretUndecryptable):
            KEYS[name].open(resource(json.dumps(document | {member: changed}).encode()))


@pytest.mark.parametrize(
    "header", [{"cty": "x"}, {"kid": "x"}, {"zip": "DEF"}, {"apu": "AA"}, {"crit": ["exp"]}]
)
def test_headers_that_were_not_agreed_are_refused(header):
    with pytest.raises(SecretUndecryptable, match="members"):
        P256.open(resource(encrypted(P256.public_jwk, **header) if "crit" not in header else _with(header)))


def _with(header) -> bytes:
    document = json.loads(encrypted(P256.public_jwk))
    members = json.loads(b64url_decode(document["protected"])) | header
    return json.dumps(document | {"protected": b64url_encode(json.dumps(members).encode())}).encode()


@pytest.mark.parametrize("header", [{"enc": "A128GCM"}, {"alg": "ECDH-ES"}, {"alg": "dir"}, {"alg": None}])
def test_other_algorithms_in_the_header_are_refused(header):
    with pytest.raises(SecretUndecryptable, match="another algorithm"):
        P256.open(resource(_with(header)))


def test_duplicate_members_of_the_header_are_refused():
    document = json.loads(encrypted(P256.public_jwk))
    header = b64url_decode(document["protected"])[:-1] + b',"alg":"ECDH-ES+A256KW"}'
    with pytest.raises(SecretUndecryptable, match="JSON"):
        P256.open(resource(json.dumps(document | {"protected": b64url_encode(header)}).encode()))


def test_rsa1_5_is_not_opened():
    key = KEYS["RSA-OAEP-256"]
    with pytest.raises(SecretUndecryptable, match="another algorithm"):
        key.open(resource(encrypted(key.public_jwk | {"alg": "RSA1_5"})))


@pytest.mark.parametrize(
    "epk",
    [
        None,
        "x",
        {},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": b64url_encode(bytes(32)), "y": b64url_encode(bytes(32))},
        {"kty": "EC", "crv": "P-521", "x": b64url_encode(bytes(66)), "y": b64url_encode(bytes(66))},
        {"kty": "OKP", "crv": "P-256", "x": b64url_encode(bytes(32)), "y": b64url_encode(bytes(32))},
        {"kty": "EC", "crv": "P-256", "x": 5, "y": 6},
    ],
)
def test_invalid_ephemeral_keys_are_refused(epk):
    """Points off the curve would give the key away, a few bits at a time."""
    with pytest.raises(SecretUndecryptable):
        P256.open(resource(_with({"epk": epk})))


@pytest.mark.parametrize("ek", [None, 5, "AA", "", b64url_encode(bytes(1087)), b64url_encode(bytes(1088))])
def test_invalid_encapsulations_are_refused(ek):
    made = ml_kem_encrypted(KEYS[ML_KEM].public_jwk, header={"ek": ek})
    with pytest.raises(SecretUndecryptable):
        KEYS[ML_KEM].open(resource(made))


def test_a_content_key_of_another_length_is_refused():
    made = ml_kem_encrypted(KEYS[ML_KEM].public_jwk, cek=os.urandom(16))
    with pytest.raises(SecretUndecryptable, match="length"):
        KEYS[ML_KEM].open(resource(made))


@pytest.mark.parametrize("transcript", ["04_client_get_resource_rcar", "06_client_get_resource_passport"])
def test_the_reference_kbs_writes_the_form_that_is_read(vectors, transcript):
    """Its recorded JWEs are for keys that are gone: everything holds up to the key."""
    path = vectors.parent / "spec" / "transcripts" / f"{transcript}.txt"
    require(path.is_file(), f"no transcript at {path}")
    key = (
        P256
        if transcript.startswith("04")
        else TeeKey.from_pem(_pem(rsa.generate_private_key(65537, 2048)))
    )
    with pytest.raises(SecretUndecryptable, match="not made for this TEE key"):
        key.open(resource(answers(path)[-1].body))


@given(st.builds(EncryptedResource, *[st.text(max_size=80)] * 5))
@settings(deadline=None)
def test_anything_else_raises_one_error(value):
    for key in KEYS.values():
        with pytest.raises(SecretUndecryptable):
            key.open(value)
