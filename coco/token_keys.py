"""Keys of other attestation services: which algorithm each is for, and by what chain one is trusted.

The algorithm is the key's: for elliptic curves its curve decides (RFC 7518 section 3.4, RFC 8037), for RSA,
where the key does not, the JWK must say it in ``alg``. A JWK whose ``alg`` contradicts its key, a symmetric
one, one for encryption and a private one are refused.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any, Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from coco.errors import CocoSetting, ForeignTokenInvalid
from common import strict_json
from common.errors import InputError, TouchstoneError
from provenance import x509_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cryptography import x509

_MAX_KEYS: Final = 64
_MIN_RSA_BITS: Final = 2048
_BY_CURVE: Final = {
    ("EC", "P-256"): "ES256",
    ("EC", "P-384"): "ES384",
    ("EC", "P-521"): "ES512",
    ("OKP", "Ed25519"): "EdDSA",
}
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})


class TrustedKey(msgspec.Struct, frozen=True):
    """A verifying key.

    Attributes:
        key: imported.
        algorithm: the one of its signatures.
    """

    key: ECKey | RSAKey | OKPKey
    algorithm: str


def jwk_set(data: bytes, what: str) -> dict[str, TrustedKey]:
    """The keys of a JWK Set (RFC 7517 section 5) by ``kid``.

    Raises:
        CocoSetting: it is none, or a key cannot be used, has no ``kid``, or one that another has.
    """
    try:
        document = strict_json.loads(data, what=what)
    except InputError as error:
        raise CocoSetting(f"{what} is not JSON") from error
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list) or not 1 <= len(members) <= _MAX_KEYS:
        raise CocoSetting(f"{what} is not a JWK Set of 1 to {_MAX_KEYS} keys")
    keys: dict[str, TrustedKey] = {}
    for member in members:
        kid = member.get("kid") if isinstance(member, dict) else None
        if not isinstance(kid, str) or kid in keys:
            raise CocoSetting(f"{what}: each key needs a kid of its own")
        try:
            keys[kid] = trusted_key(member)
        except ForeignTokenInvalid as error:
            raise CocoSetting(f"{what}: {error.message}") from error
    return keys


def trusted_key(jwk: Mapping[str, Any]) -> TrustedKey:
    """A public JWK with the algorithm of its signatures.

    Raises:
        ForeignTokenInvalid: it is not a public signature key of a known kind.
    """
    if _PRIVATE & jwk.keys() or jwk.get("use", "sig") != "sig":
        raise ForeignTokenInvalid("a key is private, symmetric or not for signatures")
    kind, stated = jwk.get("kty"), jwk.get("alg")
    algorithm = stated if kind == "RSA" else _BY_CURVE.get((str(kind), str(jwk.get("crv"))))
    if algorithm is None or stated not in (None, algorithm) or (kind == "RSA" and stated not in _RSA):
        raise ForeignTokenInvalid("a key's kind and alg do not give one known algorithm")
    members = {name: jwk[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in jwk}
    importers = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
    try:
        key: Any = importers[str(kind)].import_key(members)
        public = key.public_key
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise ForeignTokenInvalid("a key cannot be read") from error
    if kind == "RSA" and public.key_size < _MIN_RSA_BITS:
        raise ForeignTokenInvalid(f"an RSA key is shorter than {_MIN_RSA_BITS} bits")
    return TrustedKey(key, algorithm)


def key_of_chain(jwk: object, roots: Sequence[x509.Certificate], now: datetime) -> TrustedKey | None:
    """The key of a header, if its chain leads to one of ``roots``; None if it does not.

    Args:
        jwk: the header's; its ``x5c`` is standard base64 (RFC 7517 section 4.7) or unpadded base64url, as
            some services write it.
        roots: certificates of one issuer; one may be that of the key itself.
        now: the instant of the operation.

    Raises:
        ForeignTokenInvalid: the leaf is another key's, or something cannot be read.
    """
    if not isinstance(jwk, dict) or not isinstance(jwk.get("x5c"), list):
        return None
    key = trusted_key(jwk)
    try:
        chain = x509_path.load_chain([_der(text) for text in jwk["x5c"]])
        x509_path.validate(chain, x509_path.Anchors(tuple(roots)), now)
    except TouchstoneError:
        return None
    if chain[0].public_key() != key.key.public_key:
        raise ForeignTokenInvalid("the header's key is not that of its certificate")
    return key


def _der(text: object) -> bytes:
    if not isinstance(text, str):
        raise ForeignTokenInvalid("x5c holds something else than text")
    standard = text.replace("\n", "").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return binascii.a2b_base64(standard + "=" * (-len(standard) % 4), strict_mode=True)
    except ValueError as error:
        raise ForeignTokenInvalid("x5c is not base64") from error
