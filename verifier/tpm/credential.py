"""TPM2_MakeCredential in software: a secret that one TPM can open, for one attestation key.

Sources: TPM 2.0 Library 1.59 Part 1, sections 11.4.10.2 (KDFa), 11.4.10.3 (KDFe), 24 (credential
protection), annex B.10.4 (RSA secret sharing), annex C.6.4 (ECC secret sharing); TCG EK Credential
Profile 2.5, annex B (the templates that tell name algorithm and symmetric key by type of EK).

What is kept with a challenge is not the credential itself but a random seed of it::

    credential = HMAC-SHA256(seed, "touchstone-tpm-credential-v1" | AK name | SHA-256(EK SPKI))

so that a credential which was opened for one attestation key cannot be shown with another: the verifier
computes it anew from the key and the certificate that stand in the evidence.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from common.encoding import b64url_encode
from common.errors import InvalidSetting
from verifier.errors import UnsupportedEvidence
from wire.rcar import Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from verifier.tpm.endorsement import EndorsedKey

SECRET_BYTES: Final = 32
_CREDENTIAL_DOMAIN: Final = b"touchstone-tpm-credential-v1"
_BITS: Final = 8
_RSA_SHA256_BITS: Final = 2048


class EkTemplate(msgspec.Struct, frozen=True):
    """What the type of an EK tells about it (EK Credential Profile, annexes B.3 and B.4)."""

    hash: hashes.HashAlgorithm
    hash_name: str
    aes_bits: int

    @property
    def hash_bytes(self) -> int:
        """Bytes of the name algorithm's digest."""
        return self.hash.digest_size


_SMALL: Final = EkTemplate(hashes.SHA256(), "sha256", 128)  # L-1, H-1: RSA 2048; L-2, H-2: P-256
_LARGE: Final = EkTemplate(hashes.SHA384(), "sha384", 256)  # H-3: P-384; H-6, H-7: RSA 3072 and 4096


def make_credential(endorsed: EndorsedKey, secret: bytes) -> Credential:
    """Make the credential of a challenge.

    Args:
        endorsed: an EK whose certificate was verified, and the name of the AK.
        secret: ``SECRET_BYTES`` random bytes, to be kept with the challenge's nonce.

    Returns:
        TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, base64url.

    Raises:
        InvalidSetting: the secret has another length.
        UnsupportedEvidence: an EK of a type that no template describes.
    """
    if len(secret) != SECRET_BYTES:
        raise InvalidSetting(f"a credential secret has {SECRET_BYTES} bytes, not {len(secret)}")
    credential = credential_value(secret, endorsed.ak_name, endorsed.ek_spki_sha256)
    template = _template(endorsed.ek)
    seed, encrypted_secret = _share_secret(endorsed.ek, template)
    id_object = protect(seed, template, endorsed.ak_name, credential)
    return Credential(
        credential_blob=b64url_encode(_sized(id_object)),
        encrypted_secret=b64url_encode(_sized(encrypted_secret)),
    )


def credential_value(secret: bytes, ak_name: bytes, ek_spki_sha256: bytes) -> bytes:
    """What TPM2_ActivateCredential gives back for this AK and EK (32 bytes)."""
    return hmac.digest(secret, _CREDENTIAL_DOMAIN + ak_name + ek_spki_sha256, "sha256")


def protect(seed: bytes, template: EkTemplate, name: bytes, credential: bytes) -> bytes:
    """TPMS_ID_OBJECT: outer HMAC over the encrypted credential and the name (Part 1 section 24.4)."""
    key = kdfa(template.hash_name, seed, b"STORAGE", (name, b""), template.aes_bits)
    # Part 1 section 24.4: CFB with a zero initialisation vector; the key is used once.
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    encrypted = encryptor.update(_sized(credential)) + encryptor.finalize()
    hmac_key = kdfa(template.hash_name, seed, b"INTEGRITY", (b"", b""), template.hash_bytes * _BITS)
    return _sized(hmac.digest(hmac_key, encrypted + name, template.hash_name)) + encrypted


def kdfa(hash_name: str, key: bytes, label: bytes, contexts: tuple[bytes, bytes], bits: int) -> bytes:
    """KDFa: SP 800-108 counter mode with HMAC (Part 1 section 11.4.10.2); ``bits`` is a multiple of 8."""

    def block(counter: int) -> bytes:
        data = counter.to_bytes(4, "big") + label + b"\x00" + b"".join(contexts) + bits.to_bytes(4, "big")
        return hmac.digest(key, data, hash_name)

    return _expand(block, bits)


def kdfe(hash_name: str, z: bytes, label: bytes, parties: tuple[bytes, bytes], bits: int) -> bytes:
    """KDFe: SP 800-56A one-step derivation (Part 1 section 11.4.10.3); ``bits`` is a multiple of 8."""

    def block(counter: int) -> bytes:
        data = counter.to_bytes(4, "big") + z + label + b"\x00" + b"".join(parties)
        return hashlib.new(hash_name, data).digest()

    return _expand(block, bits)


def _expand(block: Callable[[int], bytes], bits: int) -> bytes:
    size = bits // _BITS
    result = b""
    counter = 1
    while len(result) < size:
        result += block(counter)
        counter += 1
    return result[:size]


def _template(ek: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> EkTemplate:
    if isinstance(ek, rsa.RSAPublicKey):
        return _SMALL if ek.key_size == _RSA_SHA256_BITS else _LARGE
    if isinstance(ek.curve, ec.SECP256R1):
        return _SMALL
    if isinstance(ek.curve, ec.SECP384R1):
        return _LARGE
    raise UnsupportedEvidence(f"no endorsement key template for curve {ek.curve.name}")


def _share_secret(
    ek: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, template: EkTemplate
) -> tuple[bytes, bytes]:
    """A seed and its encryption to the EK (the inside of TPM2B_ENCRYPTED_SECRET)."""
    if isinstance(ek, rsa.RSAPublicKey):
        seed = secrets.token_bytes(template.hash_bytes)
        oaep = padding.OAEP(padding.MGF1(template.hash), template.hash, label=b"IDENTITY\x00")
        return seed, ek.encrypt(seed, oaep)
    size = (ek.curve.key_size + _BITS - 1) // _BITS
    ephemeral = ec.generate_private_key(ek.curve)
    point, endorsed = ephemeral.public_key().public_numbers(), ek.public_numbers()
    z = ephemeral.exchange(ec.ECDH(), ek)
    x, y = point.x.to_bytes(size, "big"), point.y.to_bytes(size, "big")
    seed = kdfe(
        template.hash_name,
        z,
        b"IDENTITY",
        (x, endorsed.x.to_bytes(size, "big")),
        template.hash_bytes * _BITS,
    )
    return seed, _sized(x) + _sized(y)


def _sized(data: bytes) -> bytes:
    """A TPM2B: 16-bit big-endian length, then the bytes."""
    return len(data).to_bytes(2, "big") + data
