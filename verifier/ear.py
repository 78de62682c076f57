"""EAR: the attestation result as a signed token (draft-ietf-rats-ear, RFC 9711 EAT, RFC 7515 JWS).

Invariants:

* One algorithm per key, ES256, fixed by the key; a token's header is never asked which to use.
* A verifying key is found by ``kid`` among the pinned ones only. Our headers have exactly ``alg``,
  ``typ`` and ``kid``: one with ``jwk``, ``jku``, ``x5u``, ``x5c`` or ``crit`` is refused unread.
* ``exp`` is bounded by the earliest expiry of everything the result rests on.

Our additions to the EAR stand in one member, ``touchstone``: policy digest, reference-value snapshot,
evidence and endorsement digests, how the evidence was bound, and the lineage of each reference value
relied on (docs/formats.md).
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from common import strict_json
from common.binding import thumbprint_text
from common.encoding import b64url_decode, b64url_encode
from common.errors import InputError
from verifier.errors import EarInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

EAT_PROFILE = "tag:github.com,2023:veraison/ear"
TOKEN_TYPE = "ear+jwt"  # noqa: S105 (a media type, not a secret)
_ALGORITHM = "ES256"
_MAX_TOKEN_BYTES = 64 << 10
_SIGNATURE_PARTS = 3
_ENCODER = msgspec.json.Encoder()
_ECDSA = ECDSA(hashes.SHA256())
_P256_BYTES = 32
_JTI_RANDOM_BYTES = 10


class EarSigner:
    """Signs tokens with one ES256 key; the key object is held, not loaded per token.

    Args:
        private_key: P-256.
        issuer: the ``iss`` claim.
        developer: ``ear.verifier-id`` developer.
        build: ``ear.verifier-id`` build.
    """

    def __init__(
        self, private_key: EllipticCurvePrivateKey, *, issuer: str, developer: str, build: str
    ) -> None:
        """Prepare the constant parts."""
        self._key = private_key
        self.public_jwk: dict[str, str] = _public_jwk(ECKey.import_key(private_key))
        self.kid = self.public_jwk["kid"]
        self.issuer = issuer
        header = _ENCODER.encode({"alg": _ALGORITHM, "typ": TOKEN_TYPE, "kid": self.kid})
        self._header = b64url_encode(header)
        self._constant = {
            "eat_profile": EAT_PROFILE,
            "iss": issuer,
            "ear.verifier-id": {"developer": developer, "build": build},
        }

    def sign(self, claims: Mapping[str, Any], *, now: datetime, expires: datetime) -> str:
        """Sign ``claims`` (which must hold ``jti``) as a compact JWS."""
        issued = int(now.timestamp())
        times = {"iat": issued, "nbf": issued, "exp": int(expires.timestamp())}
        payload = _ENCODER.encode(dict(claims) | self._constant | times)
        # RFC 7515 section 7.1 and RFC 7518 section 3.4, spelt out: the header never changes, and a JOSE
        # library's generality costs more here than the signature does. Tests read the result with one.
        signed = f"{self._header}.{b64url_encode(payload)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode("ascii"), _ECDSA))
        return f"{signed}.{b64url_encode(r.to_bytes(_P256_BYTES, 'big') + s.to_bytes(_P256_BYTES, 'big'))}"


class EarVerifier:
    """Verifies tokens against pinned keys.

    Args:
        keys: public JWKs with ``kid`` (present and previous signing keys).
        issuer: the exact ``iss``.
        audience: the exact ``aud``.
    """

    def __init__(self, keys: Sequence[Mapping[str, str]], *, issuer: str, audience: str) -> None:
        """Import the keys once."""
        self._keys = {key["kid"]: ECKey.import_key(dict(key)) for key in keys}
        self._issuer = issuer
        self._audience = audience
        self._registry = jws.JWSRegistry(algorithms=[_ALGORITHM])

    def verify(self, token: str, now: datetime) -> dict[str, Any]:
        """The claims of a token that holds at ``now``.

        Raises:
            EarInvalid: header, key, signature, issuer, audience, profile or time do not hold. The
                message never quotes the token.
        """
        claims = self._authentic_claims(token)
        if claims.get("iss") != self._issuer:
            raise EarInvalid("the token's issuer is another one")
        if claims.get("aud") != self._audience:
            raise EarInvalid("the token is meant for another audience")
        if claims.get("eat_profile") != EAT_PROFILE:
            raise EarInvalid("the token has another EAT profile")
        _require_time(claims, now)
        return claims

    def _authentic_claims(self, token: str) -> dict[str, Any]:
        if len(token) > _MAX_TOKEN_BYTES:
            raise EarInvalid("the token is too large")
        header = _header_of(token)
        key = self._keys.get(str(header.get("kid")))
        if key is None:
            raise EarInvalid("the token names no key of ours")
        if header != {"alg": _ALGORITHM, "typ": TOKEN_TYPE, "kid": header["kid"]}:
            raise EarInvalid("the token's header is not one of ours")
        try:
            payload = jws.deserialize_compact(token, key, registry=self._registry).payload
            claims = strict_json.loads(payload, what="token")
        except (JoseError, ValueError, InputError) as error:
            raise EarInvalid("the token's signature or payload does not hold") from error
        if not isinstance(claims, dict):
            raise EarInvalid("the token's payload is not an object")
        return claims


def new_jti(now: datetime) -> str:
    """A fresh token id: 48 bits of milliseconds since the epoch and 80 random bits, 32 hex characters.

    The order of RFC 9562 version 7: records keyed by it are appended, not scattered over an index.
    """
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(_JTI_RANDOM_BYTES)}"


def _public_jwk(key: ECKey) -> dict[str, str]:
    public = {name: str(value) for name, value in key.as_dict(private=False).items()}
    members = {name: public[name] for name in ("kty", "crv", "x", "y")}
    return members | {"kid": thumbprint_text(members), "alg": _ALGORITHM, "use": "sig"}


def _header_of(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != _SIGNATURE_PARTS:
        raise EarInvalid("the token is not a compact JWS")
    try:
        header = strict_json.loads(b64url_decode(parts[0], what="header"), what="header")
    except InputError as error:
        raise EarInvalid("the token's header is not JSON") from error
    if not isinstance(header, dict):
        raise EarInvalid("the token's header is not an object")
    return header


def _require_time(claims: Mapping[str, Any], now: datetime) -> None:
    moment = now.timestamp()
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise EarInvalid(f"the token has no integer {name}")
    if moment >= claims["exp"]:
        raise EarInvalid("the token has expired")
    if moment < claims["nbf"]:
        raise EarInvalid("the token is not valid yet")


def decode_unverified(token: str) -> dict[str, Any]:
    """Payload of a token without any verification: for showing to a person, never for deciding.

    Raises:
        EarInvalid: not a compact JWS of a JSON object.
    """
    _header_of(token)
    try:
        claims = json.loads(b64url_decode(token.split(".")[1], what="payload"))
    except (InputError, ValueError) as error:
        raise EarInvalid("the token's payload is not JSON") from error
    if not isinstance(claims, dict):
        raise EarInvalid("the token's payload is not an object")
    return claims
