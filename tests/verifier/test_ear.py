"""Tokens: one algorithm, pinned keys, exact issuer and audience, bounded time (abuse cases 1 to 4)."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from common.errors import TouchstoneError
from verifier.ear import EAT_PROFILE, EarSigner, EarVerifier, new_jti
from verifier.errors import EarInvalid

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
AUDIENCE = "https://kbs.example"


@pytest.fixture(scope="module")
def signer() -> EarSigner:
    return EarSigner(ec.generate_private_key(ec.SECP256R1()), issuer="touchstone", developer="t", build="0")


@pytest.fixture(scope="module")
def verifier(signer: EarSigner) -> EarVerifier:
    return EarVerifier([signer.public_jwk], issuer="touchstone", audience=AUDIENCE)


def token_of(signer: EarSigner, *, expires_in: timedelta = timedelta(minutes=5), **claims: object) -> str:
    return signer.sign({"aud": AUDIENCE, "jti": new_jti(NOW)} | claims, now=NOW, expires=NOW + expires_in)


def resign(header: dict[str, object], claims: dict[str, object], key: ECKey) -> str:
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return jws.serialize_compact(header, json.dumps(claims), key, registry=registry)


def good_claims(**changes: object) -> dict[str, object]:
    at = int(NOW.timestamp())
    claims = {"iss": "touchstone", "aud": AUDIENCE, "eat_profile": EAT_PROFILE, "jti": "x"}
    return claims | {"iat": at, "nbf": at, "exp": at + 60} | changes


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_token_of_ours_verifies_and_keeps_its_claims(signer: EarSigner, verifier: EarVerifier) -> None:
    claims = verifier.verify(token_of(signer, eat_nonce="n"), NOW)
    assert claims["eat_nonce"] == "n"
    assert claims["ear.verifier-id"] == {"developer": "t", "build": "0"}
    assert claims["exp"] == int((NOW + timedelta(minutes=5)).timestamp())


def test_alg_none_is_refused(signer: EarSigner, verifier: EarVerifier) -> None:
    header = b64(json.dumps({"alg": "none", "typ": "ear+jwt", "kid": signer.kid}).encode())
    with pytest.raises(EarInvalid):
        verifier.verify(f"{header}.{b64(json.dumps(good_claims()).encode())}.", NOW)


def test_hmac_under_the_public_key_is_refused(signer: EarSigner, verifier: EarVerifier) -> None:
    pem = ECKey.import_key(signer.public_jwk).public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = b64(json.dumps({"alg": "HS256", "typ": "ear+jwt", "kid": signer.kid}).encode())
    signed = f"{header}.{b64(json.dumps(good_claims()).encode())}"
    mac = hmac.HMAC(pem, hashes.SHA256())
    mac.update(signed.encode())
    with pytest.raises(EarInvalid):
        verifier.verify(f"{signed}.{b64(mac.finalize())}", NOW)


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c", "crit"])
def test_a_key_or_critical_member_in_the_header_is_refused(
    signer: EarSigner, verifier: EarVerifier, member: str
) -> None:
    attacker = ECKey.generate_key("P-256")
    values = {
        "jwk": attacker.as_dict(private=False),
        "jku": "https://attacker.example/jwks",
        "x5u": "https://attacker.example/cert",
        "x5c": ["MIIB"],
        "crit": ["exp"],
    }
    header = {"alg": "ES256", "typ": "ear+jwt", "kid": signer.kid, member: values[member]}
    body = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(good_claims()).encode())}"
    signature = attacker.private_key.sign(body.encode(), ec.ECDSA(hashes.SHA256()))
    with pytest.raises(EarInvalid):
        verifier.verify(f"{body}.{b64(signature[:64])}", NOW)


def test_a_foreign_key_under_our_kid_is_refused(signer: EarSigner, verifier: EarVerifier) -> None:
    forged = resign(
        {"alg": "ES256", "typ": "ear+jwt", "kid": signer.kid}, good_claims(), ECKey.generate_key("P-256")
    )
    with pytest.raises(EarInvalid, match="signature"):
        verifier.verify(forged, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "touchstone.evil"},
        {"iss": ["touchstone"]},
        {"iss": "touch"},
        {"aud": None},
        {"aud": [AUDIENCE]},
        {"aud": AUDIENCE + "/"},
        {"eat_profile": "other"},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": 9999999999.5},
        {"nbf": None},
    ],
)
def test_claims_are_compared_exactly(changes: dict[str, object]) -> None:
    key = ECKey.generate_key("P-256")
    own = EarSigner(key.private_key, issuer="touchstone", developer="t", build="0")
    verifier = EarVerifier([own.public_jwk], issuer="touchstone", audience=AUDIENCE)
    header = {"alg": "ES256", "typ": "ear+jwt", "kid": own.kid}
    assert verifier.verify(resign(header, good_claims(), key), NOW)
    with pytest.raises(EarInvalid):
        verifier.verify(resign(header, good_claims(**changes), key), NOW)


@pytest.mark.parametrize("offset", [timedelta(seconds=-1), timedelta(minutes=5), timedelta(days=1)])
def test_time_is_bounded_on_both_sides(signer: EarSigner, verifier: EarVerifier, offset: timedelta) -> None:
    token = token_of(signer)
    with pytest.raises(EarInvalid):
        verifier.verify(token, NOW + offset)


def test_every_flipped_character_is_refused(signer: EarSigner, verifier: EarVerifier) -> None:
    token = token_of(signer)
    for position in range(0, len(token), 7):
        if token[position] == ".":
            continue
        other = "A" if token[position] != "A" else "B"
        with pytest.raises(EarInvalid):
            verifier.verify(token[:position] + other + token[position + 1 :], NOW)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=200), st.builds("{}.{}.{}".format, *([st.text(max_size=40)] * 3))))
def test_garbage_is_a_typed_error(text: str) -> None:
    verifier = EarVerifier([], issuer="touchstone", audience=AUDIENCE)
    with pytest.raises(TouchstoneError):
        verifier.verify(text, NOW)
