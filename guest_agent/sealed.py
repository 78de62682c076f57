"""Sealed secrets: ``sealed.HEADER.PAYLOAD.SIGNATURE``, safe to lie in an untrusted control plane.

What is between the dots is a compact JWS (RFC 7515 section 3.1): the signature is over ``HEADER.PAYLOAD``,
the word ``sealed.`` is outside it. Order of unsealing: size and form; header; key by ``kid``; signature;
only then is the payload parsed and anything fetched that it names.

Invariants:

* ES256 alone, said by the header and by the key (P-256). Nothing is tried.
* The key is a resource of the KBS or a file in one folder, by name; it is a public key.
* Every part has one spelling: base64url without padding and without stray bits.
* ``verify=False`` is for development; the caller decides and warns.

Payload: ``vault`` names a resource that is the secret; ``envelope`` brings the secret encrypted
(A256GCM, ``iv`` of 12 bytes) under a key that is itself encrypted (A256GCM, ``annotations.iv``) under the
32-byte resource ``key_id``. Provider ``kbs`` alone.

Source: Confidential Containers, confidential data hub, sealed secrets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from common import strict_json
from common.encoding import b64_decode, b64_encode, b64url_decode, identifier
from common.errors import InputError, Malformed, TooLarge
from guest_agent import aead, resource_uri
from guest_agent.errors import SealedSecretMalformed, SealedSecretUntrusted, Unsupported
from guest_agent.sealed_keys import ALGORITHM, public_key, require_p256

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

    from guest_agent.resource_uri import ResourceUri

PREFIX: Final = "sealed."
VERSION: Final = "0.1.0"
PROVIDER: Final = "kbs"
MAX_SEALED: Final = 1 << 20
_PARTS: Final = 3
_MAX_HEADER: Final = 8192
_KBS_SCHEME: Final = re.compile(r"kbs(\+[a-z0-9_-]+)?://")
_HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ", "cty"})


class Resources(Protocol):
    """Where unsealing gets what a secret names."""

    def resource(self, uri: ResourceUri) -> bytes:
        """A resource of the KBS."""

    def local_key(self, name: str) -> bytes:
        """A verification key that lies in the guest; ``name`` is an identifier."""


class Vault(msgspec.Struct, frozen=True, kw_only=True, tag="vault"):
    """A secret that is a resource.

    Attributes:
        name: the resource's URI.
    """

    version: str
    provider: str
    name: str
    provider_settings: dict[str, Any] = {}
    annotations: dict[str, Any] = {}


class Envelope(msgspec.Struct, frozen=True, kw_only=True, tag="envelope"):
    """A secret that comes along, encrypted.

    Attributes:
        key_id: URI of the key-encryption key.
        encrypted_key: base64; data key, then tag of 16 bytes.
        encrypted_data: base64; secret, then tag.
        iv: base64, 12 bytes, of the data; that of the key is ``annotations["iv"]``.
    """

    version: str
    provider: str
    key_id: str
    encrypted_key: str
    encrypted_data: str
    wrap_type: str
    iv: str
    provider_settings: dict[str, Any] = {}
    annotations: dict[str, Any] = {}


def unseal(
    text: str, source: Resources, *, verify: bool = True, key: ECKey | None = None, kek: bytes | None = None
) -> bytes:
    """The secret.

    Args:
        text: the sealed secret, no white space around it.
        source: gives resources and local keys.
        verify: whether the signature must hold.
        key: verification key in place of what ``kid`` names.
        kek: key of an envelope in place of what ``key_id`` names.

    Raises:
        TooLarge: over ``MAX_SEALED`` characters.
        SealedSecretMalformed: not the form.
        Unsupported: an algorithm, version, type or provider that we do not have.
        SealedSecretUntrusted: signature or key.
        UnwrapFailed: an envelope that does not open.
        TouchstoneError: what ``source`` raises.
    """
    header, payload, token = _split(text)
    if verify:
        _verify(header, token, source, key)
    content = _content(payload)
    if isinstance(content, Vault):
        return source.resource(resource_uri.parse(content.name))
    if content.wrap_type != aead.A256GCM:
        raise Unsupported(f"an envelope is encrypted by {aead.A256GCM}")
    return _open(content, kek or source.resource(resource_uri.parse(content.key_id)))


def seal(content: Vault | Envelope, key: ECKey, kid: str) -> str:
    """Sign a content.

    Args:
        content: what to seal.
        key: private P-256 key.
        kid: where the guest finds the public half: a resource URI, or a file name in the guest's folder.

    Raises:
        InvalidIdentifier: neither.
        SealedSecretUntrusted: the key is not P-256.
    """
    if _KBS_SCHEME.match(kid):
        resource_uri.parse(kid)
    else:
        identifier(kid, what="kid")
    require_p256(key)
    token = jws.serialize_compact({"alg": ALGORITHM, "kid": kid}, msgspec.json.encode(content), key)
    return PREFIX + token


def envelope(secret: bytes, *, key_id: str, kek: bytes) -> Envelope:
    """Encrypt a secret under a fresh key, and that under the resource's.

    Args:
        secret: anything that fits a sealed secret.
        key_id: URI of ``kek`` in the KBS.
        kek: its 32 bytes.

    Raises:
        InvalidIdentifier: ``key_id`` is no resource URI.
        UnwrapFailed: the key has another size.
        TooLarge: the secret.
    """
    if len(secret) > MAX_SEALED // 2:
        raise TooLarge(f"a sealed envelope holds at most {MAX_SEALED // 2} bytes")
    resource_uri.parse(key_id)
    data_key = aead.new_key()
    data_iv, data = aead.encrypt(data_key, secret)
    key_iv, wrapped = aead.encrypt(kek, data_key)
    return Envelope(
        version=VERSION,
        provider=PROVIDER,
        key_id=key_id,
        encrypted_key=b64_encode(wrapped),
        encrypted_data=b64_encode(data),
        wrap_type=aead.A256GCM,
        iv=b64_encode(data_iv),
        annotations={"iv": b64_encode(key_iv)},
    )


def vault(name: str) -> Vault:
    """A content that names the resource ``name``.

    Raises:
        InvalidIdentifier: not a resource URI.
    """
    resource_uri.parse(name)
    return Vault(version=VERSION, provider=PROVIDER, name=name)


def _split(text: str) -> tuple[dict[str, Any], bytes, str]:
    """Header, payload and the JWS, each part in its only spelling."""
    if len(text) > MAX_SEALED:
        raise TooLarge(f"a sealed secret has at most {MAX_SEALED} characters")
    token = text.removeprefix(PREFIX)
    parts = token.split(".")
    if token == text or len(parts) != _PARTS or not all(parts):
        raise SealedSecretMalformed("a sealed secret has three signed parts after `sealed.`")
    try:
        header, payload, _ = (b64url_decode(part, what="a part of the sealed secret") for part in parts)
        document = strict_json.loads(header, what="the sealed secret's header", max_bytes=_MAX_HEADER)
    except Malformed as error:
        raise SealedSecretMalformed(error.message) from error
    if not isinstance(document, dict):
        raise SealedSecretMalformed("the sealed secret's header is not an object")
    return document, payload, token


def _verify(header: dict[str, Any], token: str, source: Resources, key: ECKey | None) -> None:
    if unknown := set(header) - _HEADER_MEMBERS:
        raise Unsupported(f"the sealed secret's header has {len(unknown)} member(s) beyond alg and kid")
    if header.get("alg") != ALGORITHM:
        raise Unsupported("a sealed secret is signed by ES256 and nothing else")
    if key is None:
        key = _named_key(header.get("kid"), source)
    registry = jws.JWSRegistry(algorithms=[ALGORITHM])
    registry.max_header_length = _MAX_HEADER
    registry.max_payload_length = MAX_SEALED
    try:
        jws.deserialize_compact(token, key, registry=registry)
    except (JoseError, ValueError) as error:
        raise SealedSecretUntrusted("the sealed secret's signature does not hold") from error


def _named_key(kid: object, source: Resources) -> ECKey:
    if not isinstance(kid, str):
        raise SealedSecretMalformed("the sealed secret does not say by which key it is signed")
    if _KBS_SCHEME.match(kid):
        return public_key(source.resource(resource_uri.parse(kid)))
    return public_key(source.local_key(identifier(kid, what="kid")))


def _content(payload: bytes) -> Vault | Envelope:
    try:
        document = strict_json.loads(payload, what="the sealed secret's payload", max_bytes=MAX_SEALED)
    except InputError as error:
        raise SealedSecretMalformed(error.message) from error
    if not isinstance(document, dict):
        raise SealedSecretMalformed("the sealed secret's payload is not an object")
    kind = document.get("type")
    if kind not in {"vault", "envelope"}:
        raise Unsupported("a sealed secret is of type vault or envelope")
    try:
        content: Vault | Envelope = msgspec.convert(document, Vault | Envelope)
    except msgspec.ValidationError as error:
        raise SealedSecretMalformed(f"the sealed secret's payload is not a {kind}: {error}") from error
    if content.version != VERSION:
        raise Unsupported(f"a sealed secret is of version {VERSION}")
    if content.provider != PROVIDER:
        raise Unsupported(
            f"the provider of a sealed secret is {PROVIDER}; other key services are not called"
        )
    return content


def _open(content: Envelope, kek: bytes) -> bytes:
    key_iv = content.annotations.get("iv")
    if not isinstance(key_iv, str):
        raise SealedSecretMalformed("an envelope of provider kbs has the key's iv in its annotations")
    data_key = aead.decrypt(
        kek, b64_decode(key_iv, what="annotations.iv"), _bytes(content, "encrypted_key")
    )
    return aead.decrypt(data_key, _bytes(content, "iv"), _bytes(content, "encrypted_data"))


def _bytes(content: Envelope, name: str) -> bytes:
    return b64_decode(getattr(content, name), what=name)
