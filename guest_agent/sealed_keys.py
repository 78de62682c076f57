"""Keys of sealed secrets: P-256 as JWK (RFC 7517), public in guests, private at whoever seals.

A JWK that says another ``alg`` or ``use`` than ES256 signatures is refused, and so is a private key where a
public one belongs: whoever reads it there could seal.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from common import strict_json
from common.encoding import b64url_decode
from common.errors import InputError
from guest_agent.errors import SealedSecretUntrusted

ALGORITHM: Final = "ES256"
_MAX_KEY: Final = 8192
_JWK_MEMBERS: Final = ("kty", "crv", "x", "y", "d")


def new_key() -> ECKey:
    """A fresh sealing key."""
    return ECKey.generate_key("P-256")


def jwk_bytes(key: ECKey, *, private: bool) -> bytes:
    """A key as JWK (RFC 7517), with ``alg`` and ``use``."""
    document = {"alg": ALGORITHM, "use": "sig"} | key.as_dict(private=private)
    return msgspec.json.encode(document, order="sorted")


def public_key(data: bytes) -> ECKey:
    """A verification key: a public JWK on P-256.

    Raises:
        SealedSecretUntrusted: anything else, a private key included.
    """
    document = _jwk(data)
    if "d" in document:
        raise SealedSecretUntrusted(
            "the verification key has its private half",
            advice="Give the guest the public JWK alone: whoever reads the private one can seal.",
        )
    return _key(document)


def private_key(data: bytes) -> ECKey:
    """A sealing key: a private JWK on P-256.

    Raises:
        SealedSecretUntrusted: anything else.
    """
    document = _jwk(data)
    if "d" not in document:
        raise SealedSecretUntrusted("the sealing key is a public key", advice="Name the private JWK.")
    return _key(document)


def _jwk(data: bytes) -> dict[str, Any]:
    try:
        document = strict_json.loads(data, what="the key", max_bytes=_MAX_KEY)
    except InputError as error:
        raise SealedSecretUntrusted("the key that `kid` names is not a JWK") from error
    if not isinstance(document, dict):
        raise SealedSecretUntrusted("the key that `kid` names is not a JWK")
    return document


def _key(document: dict[str, Any]) -> ECKey:
    if document.get("kty") != "EC":
        raise SealedSecretUntrusted("the key that `kid` names is not a P-256 JWK")
    if document.get("alg", ALGORITHM) != ALGORITHM or document.get("use", "sig") != "sig":
        raise SealedSecretUntrusted("the key is for another purpose than ES256 signatures")
    try:
        members: dict[str, Any] = {name: document[name] for name in _JWK_MEMBERS if name in document}
        for name in ("x", "y"):
            b64url_decode(members[name], what=name)
        key = ECKey.import_key(members)
        require_p256(key)
    except (JoseError, InputError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SealedSecretUntrusted("the key that `kid` names is not a P-256 JWK") from error
    return key


def require_p256(key: ECKey) -> None:
    """Refuse a key of another curve.

    Raises:
        SealedSecretUntrusted: it is not on P-256.
    """
    if key.curve_name != "P-256":
        raise SealedSecretUntrusted("the key is not on P-256, which ES256 needs")
