"""The attestation result in the form that Confidential Containers reads (the reference's EAR token).

Header: ``{"alg": "ES256", "typ": "JWT", "kid": ..., "jwk": {"alg", "kty", "crv", "x", "y", "x5c"}}``. A
relying key broker accepts it by the ``x5c`` chain (leaf first, without the root) that ends at a
certificate it trusts, or, where ``jwk`` is left out, by ``kid`` in a JWK Set it trusts. The header's bytes
are made once per key.

``x5c`` is standard base64 (RFC 7517 section 4.7). Reference releases up to 2025 read and write unpadded
base64url there instead, hence ``CocoForm.x5c``.

A token without ``aud``: reference releases refuse one that has it, since they are given no audience to
compare with.

On the verifying side both header forms are taken, ``kid`` decides, and a ``jwk`` must be one that we
publish for that ``kid`` (``verifier.compact``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from common.encoding import b64_encode, b64url_encode
from verifier import compact
from verifier.errors import EarInvalid, TokenCertificateExpired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

TOKEN_TYPE = "JWT"  # noqa: S105 (a media type, not a secret)


class CocoForm(msgspec.Struct, frozen=True):
    """What the header carries.

    Attributes:
        header: ``jwk`` with the certificate chain, or the ``kid`` alone.
        x5c: text of the certificates.
    """

    header: Literal["jwk", "kid"] = "jwk"
    x5c: Literal["base64", "base64url"] = "base64"


def header_jwk(public_jwk: Mapping[str, str], chain: Sequence[bytes], form: CocoForm) -> dict[str, Any]:
    """The ``jwk`` of a header: algorithm, key and chain; no ``kid``, which stands beside it.

    Args:
        public_jwk: P-256.
        chain: DER certificates, leaf first, without the root.
        form: which base64.
    """
    encode = b64_encode if form.x5c == "base64" else b64url_encode
    members = {name: public_jwk[name] for name in ("alg", "kty", "crv", "x", "y")}
    return members | {"x5c": [encode(certificate) for certificate in chain]}


class CocoSigner:
    """Signs tokens of this form with one key.

    Args:
        private_key: P-256.
        form: what the header carries.
        chain: DER certificates of the key, leaf first; needed where the header carries them.
        not_after: when the first of them expires.
    """

    def __init__(
        self,
        private_key: EllipticCurvePrivateKey,
        *,
        form: CocoForm,
        chain: Sequence[bytes] = (),
        not_after: datetime | None = None,
    ) -> None:
        """Make the header."""
        self._key = private_key
        public = compact.public_jwk(private_key)
        self.kid = public["kid"]
        header: dict[str, Any] = {"alg": compact.ALGORITHM, "typ": TOKEN_TYPE, "kid": self.kid}
        if form.header == "jwk":
            if not chain:
                raise ValueError("a header with a jwk needs the certificate chain")
            header["jwk"] = header_jwk(public, chain, form)
        self._not_after = not_after if form.header == "jwk" else None
        self._header = compact.header_segment(header)

    def sign(self, claims: Mapping[str, Any], *, now: datetime, expires: datetime) -> str:
        """Sign ``claims``, to which ``iat``, ``nbf`` and ``exp`` are added.

        Args:
            claims: everything else, ``iss``, ``eat_profile`` and ``ear.verifier-id`` included.
            now: time of issue.
            expires: end of validity; that of the certificate, where it is earlier.

        Raises:
            TokenCertificateExpired: nobody would accept the certificate in the header.
        """
        if self._not_after is not None:
            if self._not_after <= now:
                raise TokenCertificateExpired("the certificate of the token-signing key has expired")
            expires = min(expires, self._not_after)
        issued = int(now.timestamp())
        times = {"iat": issued, "nbf": issued, "exp": int(expires.timestamp())}
        return compact.sign(self._key, self._header, dict(claims) | times)


class CocoVerifier:
    """Verifies our own tokens of this form.

    Args:
        keys: ours.
        issuer: the exact ``iss``.
        profile: the exact ``eat_profile``.
    """

    def __init__(self, keys: compact.VerifyingKeys, *, issuer: str, profile: str) -> None:
        """Keep the keys."""
        self._keys = keys
        self._issuer = issuer
        self._profile = profile

    def verify(self, token: str, now: datetime) -> dict[str, Any]:
        """The claims of a token that holds at ``now``.

        Raises:
            EarInvalid: header, key, signature, issuer, profile or time do not hold, or it has an
                audience. The message never quotes the token.
        """
        claims = compact.authentic_claims(token, self._keys, now, token_type=TOKEN_TYPE, with_jwk=True)
        if claims.get("iss") != self._issuer:
            raise EarInvalid("the token's issuer is another one")
        if claims.get("eat_profile") != self._profile:
            raise EarInvalid("the token has another EAT profile")
        if "aud" in claims:
            raise EarInvalid("the token is meant for another audience")
        compact.require_time(claims, now)
        return claims
