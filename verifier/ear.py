"""EAR: the attestation result as a signed token (draft-ietf-rats-ear, RFC 9711 EAT, RFC 7515 JWS).

Invariants:

* One algorithm per key, ES256, fixed by the key; a token's header is never asked which to use.
* A verifying key is found by ``kid`` among our own only. Headers of this form have exactly ``alg``,
  ``typ`` and ``kid``: one with ``jwk``, ``jku``, ``x5u``, ``x5c`` or ``crit`` is refused unread.
  The form of Confidential Containers, whose headers carry ``jwk``, is ``verifier.coco_token``.
* ``exp`` is bounded by the earliest expiry of everything the result rests on.

Our additions to the EAR stand in one member, ``touchstone``: policy digest, reference-value snapshot,
evidence and endorsement digests, how the evidence was bound, and the lineage of each reference value
relied on (docs/formats.md).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from common.encoding import b64url_decode
from common.errors import InputError
from verifier import compact
from verifier.errors import EarInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

EAT_PROFILE = "tag:github.com,2023:veraison/ear"
TOKEN_TYPE = "ear+jwt"  # noqa: S105 (a media type, not a secret)
_JTI_RANDOM_BYTES = 10


class Signer(Protocol):
    """Signs attestation results: one key (``EarSigner``), or whichever is the present one."""

    def sign(self, claims: Mapping[str, Any], *, now: datetime, expires: datetime) -> str:
        """Sign ``claims`` as a compact JWS."""


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
        self.public_jwk: dict[str, str] = compact.public_jwk(private_key)
        self.kid = self.public_jwk["kid"]
        self.issuer = issuer
        self._header = compact.header_segment(
            {"alg": compact.ALGORITHM, "typ": TOKEN_TYPE, "kid": self.kid}
        )
        self._constant = {
            "eat_profile": EAT_PROFILE,
            "iss": issuer,
            "ear.verifier-id": {"developer": developer, "build": build},
        }

    def sign(self, claims: Mapping[str, Any], *, now: datetime, expires: datetime) -> str:
        """Sign ``claims`` (which must hold ``jti``) as a compact JWS."""
        issued = int(now.timestamp())
        times = {"iat": issued, "nbf": issued, "exp": int(expires.timestamp())}
        return compact.sign(self._key, self._header, dict(claims) | self._constant | times)


class EarVerifier:
    """Verifies tokens against our keys.

    Args:
        keys: ours; a sequence of public JWKs with ``kid`` stands for ones that never change.
        issuer: the exact ``iss``.
        audience: the exact ``aud``.
    """

    def __init__(
        self,
        keys: compact.VerifyingKeys | Sequence[Mapping[str, str]],
        *,
        issuer: str,
        audience: str,
    ) -> None:
        """Keep the keys."""
        self._keys = compact.FixedKeys(keys) if isinstance(keys, Sequence) else keys
        self._issuer = issuer
        self._audience = audience

    def verify(self, token: str, now: datetime) -> dict[str, Any]:
        """The claims of a token that holds at ``now``.

        Raises:
            EarInvalid: header, key, signature, issuer, audience, profile or time do not hold. The
                message never quotes the token.
        """
        claims = compact.authentic_claims(token, self._keys, now, token_type=TOKEN_TYPE)
        if claims.get("iss") != self._issuer:
            raise EarInvalid("the token's issuer is another one")
        if claims.get("aud") != self._audience:
            raise EarInvalid("the token is meant for another audience")
        if claims.get("eat_profile") != EAT_PROFILE:
            raise EarInvalid("the token has another EAT profile")
        compact.require_time(claims, now)
        return claims


def new_jti(now: datetime) -> str:
    """A fresh token id: 48 bits of milliseconds since the epoch and 80 random bits, 32 hex characters.

    The order of RFC 9562 version 7: records keyed by it are appended, not scattered over an index.
    """
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(_JTI_RANDOM_BYTES)}"


def decode_unverified(token: str) -> dict[str, Any]:
    """Payload of a token without any verification: for showing to a person, never for deciding.

    Raises:
        EarInvalid: not a compact JWS of a JSON object.
    """
    compact.header_of(token)
    try:
        claims = json.loads(b64url_decode(token.split(".")[1], what="payload"))
    except (InputError, ValueError) as error:
        raise EarInvalid("the token's payload is not JSON") from error
    if not isinstance(claims, dict):
        raise EarInvalid("the token's payload is not an object")
    return claims
