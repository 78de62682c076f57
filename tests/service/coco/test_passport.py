"""Bearer tokens at the resource route: ours of a session, and nobody else's unless we are told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from joserfc import jws
from joserfc.jwk import ECKey

from tests.service.coco.conftest import ALLOW_SAMPLE, DEVELOPMENT, SECRET, Kbs, make
from tests.service.coco.kbs import SVN, Answer, Guest, b64, b64url, canonical, unb64url

PATH = "resource/default/test/dummy"


def get(kbs: Kbs, token: str, scheme: str = "Bearer") -> Answer:
    return Guest(kbs.http).call("GET", PATH, Authorization=f"{scheme} {token}")


def refused(answer: Answer) -> None:
    assert (answer.status, answer.variant) == (401, "TokenVerifierError"), answer.body
    assert answer.json["detail"] == "Token Verifier error"


def signed(key: ECKey, claims: dict[str, Any], **header: Any) -> str:
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    registry.max_header_length = 1 << 16
    head = {"alg": "ES256", "typ": "JWT"} | header
    return jws.serialize_compact(head, json.dumps(claims), key, registry=registry)


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, payload, signature = token.split(".")
    return json.loads(unb64url(header)), json.loads(unb64url(payload)), signature


def joined(header: dict[str, Any], claims: dict[str, Any], signature: str) -> str:
    return f"{b64url(json.dumps(header).encode())}.{b64url(json.dumps(claims).encode())}.{signature}"


@pytest.fixture
def guest(kbs: Kbs) -> Guest:
    guest = kbs.guest()
    assert guest.attest().status == 200
    return guest


def test_the_token_of_a_session_is_a_passport(kbs: Kbs, guest: Guest) -> None:
    for scheme in ("Bearer", "bearer"):
        answer = get(kbs, guest.token, scheme)
        assert guest.open(answer.json) == SECRET
        other = kbs.guest()
        with pytest.raises(InvalidUnwrap):
            other.open(answer.json)


def test_a_session_goes_before_a_bearer_token(kbs: Kbs, guest: Guest) -> None:
    other = kbs.guest()
    other.attest()
    answer = other.call("GET", PATH, Authorization=f"Bearer {guest.token}")
    assert other.open(answer.json) == SECRET


def test_a_passport_expires(kbs: Kbs, guest: Guest) -> None:
    assert get(kbs, guest.token).status == 200
    kbs.clock.now += timedelta(seconds=300)
    refused(get(kbs, guest.token))


@pytest.mark.parametrize("text", ["x", "a.b.c", "..", "é", "A" * 2_000_000, "eyJ.eyJ.", "null"])
def test_what_is_no_token(kbs: Kbs, text: str) -> None:
    refused(get(kbs, text))


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic eDp5", "Token x"])
def test_no_bearer_token(kbs: Kbs, header: str) -> None:
    answer = Guest(kbs.http).call("GET", PATH, Authorization=header)
    assert (answer.status, answer.variant) == (401, "TokenNotFound")


# 1 to 4: forged tokens


def test_case_1_no_signature_or_one_under_our_public_key(kbs: Kbs, guest: Guest) -> None:
    header, claims, signature = parts(guest.token)
    refused(get(kbs, joined(header | {"alg": "none"}, claims, "")))
    refused(get(kbs, joined(header | {"alg": "none"}, claims, signature)))
    for secret in (canonical(header["jwk"]), base64.b64decode(header["jwk"]["x5c"][0])):
        body = joined(header | {"alg": "HS256"}, claims, "").rstrip(".")
        refused(get(kbs, f"{body}.{b64url(hmac.digest(secret, body.encode(), hashlib.sha256))}"))
    refused(get(kbs, joined(header | {"alg": "ES384"}, claims, signature)))


def test_case_1_every_changed_byte_of_the_signature(kbs: Kbs, guest: Guest) -> None:
    signed_part, _, signature = guest.token.rpartition(".")
    data = unb64url(signature)
    for index in range(0, len(data), 7):
        changed = bytearray(data)
        changed[index] ^= 1
        refused(get(kbs, f"{signed_part}.{b64url(bytes(changed))}"))


def test_case_1_changed_claims(kbs: Kbs, guest: Guest) -> None:
    header, claims, signature = parts(guest.token)
    for change in ({"exp": claims["exp"] + 1}, {"cnf": {"jwk": kbs.guest().jwk}}, {"jti": "0" * 32}):
        refused(get(kbs, joined(header, claims | change, signature)))


def test_case_2_a_key_that_the_token_brings(kbs: Kbs, guest: Guest) -> None:
    header, claims, _ = parts(guest.token)
    key = ECKey.generate_key("P-256")
    own = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    refused(get(kbs, signed(key, claims, jwk=own | {"alg": "ES256"})))
    refused(get(kbs, signed(key, claims, jwk=own | {"alg": "ES256"}, kid=header["kid"])))
    refused(get(kbs, signed(key, claims, jwk=own | {"alg": "ES256", "x5c": header["jwk"]["x5c"]})))
    refused(get(kbs, signed(key, claims, kid=header["kid"], jku="https://attacker.example/jwks")))
    refused(get(kbs, signed(key, claims, kid=header["kid"], jwk=header["jwk"])))


def test_case_2_our_signature_with_another_key_in_the_header(kbs: Kbs, guest: Guest) -> None:
    header, claims, signature = parts(guest.token)
    own = ECKey.generate_key("P-256").as_dict(private=False)
    changed = header["jwk"] | {"x": own["x"], "y": own["y"]}
    refused(get(kbs, joined(header | {"jwk": changed}, claims, signature)))


@pytest.mark.parametrize(
    "change", [{"crit": ["x"], "x": 1}, {"b64": False, "crit": ["b64"]}, {"typ": "other"}]
)
def test_case_4_extensions(kbs: Kbs, guest: Guest, change: dict[str, Any]) -> None:
    header, claims, signature = parts(guest.token)
    refused(get(kbs, joined(header | change, claims, signature)))


def test_an_administrators_token_is_no_attestation(kbs: Kbs) -> None:
    refused(get(kbs, kbs.admin.token))


# 15, trap 21: tokens that no session of ours stands behind


@pytest.mark.parametrize("bound", [True, False])
def test_case_15_a_token_of_the_attestation_service_api(kbs: Kbs, bound: bool) -> None:
    key = kbs.guest()
    data = {"nonce": b64(bytes(32)), "tee-pubkey": key.jwk, "additional-evidence": ""}
    digest = hashlib.sha384(canonical(data)).digest()
    evidence = json.dumps({"svn": "1", "report_data": b64(digest)}).encode()
    item: dict[str, Any] = {"tee": "sample", "evidence": b64url(evidence)}
    if bound:
        item["runtime_data"] = {"structured": data}
    answer = kbs.http.post("/attestation", json={"verification_requests": [item], "policy_ids": []})
    assert answer.status_code == 200, answer.data
    refused(get(kbs, answer.text))


# Trusted issuers


class Issuer:
    """Another attestation service that the KBS is told of."""

    def __init__(self, folder: Path) -> None:
        self.key = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
        public = dict(self.key.as_dict(private=False)) | {"kid": "other-1", "alg": "ES256", "use": "sig"}
        self.path = folder / "other.jwks"
        self.path.write_text(json.dumps({"keys": [public]}))

    def token(self, kbs: Kbs, guest: Guest, **changes: Any) -> str:
        cpu = {
            "ear.status": "affirming",
            "ear.trustworthiness-vector": {"hardware": 2},
            "ear.veraison.annotated-evidence": {"runtime_data_claims": {"tee-pubkey": guest.jwk}},
        }
        claims = {"iss": "other", "exp": int(kbs.clock.now.timestamp()) + 60, "submods": {"cpu0": cpu}}
        return signed(self.key, claims | changes, kid="other-1")


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def trusting(tmp_path: Path, issuer: Issuer) -> Iterator[Kbs]:
    trusted = {"name": "other", "issuer": "other", "jwk_sets": [str(issuer.path)]}
    coco = DEVELOPMENT["coco"] | {"trusted_issuers": [trusted]}
    kbs = make(tmp_path / "kbs", DEVELOPMENT | {"coco": coco})
    kbs.admin.reference_values(SVN)
    kbs.admin.call("POST", PATH, SECRET)
    kbs.admin.resource_policy(ALLOW_SAMPLE)
    yield kbs
    kbs.services.close()


def test_a_trusted_issuers_token_opens_for_its_key(trusting: Kbs, issuer: Issuer) -> None:
    guest = trusting.guest()
    assert guest.open(get(trusting, issuer.token(trusting, guest)).json) == SECRET
    own = trusting.guest()
    assert own.attest().status == 200
    assert own.open(own.call("GET", PATH).json) == SECRET


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"iss": "another"},
        {"submods": {}},
        {"submods": {"cpu0": {"ear.status": "affirming"}}},
        {"nbf": 2**33},
    ],
    ids=str,
)
def test_a_trusted_issuers_token_that_does_not_hold(
    trusting: Kbs, issuer: Issuer, changes: dict[str, Any]
) -> None:
    refused(get(trusting, issuer.token(trusting, trusting.guest(), **changes)))


@pytest.mark.parametrize("status", ["contraindicated", "none", "", "AFFIRMING", None])
def test_floors_hold_for_trusted_issuers_too(trusting: Kbs, issuer: Issuer, status: str | None) -> None:
    trusting.admin.resource_policy("package policy\nallow := true\n")
    guest = trusting.guest()
    cpu = {
        "ear.status": status,
        "ear.veraison.annotated-evidence": {"runtime_data_claims": {"tee-pubkey": guest.jwk}},
    }
    answer = get(trusting, issuer.token(trusting, guest, submods={"cpu0": cpu}))
    assert (answer.status, answer.variant) == (403, "PolicyDeny")


def test_an_issuer_that_is_not_trusted(kbs: Kbs, issuer: Issuer) -> None:
    refused(get(kbs, issuer.token(kbs, kbs.guest())))


def test_case_43_a_token_for_another_server(kbs: Kbs, tmp_path: Path) -> None:
    """Same policies, same issuer name, other keys."""
    other = make(tmp_path / "elsewhere")
    guest = other.guest()
    assert guest.attest().status == 200
    refused(get(kbs, guest.token))
    assert Guest(kbs.http, cookie=guest.cookie).call("GET", PATH).variant == "TokenNotFound"
    other.services.close()
