"""Keys of other attestation services: which algorithm each is for, and by what chain one is trusted.

The algorithm is the key's: for elliptic curves its curve decides (RFC 7518 section 3.4, RFC 8037), for RSA,
where the key does not, the JWK must say it in ``alg``. A JWK whose ``alg`` contradicts its key, a symmetric
one, one for encryption and a private one are refused.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any, Final

from coco.errors import CocoSetting, ForeignTokenInvalid
from coco.verifying_key import RSA_ALGORITHMS, VerifyingKey, key_from_jwk
from common import strict_json
from common.encoding import b64url_decode, b64url_encode
from common.errors import InputError, TouchstoneError
from provenance import x509_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cryptography import x509

_MAX_KEYS: Final = 64
_COORDINATE_BYTES: Final = {"P-256": 32, "P-384": 48, "P-521": 66}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})


def jwk_set(data: bytes, what: str) -> dict[str, VerifyingKey]:
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
    keys: dict[str, VerifyingKey] = {}
    for member in members:
        kid = member.get("kid") if isinstance(member, dict) else None
        if not isinstance(kid, str) or kid in keys:
            raise CocoSetting(f"{what}: each key needs a kid of its own")
        try:
            keys[kid] = trusted_key(member)
        except ForeignTokenInvalid as error:
            raise CocoSetting(f"{what}: {error.message}") from error
    return keys


def trusted_key(jwk: Mapping[str, Any]) -> VerifyingKey:
    """A public JWK with the algorithm of its signatures.

    Raises:
        ForeignTokenInvalid: it is not a public signature key of a known kind.
    """
    if jwk.get("kty") == "RSA" and jwk.get("alg") not in RSA_ALGORITHMS:
        raise ForeignTokenInvalid("an RSA key does not say its algorithm")
    if _PRIVATE & jwk.keys():
        raise ForeignTokenInvalid("a key is private or symmetric")
    try:
        return key_from_jwk(_padded(jwk), "")
    except TouchstoneError as error:
        raise ForeignTokenInvalid(f"a key cannot be used: {error.message}") from error


def _padded(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """With coordinates of full length: some services drop leading zero bytes (RFC 7518 section 6.2.1.2)."""
    size = _COORDINATE_BYTES.get(str(jwk.get("crv")))
    if size is None:
        return dict(jwk)
    full = {
        name: b64url_encode(b64url_decode(str(jwk[name]), what=name).rjust(size, b"\0"))
        for name in ("x", "y")
        if name in jwk
    }
    return dict(jwk) | full


def key_of_chain(jwk: object, roots: Sequence[x509.Certificate], now: datetime) -> VerifyingKey | None:
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
    if chain[0].public_key() != key.public_key:
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
