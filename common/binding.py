"""What evidence is bound to: the digest that a guest puts into report data, and a verifier demands.

Layout of the hashed input (each item is a 4-byte big-endian length, then its bytes, so that no two
different lists of items give one input)::

    "touchstone-binding-v1" | nonce | thumbprint of the TEE's public key | audience | init-data digest

* ``nonce``: at least 32 bytes, minted by the verifier (or the relying party), spent once.
* thumbprint: RFC 7638, SHA-256, of the guest's ephemeral JWK: the key that secrets are encrypted to.
* ``audience``: identity of the relying party, so that evidence made for one cannot be relayed to
  another; UTF-8.
* init-data digest: empty where the guest has none.

Where devices are attested beside the machine, the list has one item more, so that the machine's own
evidence says which devices' evidence it collected: SHA-256 over the text of their documents, as it is sent.
The devices' evidence is made first, bound to ``device_digest``: nonce, key and audience under a domain of
its own, so that no device's evidence passes for a machine's.

The hash is as wide as the field allows and fills it exactly: SHA-512 for the 64-byte report data of
SNP, TDX and SGX; SHA-256 for TPM extraData, which every TPM 2.0 accepts. Nothing is truncated or
padded.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from common.encoding import b64url_encode
from common.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_NONCE_BYTES = 32
_ENCODER = msgspec.json.Encoder()
_DOMAIN = b"touchstone-binding-v1"
_DEVICE_DOMAIN = b"touchstone-device-binding-v1"
# In the order of RFC 7638 section 3.3, which is that of the hashed text.
_THUMBPRINT_MEMBERS = {
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
    "AKP": ("alg", "kty", "pub"),
}


def jwk_thumbprint(jwk: Mapping[str, object]) -> bytes:
    """RFC 7638 SHA-256 thumbprint (32 bytes) of a public JWK (AKP: RFC 9964 section 6).

    Raises:
        Malformed: an unknown key type, or a required member is absent or not a string.
    """
    members = _THUMBPRINT_MEMBERS.get(str(jwk.get("kty")))
    if members is None:
        raise Malformed("the public key's kty is not one of EC, OKP, RSA, AKP")
    values = {name: jwk.get(name) for name in members}
    if not all(isinstance(value, str) and value.isascii() for value in values.values()):
        raise Malformed("the public key lacks a required JWK member")
    return hashlib.sha256(_ENCODER.encode(values)).digest()


def thumbprint_text(jwk: Mapping[str, object]) -> str:
    """The thumbprint as unpadded base64url (``jkt``, RFC 9449 section 6.1)."""
    return b64url_encode(jwk_thumbprint(jwk))


def binding_digest(
    *,
    nonce: bytes,
    tee_pubkey: Mapping[str, object],
    audience: str,
    init_data_digest: bytes = b"",
    devices_digest: bytes = b"",
    size: int,
) -> bytes:
    """The digest that a machine's evidence must carry, of exactly ``size`` bytes (64 or 32).

    Raises:
        Malformed: the nonce is shorter than ``MIN_NONCE_BYTES``, the key is not a JWK, or there is
            no hash of ``size`` bytes.
    """
    session = _session(_DOMAIN, nonce, tee_pubkey, audience)
    devices = (devices_digest,) if devices_digest else ()
    return _digest((*session, init_data_digest, *devices), size)


def device_digest(
    *, nonce: bytes, tee_pubkey: Mapping[str, object], audience: str, size: int = 32
) -> bytes:
    """The digest that the evidence of a device beside the machine must carry, of ``size`` bytes (64 or 32).

    Raises:
        Malformed: as ``binding_digest``.
    """
    return _digest(_session(_DEVICE_DOMAIN, nonce, tee_pubkey, audience), size)


def devices_digest(text: str) -> bytes:
    """What the machine's binding says of the devices: SHA-256 over the text of their documents, as sent."""
    return hashlib.sha256(text.encode("utf-8")).digest()


def _session(
    domain: bytes, nonce: bytes, tee_pubkey: Mapping[str, object], audience: str
) -> tuple[bytes, ...]:
    if len(nonce) < MIN_NONCE_BYTES:
        raise Malformed(f"the nonce has {len(nonce)} bytes, at least {MIN_NONCE_BYTES} are needed")
    return (domain, nonce, jwk_thumbprint(tee_pubkey), audience.encode("utf-8"))


def _digest(items: tuple[bytes, ...], size: int) -> bytes:
    hashed = b"".join(len(item).to_bytes(4, "big") + item for item in items)
    if size == 64:  # noqa: PLR2004 (bytes of SHA-512)
        return hashlib.sha512(hashed).digest()
    if size == 32:  # noqa: PLR2004 (bytes of SHA-256)
        return hashlib.sha256(hashed).digest()
    raise Malformed(f"no binding digest of {size} bytes")
