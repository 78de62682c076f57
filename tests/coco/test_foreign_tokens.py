"""Tokens of other attestation services: taken by pinned keys and chains only, whatever they carry."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from coco.errors import CocoSetting, ForeignTokenInvalid
from coco.foreign_tokens import ForeignTokens, TrustedIssuer
from common import watch as watch_module
from service import certificates

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ISS = "https://attest.example"
TEE_KEY = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "alg": "ECDH-ES+A256KW"}
CLAIMS = {"iss": ISS, "exp": int(NOW.timestamp()) + 60, "tee-pubkey": TEE_KEY}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Service:
    """An attestation service with a key, a chain and a JWK Set."""

    def __init__(self, folder: Path, name: str = "other", key: Any = None, alg: str = "ES256") -> None:
        self.name, self.alg = name, alg
        self.key = key or ECKey.generate_key("P-256")
        self.ca_key = ec.generate_private_key(ec.SECP256R1())
        self.ca = certificates.new_authority(self.ca_key, NOW - timedelta(days=1))
        self.jwks, self.pem = folder / f"{name}.json", folder / f"{name}.pem"
        self.jwks.write_text(json.dumps({"keys": [self.jwk() | {"kid": name}]}))
        self.pem.write_bytes(self.ca.public_bytes(Encoding.PEM))

    def jwk(self) -> dict[str, Any]:
        return dict(self.key.as_dict(private=False)) | {"alg": self.alg}

    def leaf(self, *, now: datetime = NOW, days: int = 1) -> x509.Certificate:
        return certificates.issue(
            self.key.public_key, self.ca, self.ca_key, now=now, lifetime=timedelta(days=days)
        )

    def header_jwk(self, encode: Callable[[bytes], str] = b64, **options: Any) -> dict[str, Any]:
        der = self.leaf(**options).public_bytes(Encoding.DER)
        return {name: v for name, v in self.jwk().items() if name != "kid"} | {"x5c": [encode(der)]}

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        head = {"alg": self.alg, "typ": "JWT"} | ({"kid": self.name} if header is None else header)
        body = {name: value for name, value in (CLAIMS | claims).items() if value is not ...}
        registry = jws.JWSRegistry(algorithms=[self.alg], strict_check_header=False)
        registry.max_header_length = 1 << 16
        return jws.serialize_compact(head, json.dumps(body), self.key, registry=registry)

    def issuer(self, **options: Any) -> TrustedIssuer:
        values = {"name": self.name, "jwk_sets": (self.jwks,), "certificates": (self.pem,)} | options
        return TrustedIssuer(**values)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.fixture
def tokens(service: Service) -> ForeignTokens:
    return ForeignTokens([service.issuer(issuer=ISS)])


def refused(tokens: ForeignTokens, token: str, match: str = "", now: datetime = NOW) -> None:
    with pytest.raises(ForeignTokenInvalid, match=match) as error:
        tokens.verify(token, now)
    assert token not in str(error.value)


def test_token_by_kid_gives_claims_key_and_issuer(tokens: ForeignTokens, service: Service) -> None:
    found = tokens.verify(service.token(more=1), NOW)
    assert (found.claims["more"], found.tee_pubkey, found.issuer) == (1, TEE_KEY, "other")


@pytest.mark.parametrize("encode", [b64, lambda der: base64.b64encode(der).decode()])
def test_token_by_chain_in_either_base64(
    tokens: ForeignTokens, service: Service, encode: Callable[[bytes], str]
) -> None:
    assert tokens.verify(service.token({"jwk": service.header_jwk(encode)}), NOW).issuer == "other"


def test_pinned_certificate_of_the_key_itself_is_enough(service: Service, tmp_path: Path) -> None:
    leaf = service.leaf()
    path = tmp_path / "leaf.pem"
    path.write_bytes(leaf.public_bytes(Encoding.PEM))
    jwk = service.header_jwk() | {"x5c": [b64(leaf.public_bytes(Encoding.DER))]}
    tokens = ForeignTokens([service.issuer(certificates=(path,))])
    assert tokens.verify(service.token({"jwk": jwk}), NOW)
    refused(tokens, service.token({"jwk": service.header_jwk()}), "no trusted issuer")


def test_jwk_of_the_requester_itself_is_nobodys(tokens: ForeignTokens, tmp_path: Path) -> None:
    """Observed with a reference configuration: a token with its own jwk opened a resource (D 5)."""
    attacker = Service(tmp_path, "attacker")
    bare = attacker.jwk()
    for header in (
        {"jwk": bare},
        {"jwk": bare, "kid": "other"},
        {"jwk": bare | {"x5c": []}},
        {"jwk": attacker.header_jwk()},
        {"jwk": attacker.header_jwk(), "kid": "other"},
        {"jwk": attacker.header_jwk(), "x5c": attacker.header_jwk()["x5c"]},
        {"jku": "https://attacker.example/jwks"},
        {"x5u": "https://attacker.example/cert", "kid": "unknown"},
        {"kid": "attacker"},
        {},
    ):
        refused(tokens, attacker.token(header), "no trusted issuer")
    refused(tokens, attacker.token({"kid": "other"}), "signature")


def test_chain_of_another_key_is_refused(tokens: ForeignTokens, service: Service, tmp_path: Path) -> None:
    attacker = Service(tmp_path, "attacker")
    jwk = attacker.jwk() | {"x5c": service.header_jwk()["x5c"]}
    refused(tokens, attacker.token({"jwk": jwk}), "not that of its certificate")


def test_self_signed_authority_of_the_same_name_is_refused(
    tokens: ForeignTokens, service: Service, tmp_path: Path
) -> None:
    attacker = Service(tmp_path, "attacker")
    name = service.ca.subject
    forged = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=attacker.key.public_key,
        serial_number=1,
        not_valid_before=NOW - timedelta(days=1),
        not_valid_after=NOW + timedelta(days=1),
    ).sign(attacker.key.private_key, hashes.SHA256())
    jwk = attacker.jwk() | {"x5c": [b64(forged.public_bytes(Encoding.DER))]}
    refused(tokens, attacker.token({"jwk": jwk}), "no trusted issuer")


def test_certificate_out_of_its_time_is_refused(tokens: ForeignTokens, service: Service) -> None:
    past = service.header_jwk(now=NOW - timedelta(days=1, hours=1), days=1)
    future = service.header_jwk(now=NOW + timedelta(hours=1))
    for jwk in (past, future):
        refused(tokens, service.token({"jwk": jwk}), "no trusted issuer")


def test_leaf_may_not_issue(tokens: ForeignTokens, service: Service, tmp_path: Path) -> None:
    """The service's own leaf as an intermediate of the attacker's certificate."""
    attacker = Service(tmp_path, "attacker")
    leaf = service.leaf()
    issued = certificates.issue(
        attacker.key.public_key, leaf, service.key.private_key, now=NOW, lifetime=timedelta(days=1)
    )
    ders = [each.public_bytes(Encoding.DER) for each in (issued, leaf)]
    jwk = attacker.jwk() | {"x5c": [b64(der) for der in ders]}
    refused(tokens, attacker.token({"jwk": jwk}), "no trusted issuer")


def test_algorithm_is_the_keys(tokens: ForeignTokens, service: Service) -> None:
    body = b64(json.dumps(CLAIMS).encode())
    pem = service.key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    spki = service.key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, spki, json.dumps(service.jwk()).encode()):
        head = b64(json.dumps({"alg": "HS256", "kid": "other"}).encode())
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(f"{head}.{body}".encode())
        refused(tokens, f"{head}.{body}.{b64(mac.finalize())}", "algorithm")
    for alg in ("none", "None", "ES384", "EdDSA", None):
        head = b64(json.dumps({"alg": alg, "kid": "other"}).encode())
        refused(tokens, f"{head}.{body}.", "algorithm")


@pytest.mark.parametrize(
    ("make", "alg"),
    [
        (lambda: ECKey.generate_key("P-384"), "ES384"),
        (lambda: ECKey.generate_key("P-521"), "ES512"),
        (lambda: OKPKey.generate_key("Ed25519"), "EdDSA"),
        (lambda: RSAKey.generate_key(2048), "PS384"),
        (lambda: RSAKey.generate_key(2048), "RS256"),
    ],
)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864; services still write it
def test_every_kind_of_key(tmp_path: Path, make: Callable[[], Any], alg: str) -> None:
    service = Service(tmp_path, key=make(), alg=alg)
    tokens = ForeignTokens([service.issuer()])
    assert tokens.verify(service.token(), NOW)
    assert tokens.verify(service.token({"jwk": service.header_jwk()}), NOW)


@pytest.mark.parametrize(
    ("claims", "match"),
    [
        ({"exp": ...}, "no exp"),
        ({"exp": "9999999999"}, "no exp"),
        ({"exp": True}, "no exp"),
        ({"exp": 2**53}, "no exp"),
        ({"exp": int(NOW.timestamp())}, "expired"),
        ({"nbf": int(NOW.timestamp()) + 61}, "not valid yet"),
        ({"nbf": "soon"}, "no nbf"),
        ({"iss": "https://attest.example/"}, "no trusted issuer"),
        ({"iss": ...}, "no trusted issuer"),
        ({"tee-pubkey": ...}, "no public key"),
        ({"tee-pubkey": "text"}, "no public key"),
    ],
)
def test_claims_must_hold(
    tokens: ForeignTokens, service: Service, claims: dict[str, Any], match: str
) -> None:
    refused(tokens, service.token(**claims), match)


def test_audience_is_compared_where_one_is_configured(service: Service) -> None:
    tokens = ForeignTokens([service.issuer(audience="kbs")])
    assert tokens.verify(service.token(aud="kbs"), NOW)
    assert tokens.verify(service.token(aud=["kbs"]), NOW)
    for aud in ("other", ["kbs", "other"], ...):
        refused(tokens, service.token(aud=aud), "audience")


def test_critical_extension_is_refused(tokens: ForeignTokens, service: Service) -> None:
    head = b64(json.dumps({"alg": "ES256", "kid": "other", "crit": ["b64"], "b64": False}).encode())
    refused(tokens, f"{head}.{b64(json.dumps(CLAIMS).encode())}.AA", "extension")


@pytest.mark.parametrize(
    "token", ["", "a.b", "a.b.c.d", "e30.e30.", "W10.e30.AA", "e30.W10.AA", "ä.e30.AA"]
)
def test_garbage_is_a_typed_error(tokens: ForeignTokens, token: str) -> None:
    with pytest.raises(ForeignTokenInvalid):
        tokens.verify(token, NOW)


def test_tee_key_is_looked_for_in_the_known_places_and_the_configured_ones_first(service: Service) -> None:
    tokens = ForeignTokens([service.issuer(tee_key_paths=("/mine~1ours/0/key",))])
    own, known = {"kty": "own"}, {"kty": "known"}
    claims = {"submods": {"cpu0": {"ear.veraison.annotated-evidence": {"runtime_data_claims": {}}}}}
    runtime = claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["runtime_data_claims"]
    runtime["tee-pubkey"] = known
    assert tokens.verify(service.token(**claims), NOW).tee_pubkey == known
    assert tokens.verify(service.token(**claims, **{"mine/ours": [{"key": own}]}), NOW).tee_pubkey == own
    tdx = {"attester_runtime_data": {"tee-pubkey": own}}
    assert tokens.verify(service.token(**claims, tdx=tdx), NOW).tee_pubkey == own


def test_issuers_are_kept_apart(tmp_path: Path) -> None:
    one, two = Service(tmp_path, "one"), Service(tmp_path, "two")
    tokens = ForeignTokens([one.issuer(issuer="https://one"), two.issuer(issuer="https://two")])
    assert tokens.verify(one.token(iss="https://one"), NOW).issuer == "one"
    refused(tokens, one.token(iss="https://two"), "no trusted issuer")
    refused(tokens, two.token({"jwk": two.header_jwk()}, iss="https://one"), "no trusted issuer")
    same = ForeignTokens([one.issuer(), one.issuer(name="again")])
    refused(same, one.token(), "several")


def test_changed_files_are_taken_up_and_broken_ones_are_not(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "CHECK_INTERVAL_S", 0.0)
    failures: list[int] = []
    tokens = ForeignTokens([service.issuer()], lambda: failures.append(1))
    service.jwks.write_text("{")
    assert tokens.verify(service.token(), NOW)
    assert tokens.verify(service.token(), NOW)
    assert failures == [1]
    successor = Service(tmp_path, "successor")
    service.jwks.write_bytes(successor.jwks.read_bytes())
    assert tokens.verify(successor.token(), NOW)
    refused(tokens, service.token(), "no trusted issuer")
    service.pem.write_bytes(successor.pem.read_bytes())
    refused(tokens, service.token({"jwk": service.header_jwk()}), "no trusted issuer")
    assert tokens.roots() == {"other": (successor.ca,)}


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"kty": "oct", "k": "AAAA", "kid": "1"}],
        [OctKey.generate_key(256).as_dict() | {"kid": "1", "alg": "HS256"}],
        [ECKey.generate_key("P-256").as_dict(private=True) | {"kid": "1"}],
        [ECKey.generate_key("P-256").as_dict(private=False) | {"kid": "1", "alg": "ES384"}],
        [ECKey.generate_key("P-256").as_dict(private=False) | {"kid": "1", "use": "enc"}],
        [ECKey.generate_key("secp256k1").as_dict(private=False) | {"kid": "1"}],
        [RSAKey.generate_key(2048).as_dict(private=False) | {"kid": "1"}],
        [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "1"}],
        [ECKey.generate_key("P-256").as_dict(private=False) | {"kid": None}],
        [ECKey.generate_key("P-256").as_dict(private=False) | {"kid": "1"}] * 2,
        ["text"],
    ],
)
def test_unusable_jwk_set_is_refused_at_start(tmp_path: Path, keys: list[Any]) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"keys": keys}))
    with pytest.raises(CocoSetting):
        ForeignTokens([TrustedIssuer("x", jwk_sets=(path,))])


def test_short_rsa_key_is_refused(tmp_path: Path) -> None:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()  # noqa: S505 (to be refused)
    n, e = (b64(v.to_bytes((v.bit_length() + 7) // 8, "big")) for v in (numbers.n, numbers.e))
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"keys": [{"kty": "RSA", "alg": "RS256", "n": n, "e": e, "kid": "1"}]}))
    with pytest.raises(CocoSetting):
        ForeignTokens([TrustedIssuer("x", jwk_sets=(path,))])


def test_half_configured_issuer_is_refused(service: Service) -> None:
    for issuers in (
        [TrustedIssuer("x")],
        [service.issuer(), service.issuer()],
        [service.issuer(tee_key_paths=("tee-pubkey",))],
        [service.issuer(certificates=(service.jwks,))],
    ):
        with pytest.raises(CocoSetting):
            ForeignTokens(issuers)


def test_without_issuers_nothing_is_taken(service: Service) -> None:
    refused(ForeignTokens([]), service.token(), "no trusted issuer")
