"""Guests' keys: what a resource is encrypted to, and what it is not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from Crypto.Hash import KMAC256
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from tests.service.coco.conftest import ALLOW_SAMPLE, DEVELOPMENT, SECRET, Kbs, make
from tests.service.coco.kbs import SVN, Guest, b64url, claims_of, unb64url

PATH = "resource/default/test/dummy"
_RSA = rsa.generate_private_key(65537, 2048)
_P521 = ec.generate_private_key(ec.SECP521R1())
_ML_KEM = MLKEM768PrivateKey.generate()


@dataclass
class KeyGuest(Guest):
    """A guest whose public key is given."""

    public: dict[str, Any] = field(default_factory=dict)

    @property
    def jwk(self) -> dict[str, Any]:
        return self.public


def rsa_jwk(algorithm: str, key: rsa.RSAPrivateKey = _RSA) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    n = b64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big"))
    return {"kty": "RSA", "alg": algorithm, "n": n, "e": "AQAB"}


def p521_jwk() -> dict[str, str]:
    point = _P521.public_key().public_numbers()
    x, y = (b64url(value.to_bytes(66, "big")) for value in (point.x, point.y))
    return {"kty": "EC", "crv": "P-521", "alg": "ECDH-ES+A256KW", "x": x, "y": y}


def ml_kem_jwk() -> dict[str, str]:
    return {
        "kty": "AKP",
        "alg": "ML-KEM-768+A192KW",
        "pub": b64url(_ML_KEM.public_key().public_bytes_raw()),
    }


def attested(kbs: Kbs, public: dict[str, Any]) -> KeyGuest:
    guest = KeyGuest(kbs.http, public=public)
    answer = guest.attest()
    assert answer.status == 200, answer.body
    claims = claims_of(answer.json["token"])
    evidence = claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert evidence["runtime_data_claims"]["tee-pubkey"] == public  # trap 5
    return guest


def opened(document: dict[str, str], key: bytes) -> bytes:
    sealed = unb64url(document["ciphertext"]) + unb64url(document["tag"])
    return AESGCM(key).decrypt(unb64url(document["iv"]), sealed, document["protected"].encode())


def resource(guest: Guest) -> tuple[dict[str, str], dict[str, Any]]:
    answer = guest.call("GET", PATH)
    assert answer.status == 200, answer.body
    assert list(answer.json) == ["protected", "encrypted_key", "iv", "ciphertext", "tag"]
    return answer.json, json.loads(unb64url(answer.json["protected"]))


def test_rsa_oaep_256(kbs: Kbs) -> None:
    document, header = resource(attested(kbs, rsa_jwk("RSA-OAEP-256")))
    assert header == {"alg": "RSA-OAEP-256", "enc": "A256GCM"}
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    assert opened(document, _RSA.decrypt(unb64url(document["encrypted_key"]), oaep)) == SECRET


def test_p521(kbs: Kbs) -> None:
    document, header = resource(attested(kbs, p521_jwk()))
    epk = header["epk"]
    assert [len(unb64url(epk[name])) for name in ("x", "y")] == [66, 66]
    x, y = (int.from_bytes(unb64url(epk[name]), "big") for name in ("x", "y"))
    shared = _P521.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(x, y, ec.SECP521R1()).public_key())
    name = b"ECDH-ES+A256KW"
    info = len(name).to_bytes(4, "big") + name + bytes(8) + (256).to_bytes(4, "big")
    kek = ConcatKDFHash(hashes.SHA256(), 32, info).derive(shared)
    assert opened(document, aes_key_unwrap(kek, unb64url(document["encrypted_key"]))) == SECRET


def test_ml_kem_768(kbs: Kbs) -> None:
    document, header = resource(attested(kbs, ml_kem_jwk()))
    assert (header["alg"], header["enc"], set(header)) == (
        "ML-KEM-768+A192KW",
        "A256GCM",
        {"alg", "enc", "ek"},
    )
    shared = _ML_KEM.decapsulate(unb64url(header["ek"]))
    name = b"ML-KEM-768+A192KW"
    info = len(name).to_bytes(4, "big") + name + (192).to_bytes(4, "big")
    kdf = KMAC256.new(key=shared, data=info, mac_len=24, custom=b"")
    assert opened(document, aes_key_unwrap(kdf.digest(), unb64url(document["encrypted_key"]))) == SECRET


def test_rsa1_5_needs_the_switch(kbs: Kbs, tmp_path: Path) -> None:
    answer = attested(kbs, rsa_jwk("RSA1_5")).call("GET", PATH)
    assert (answer.status, answer.variant) == (400, "JweError")
    settings = DEVELOPMENT | {"coco": DEVELOPMENT["coco"] | {"rsa1_5": True}}
    old = make(tmp_path / "old", settings)
    old.admin.reference_values(SVN)
    old.admin.call("POST", PATH, SECRET)
    old.admin.resource_policy(ALLOW_SAMPLE)
    document, header = resource(attested(old, rsa_jwk("RSA1_5")))
    assert header == {"alg": "RSA1_5", "enc": "A256GCM"}
    assert opened(document, _RSA.decrypt(unb64url(document["encrypted_key"]), padding.PKCS1v15())) == SECRET
    old.services.close()


@pytest.mark.parametrize(
    "public",
    [
        {},
        {"kty": "EC"},
        {"kty": "oct", "k": "AAAA"},
        p521_jwk() | {"alg": "ECDH-ES"},
        p521_jwk() | {"alg": "none"},
        p521_jwk() | {"crv": "P-256"},
        p521_jwk() | {"x": b64url(b"\x11" * 66)},
        p521_jwk() | {"d": "AAAA"},
        rsa_jwk("RSA-OAEP"),
        rsa_jwk("RSA-OAEP-256") | {"e": "AQ"},
        rsa_jwk("RSA-OAEP-256") | {"n": "AQAB"},
        ml_kem_jwk() | {"pub": "AAAA"},
        ml_kem_jwk() | {"alg": "ML-KEM-512+A128KW"},
    ],
    ids=lambda public: "-".join(public) or "empty",
)
def test_nothing_is_encrypted_to_a_key_that_is_none(kbs: Kbs, public: dict[str, Any]) -> None:
    guest = KeyGuest(kbs.http, public=public)
    answer = guest.attest()
    if answer.status == 200:
        answer = guest.call("GET", PATH)
        assert (answer.status, answer.variant) == (400, "JweError")
    else:
        assert (answer.status, answer.variant) == (401, "AttestationError")
    assert SECRET not in answer.body
