"""Tokens for Confidential Containers: read by the reference's rules, and by ours in both header forms."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from service import certificates
from verifier.coco_token import CocoForm, CocoSigner, CocoVerifier, header_jwk
from verifier.compact import FixedKeys, header_segment, public_jwk, sign
from verifier.errors import EarInvalid, TokenCertificateExpired

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PROFILE = "tag:github.com,2024:confidential-containers/Trustee"
ISSUER = "CoCo-Attestation-Service"
CLAIMS = {"iss": ISSUER, "eat_profile": PROFILE, "submods": {}}
FORMS = [CocoForm(header, x5c) for header in ("jwk", "kid") for x5c in ("base64", "base64url")]


class Issuer:
    """A key with a certificate of a local authority."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        ca_key = ec.generate_private_key(ec.SECP256R1())
        self.ca = certificates.new_authority(ca_key, NOW)
        self.leaf = certificates.issue(
            self.key.public_key(), self.ca, ca_key, now=NOW, lifetime=timedelta(days=30)
        )
        self.chain = [self.leaf.public_bytes(Encoding.DER)]
        self.jwk = public_jwk(self.key)
        self.kid = self.jwk["kid"]

    def signer(self, form: CocoForm) -> CocoSigner:
        return CocoSigner(self.key, form=form, chain=self.chain, not_after=self.leaf.not_valid_after_utc)

    def verifier(self) -> CocoVerifier:
        carried = tuple(header_jwk(self.jwk, self.chain, form) for form in FORMS)
        return CocoVerifier(FixedKeys([self.jwk], {self.kid: carried}), issuer=ISSUER, profile=PROFILE)

    def token(self, form: CocoForm = FORMS[0], **claims: object) -> str:
        return self.signer(form).sign(CLAIMS | claims, now=NOW, expires=NOW + timedelta(minutes=5))

    def forged(self, header: dict[str, Any], key: ec.EllipticCurvePrivateKey | None = None) -> str:
        at = int(NOW.timestamp())
        times = {"iat": at, "nbf": at, "exp": at + 60}
        return sign(key or self.key, header_segment(header), CLAIMS | times)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def unpadded(text: str) -> bytes:
    """Base64url without padding, as the reference's decoder takes it: nothing else."""
    assert not set(text) & set("+/=")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def reference_claims(
    token: str,
    *,
    roots: list[x509.Certificate] | None = None,
    jwks: dict[str, Any] | None = None,
    x5c: str,
    now: datetime = NOW,
) -> dict[str, Any]:
    """What a key broker of the reference does with an attestation token (spec 1.9): raises or gives claims.

    A header jwk needs x5c: the leaf holds the same point, its text is of the release's base64, and it is an
    end entity under a trusted certificate, for client authentication where it says what for. Otherwise the
    kid is looked for in the JWK Set. The algorithm is the JWK's; exp is demanded; an aud is refused.
    """
    head, body, signature = token.split(".")
    header = json.loads(unpadded(head))
    jwk = header.get("jwk")
    if jwk is not None:
        assert roots, "no trusted certificates"
        decode = unpadded if x5c == "base64url" else base64.b64decode
        ders = [decode(text.replace("\n", "")) for text in jwk["x5c"]]
        leaf, *others = (x509.load_der_x509_certificate(der) for der in ders)
        point = b"\x04" + unpadded(jwk["x"]) + unpadded(jwk["y"])
        assert leaf.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) == point
        builder = PolicyBuilder().store(Store(roots)).time(now.replace(tzinfo=None))
        policies = {
            "ca_policy": ExtensionPolicy.webpki_defaults_ca(),
            "ee_policy": ExtensionPolicy.permit_all(),
        }
        builder.extension_policies(**policies).build_client_verifier().verify(leaf, others)
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    else:
        assert jwks, "no trusted JWK Set"
        jwk = next(key for key in jwks["keys"] if key["kid"] == header["kid"])
    assert header["alg"] == jwk["alg"] == "ES256"
    x, y = (int.from_bytes(unpadded(jwk[name]), "big") for name in ("x", "y"))
    raw = unpadded(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    public.verify(der, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    claims: dict[str, Any] = json.loads(unpadded(body))
    assert claims["exp"] + 60 > now.timestamp()
    assert "aud" not in claims
    return claims


@pytest.mark.parametrize("x5c", ["base64", "base64url"])
def test_reference_takes_the_chain_under_our_authority(issuer: Issuer, x5c: Any) -> None:
    token = issuer.token(CocoForm("jwk", x5c))
    claims = reference_claims(token, roots=[issuer.ca], x5c=x5c)
    at = int(NOW.timestamp())
    assert claims == CLAIMS | {"iat": at, "nbf": at, "exp": at + 300}
    with pytest.raises(VerificationError):
        reference_claims(token, roots=[Issuer().ca], x5c=x5c)
    with pytest.raises(VerificationError):
        reference_claims(token, roots=[issuer.ca], x5c=x5c, now=NOW + timedelta(days=31))


def test_reference_takes_the_kid_from_the_jwk_set(issuer: Issuer) -> None:
    token = issuer.token(CocoForm("kid"))
    assert reference_claims(token, jwks={"keys": [issuer.jwk]}, x5c="base64")["iss"] == ISSUER
    with pytest.raises(StopIteration):
        reference_claims(token, jwks={"keys": [Issuer().jwk]}, x5c="base64")


def test_coordinates_always_have_32_bytes() -> None:
    """A key whose x begins with a zero byte: encoders of big integers would drop it."""
    while True:
        key = ec.generate_private_key(ec.SECP256R1())
        if key.public_key().public_numbers().x < 1 << 248:
            break
    issuer = Issuer(key)
    header = json.loads(unpadded(issuer.token().split(".")[0]))
    assert len(unpadded(header["jwk"]["x"])) == 32
    assert reference_claims(issuer.token(), roots=[issuer.ca], x5c="base64")


@pytest.mark.parametrize("form", FORMS)
def test_own_token_verifies_in_every_form(issuer: Issuer, form: CocoForm) -> None:
    assert issuer.verifier().verify(issuer.token(form, jti="1"), NOW)["jti"] == "1"


def test_header_members_are_as_the_reference_has_them(issuer: Issuer) -> None:
    header = json.loads(unpadded(issuer.token().split(".")[0]))
    assert header.keys() == {"alg", "typ", "kid", "jwk"}
    assert (header["alg"], header["typ"]) == ("ES256", "JWT")
    assert header["jwk"].keys() == {"alg", "kty", "crv", "x", "y", "x5c"}
    assert json.loads(unpadded(issuer.token(CocoForm("kid")).split(".")[0])).keys() == {"alg", "typ", "kid"}


def test_key_of_the_header_is_never_used(issuer: Issuer) -> None:
    """A requester signs with its own key and brings it: alone, under our kid, with our chain."""
    attacker = Issuer()
    own = header_jwk(attacker.jwk, attacker.chain, FORMS[0])
    borrowed = own | {"x5c": header_jwk(issuer.jwk, issuer.chain, FORMS[0])["x5c"]}
    bare = {name: value for name, value in own.items() if name != "x5c"}
    for kid in (issuer.kid, attacker.kid):
        for jwk in (own, borrowed, bare, header_jwk(issuer.jwk, issuer.chain, FORMS[0])):
            header = {"alg": "ES256", "typ": "JWT", "kid": kid, "jwk": jwk}
            with pytest.raises(EarInvalid):
                issuer.verifier().verify(issuer.forged(header, attacker.key), NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"jku": "https://attacker.example"},
        {"x5u": "https://attacker.example"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"]},
        {"b64": False},
        {"cty": "JWT"},
        {"typ": "ear+jwt"},
        {"alg": "none"},
        {"alg": "HS256"},
        {"jwk": None},
        {"jwk": {}},
        {"kid": None},
    ],
)
def test_any_other_header_is_refused_though_our_key_signed(issuer: Issuer, change: dict[str, Any]) -> None:
    header = {"alg": "ES256", "typ": "JWT", "kid": issuer.kid}
    assert issuer.verifier().verify(issuer.forged(header), NOW)
    with pytest.raises(EarInvalid):
        issuer.verifier().verify(issuer.forged(header | change), NOW)


@pytest.mark.parametrize("claims", [{"iss": "other"}, {"eat_profile": "other"}, {"aud": "touchstone"}])
def test_claims_are_compared_exactly(issuer: Issuer, claims: dict[str, str]) -> None:
    with pytest.raises(EarInvalid):
        issuer.verifier().verify(issuer.token(**claims), NOW)


@pytest.mark.parametrize("offset", [-1, 300])
def test_time_is_bounded_on_both_sides(issuer: Issuer, offset: int) -> None:
    with pytest.raises(EarInvalid):
        issuer.verifier().verify(issuer.token(), NOW + timedelta(seconds=offset))


def test_token_ends_with_the_certificate_it_carries(issuer: Issuer) -> None:
    end = issuer.leaf.not_valid_after_utc
    at = end - timedelta(seconds=10)
    token = issuer.signer(FORMS[0]).sign(CLAIMS, now=at, expires=at + timedelta(minutes=5))
    assert json.loads(unpadded(token.split(".")[1]))["exp"] == int(end.timestamp())
    with pytest.raises(TokenCertificateExpired):
        issuer.signer(FORMS[0]).sign(CLAIMS, now=end, expires=end + timedelta(minutes=5))
    assert issuer.signer(CocoForm("kid")).sign(CLAIMS, now=end, expires=end + timedelta(minutes=5))
