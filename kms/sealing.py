"""Envelope encryption of one secret version: pure, no database.

A fresh AES-256-GCM data key per version encrypts the secret once; the root key wraps the data key.
Both layers authenticate the same context, length-prefixed so that no two contexts give one input::

    "touchstone-secret-v1" | kind | id | version | release policy | purpose

``purpose`` is ``content`` or ``data-key``. A blob that is moved to another row, another version or
another release policy does not open.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms.errors import SecretUnreadable
from kms.root_key import WrappedKey  # noqa: TC001 (msgspec resolves it at run time)
from kms.secret_id import SecretRef  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from kms.root_key import RootKey

_SCHEMA = b"touchstone-secret-v1"
_DATA_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Context(msgspec.Struct, frozen=True):
    """What a blob is bound to.

    Attributes:
        ref: the secret.
        version: 1, 2, 3 ...
        release_policy: name of the policy that decides about this version.
    """

    ref: SecretRef
    version: int
    release_policy: str


class Sealed(msgspec.Struct, frozen=True):
    """A secret at rest.

    Attributes:
        wrapped: its data key under the root key.
        ciphertext: nonce (12 bytes), ciphertext, tag (16 bytes).
    """

    wrapped: WrappedKey
    ciphertext: bytes


def seal(root_key: RootKey, context: Context, plaintext: bytes) -> Sealed:
    """Encrypt ``plaintext`` for its row."""
    data_key = secrets.token_bytes(_DATA_KEY_BYTES)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    ciphertext = AESGCM(data_key).encrypt(nonce, plaintext, _associated(context, b"content"))
    return Sealed(root_key.wrap(data_key, _associated(context, b"data-key")), nonce + ciphertext)


def unseal(root_key: RootKey, context: Context, sealed: Sealed) -> bytes:
    """The plaintext.

    Raises:
        SecretUnreadable: altered, or moved from another row.
        RootKeyInvalid: the root key lacks the version it was wrapped under.
    """
    data_key = root_key.unwrap(sealed.wrapped, _associated(context, b"data-key"))
    if len(data_key) != _DATA_KEY_BYTES or len(sealed.ciphertext) < _NONCE_BYTES + _TAG_BYTES:
        raise SecretUnreadable("the stored secret is too short")
    nonce, ciphertext = sealed.ciphertext[:_NONCE_BYTES], sealed.ciphertext[_NONCE_BYTES:]
    try:
        return AESGCM(data_key).decrypt(nonce, ciphertext, _associated(context, b"content"))
    except InvalidTag as error:
        raise SecretUnreadable("the stored secret does not open for this record") from error


def rewrap(root_key: RootKey, context: Context, wrapped: WrappedKey) -> WrappedKey:
    """The same data key under the root key's current version; the secret itself is not opened.

    Raises:
        SecretUnreadable: altered, or moved from another row.
        RootKeyInvalid: the root key lacks the version it was wrapped under.
    """
    associated = _associated(context, b"data-key")
    return root_key.wrap(root_key.unwrap(wrapped, associated), associated)


def _associated(context: Context, purpose: bytes) -> bytes:
    items = (
        _SCHEMA,
        context.ref.kind.value.encode("ascii"),
        context.ref.id.encode("ascii"),
        str(context.version).encode("ascii"),
        context.release_policy.encode("utf-8"),
        purpose,
    )
    return b"".join(len(item).to_bytes(4, "big") + item for item in items)
