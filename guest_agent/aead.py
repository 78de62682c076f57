"""A256GCM as Confidential Containers wraps: 32-byte key, random 12-byte iv, ciphertext then 16-byte tag.

No additional authenticated data. Source: RFC 7518 section 5.3 (parameters), ocicrypt key provider.
"""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guest_agent.errors import UnwrapFailed

A256GCM: Final = "A256GCM"
_KEY: Final = 32
_IV: Final = 12
_TAG: Final = 16


def new_key() -> bytes:
    """32 fresh bytes."""
    return secrets.token_bytes(_KEY)


def encrypt(key: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """The iv, and ciphertext with tag.

    Raises:
        UnwrapFailed: the key has another size than 32 bytes.
    """
    iv = secrets.token_bytes(_IV)
    return iv, _cipher(key).encrypt(iv, plaintext, None)


def decrypt(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """The plaintext.

    Raises:
        UnwrapFailed: sizes, or the tag does not hold.
    """
    if len(iv) != _IV or len(ciphertext) < _TAG:
        raise UnwrapFailed("the iv has 12 bytes and the ciphertext a tag of 16")
    try:
        return _cipher(key).decrypt(iv, ciphertext, None)
    except InvalidTag as error:
        raise UnwrapFailed("what is encrypted does not open under the key that it names") from error


def _cipher(key: bytes) -> AESGCM:
    if len(key) != _KEY:
        raise UnwrapFailed(f"the key has {len(key)} bytes, A256GCM needs {_KEY}")
    return AESGCM(key)
