"""Compact JWS with ES256 (RFC 7515 section 7.1, RFC 7518 section 3.4): what our token forms share.

Invariants:

* One algorithm, fixed by the key; a token's header is never asked which to use.
* A verifying key is found by ``kid`` among our own only. A header ``jwk`` is compared with what we
  publish for that ``kid`` (``VerifyingKeys.find``) and never used as a key.
* The header is compared whole: any member that the form does not have refuses, before the signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

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

ALGORITHM = "ES256"
MAX_TOKEN_BYTES = 1 << 20  # tokens of Confidential Containers repeat the whole evidence
_SIGNATURE_PARTS = 3
_ENCODER = msgspec.json.Encoder()
_ECDSA = ECDSA(hashes.SHA256())
_P256_BYTES = 32
# Headers are compared whole, and sizes are bounded, before this library sees a token: its own bounds are
# narrower than tokens with certificates and evidence.
_REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)
_REGISTRY.max_header_length = _REGISTRY.max_payload_length = MAX_TOKEN_BYTES


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key that tokens of ours may be signed with.

    Attributes:
        jwk: public JWK with ``kid``, ``alg`` and ``use``; coordinates always of 32 bytes.
        key: the same, imported.
        header_jwks: each ``jwk`` that headers of this key's tokens may carry (``verifier.coco_token``).
    """

    jwk: Mapping[str, str]
    key: ECKey
    header_jwks: tuple[Mapping[str, Any], ...] = ()


class VerifyingKeys(Protocol):
    """Our keys, as they are at the moment of the question."""

    def find(self, kid: str, now: datetime, jwk: object = None) -> VerifyingKey | None:
        """The key of that id, if a token may be signed with it at ``now``.

        Args:
            kid: RFC 7638 thumbprint.
            now: the instant of the operation.
            jwk: the header's ``jwk``, where there is one: it must be one that we publish for ``kid``.
        """


class FixedKeys:
    """Keys that never change.

    Args:
        keys: public JWKs with ``kid``.
        header_jwks: for each ``kid`` what headers may carry.
    """

    def __init__(
        self,
        keys: Sequence[Mapping[str, str]],
        header_jwks: Mapping[str, tuple[Mapping[str, Any], ...]] | None = None,
    ) -> None:
        """Import the keys once."""
        carried = header_jwks or {}
        self._keys = {key["kid"]: verifying_key(key, carried.get(key["kid"], ())) for key in keys}

    def find(self, kid: str, now: datetime, jwk: object = None) -> VerifyingKey | None:
        """As ``VerifyingKeys``; the time does not matter."""
        del now
        key = self._keys.get(kid)
        return None if key is None or not publishes(key, jwk) else key


def verifying_key(jwk: Mapping[str, str], header_jwks: tuple[Mapping[str, Any], ...] = ()) -> VerifyingKey:
    """Import a public JWK."""
    return VerifyingKey(jwk, ECKey.import_key(dict(jwk)), header_jwks)


def publishes(key: VerifyingKey, jwk: object) -> bool:
    """Whether a header of this key's tokens may carry ``jwk``; None stands for none."""
    return jwk is None or jwk in key.header_jwks


def public_jwk(key: EllipticCurvePrivateKey) -> dict[str, str]:
    """Public JWK of a P-256 key, with its thumbprint as ``kid``."""
    public = ECKey.import_key(key).as_dict(private=False)
    members = {name: str(public[name]) for name in ("kty", "crv", "x", "y")}
    return members | {"kid": thumbprint_text(members), "alg": ALGORITHM, "use": "sig"}


def header_segment(header: Mapping[str, Any]) -> str:
    """A protected header as it stands in a token."""
    return b64url_encode(_ENCODER.encode(header))


def sign(key: EllipticCurvePrivateKey, header: str, payload: Mapping[str, Any]) -> str:
    """A compact JWS.

    Spelt out, because the header never changes and a JOSE library's generality costs more here than the
    signature does; tests read the result with one.
    """
    signed = f"{header}.{b64url_encode(_ENCODER.encode(payload))}"
    r, s = decode_dss_signature(key.sign(signed.encode("ascii"), _ECDSA))
    return f"{signed}.{b64url_encode(r.to_bytes(_P256_BYTES, 'big') + s.to_bytes(_P256_BYTES, 'big'))}"


def header_of(token: str) -> dict[str, Any]:
    """The header of a compact JWS, unverified.

    Raises:
        EarInvalid: too large, or not a compact JWS with a JSON object for a header.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise EarInvalid("the token is too large")
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


def authentic_claims(
    token: str, keys: VerifyingKeys, now: datetime, *, token_type: str, with_jwk: bool = False
) -> dict[str, Any]:
    """The claims of a token that one of our keys signed; nothing in them is judged.

    Args:
        token: compact JWS.
        keys: ours.
        now: the instant of the operation.
        token_type: the exact ``typ``.
        with_jwk: whether the header may carry a ``jwk`` that we publish.

    Raises:
        EarInvalid: header, key, signature or payload do not hold. The message never quotes the token.
    """
    header = header_of(token)
    jwk = header.get("jwk") if with_jwk else None
    key = keys.find(str(header.get("kid")), now, jwk)
    if key is None:
        raise EarInvalid("the token names no key of ours")
    expected = {"alg": ALGORITHM, "typ": token_type, "kid": key.jwk["kid"]}
    if header != (expected if jwk is None else expected | {"jwk": jwk}):
        raise EarInvalid("the token's header is not one of ours")
    try:
        payload = jws.deserialize_compact(token, key.key, registry=_REGISTRY).payload
        claims = strict_json.loads(payload, what="token")
    except (JoseError, ValueError, InputError) as error:
        raise EarInvalid("the token's signature or payload does not hold") from error
    if not isinstance(claims, dict):
        raise EarInvalid("the token's payload is not an object")
    return claims


def require_time(claims: Mapping[str, Any], now: datetime) -> None:
    """Demand integer ``exp``, ``nbf`` and ``iat``, and that ``now`` is before ``exp``, not before ``nbf``.

    Raises:
        EarInvalid: they are not, or it is not.
    """
    moment = now.timestamp()
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise EarInvalid(f"the token has no integer {name}")
    if moment >= claims["exp"]:
        raise EarInvalid("the token has expired")
    if moment < claims["nbf"]:
        raise EarInvalid("the token is not valid yet")
