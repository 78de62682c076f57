"""The root key: what every secret's own key is wrapped under. A port, and its file provider.

Invariants:

* Wrapping is AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D section 8.2.2: at most 2**32
  wraps per key version) and the caller's associated data.
* Every version has an id that depends on its bytes. A record names the id it was wrapped under, so a
  wrong or fresh root key is told apart from an altered record.
* A file is made whole or not at all, and of two processes that start together one wins for both: a
  root key that was handed out once is never overwritten.

Providers for PKCS#11 and Vault transit implement ``RootKey`` with a handle in place of the bytes.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import strict_json
from common.encoding import b64url_decode, b64url_encode
from common.errors import InputError
from common.files import read_private, write_private
from kms.errors import RootKeyInvalid, SecretUnreadable
from kms.files import create_once

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = "touchstone-root-key-v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_ID_DOMAIN = b"touchstone-root-key-id-v1"
_ID_HEX = 16


class WrappedKey(msgspec.Struct, frozen=True):
    """A data key under the root key.

    Attributes:
        root_key: id of the root key version.
        blob: the provider's own format; ``FileRootKey``: nonce, ciphertext, tag.
    """

    root_key: str
    blob: bytes


class RootKey(Protocol):
    """Wraps data keys. Thread-safe."""

    @property
    def current(self) -> str:
        """Id of the version that wraps now."""

    def knows(self, root_key: str) -> bool:
        """Whether the provider has the version of that id."""

    def wrap(self, data_key: bytes, associated_data: bytes) -> WrappedKey:
        """Wrap under the current version.

        Raises:
            UnavailableError: the provider does not answer.
        """

    def unwrap(self, wrapped: WrappedKey, associated_data: bytes) -> bytes:
        """Unwrap under the version that ``wrapped`` names.

        Raises:
            RootKeyInvalid: the provider has no such version.
            SecretUnreadable: the blob was altered, or belongs to other associated data.
            UnavailableError: the provider does not answer.
        """


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: versions in the order they were made; the last one wraps."""

    schema: str
    keys: tuple[str, ...]


class FileRootKey:
    """A root key in a file of mode 0600: JSON with every version, base64url.

    Args:
        keys: 32 bytes each, oldest first.
        path: where ``rotate`` writes.
    """

    def __init__(self, keys: tuple[bytes, ...], path: Path) -> None:
        """Prepare the ciphers."""
        self._path = path
        self._keys = keys
        self._ciphers = {_id_of(key): AESGCM(key) for key in keys}

    @classmethod
    def open_or_create(cls, path: Path) -> FileRootKey:
        """Open the file, or make it with one fresh version.

        Raises:
            RootKeyInvalid: not a root key file.
            InvalidSetting: the folder cannot be written, or others may read the file.
        """
        if not path.exists():
            create_once(path, _encode((secrets.token_bytes(_KEY_BYTES),)))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> FileRootKey:
        """Open an existing file.

        Raises:
            NotFound: there is none.
            RootKeyInvalid: not a root key file.
            InvalidSetting: others may read it.
        """
        return cls(_decode(read_private(path, what="root key")), path)

    @property
    def current(self) -> str:
        """Id of the version that wraps now."""
        return _id_of(self._keys[-1])

    def knows(self, root_key: str) -> bool:
        """Whether the file has the version of that id."""
        return root_key in self._ciphers

    def wrap(self, data_key: bytes, associated_data: bytes) -> WrappedKey:
        """Wrap under the current version."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self.current].encrypt(nonce, data_key, associated_data)
        return WrappedKey(self.current, nonce + sealed)

    def unwrap(self, wrapped: WrappedKey, associated_data: bytes) -> bytes:
        """Unwrap under the version that ``wrapped`` names.

        Raises:
            RootKeyInvalid: the file has no such version.
            SecretUnreadable: the blob was altered, or belongs to other associated data.
        """
        cipher = self._ciphers.get(wrapped.root_key)
        if cipher is None:
            raise RootKeyInvalid(f"the root key file has no version {wrapped.root_key}")
        if len(wrapped.blob) < _NONCE_BYTES + _TAG_BYTES:
            raise SecretUnreadable("the wrapped key is too short")
        nonce, sealed = wrapped.blob[:_NONCE_BYTES], wrapped.blob[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, sealed, associated_data)
        except InvalidTag as error:
            raise SecretUnreadable("the wrapped key does not open for this record") from error

    def rotate(self) -> FileRootKey:
        """A root key with one more version, written before it is returned; the old ones still unwrap.

        Records move to it with ``SecretStore.rewrap``. Running servers take it up when restarted.
        """
        keys = (*self._keys, secrets.token_bytes(_KEY_BYTES))
        write_private(self._path, _encode(keys))
        return FileRootKey(keys, self._path)


def _id_of(key: bytes) -> str:
    return hashlib.sha256(_ID_DOMAIN + key).hexdigest()[:_ID_HEX]


def _encode(keys: tuple[bytes, ...]) -> bytes:
    return msgspec.json.encode(_File(_SCHEMA, tuple(b64url_encode(key) for key in keys))) + b"\n"


def _decode(data: bytes) -> tuple[bytes, ...]:
    try:
        document = msgspec.convert(strict_json.loads(data, what="root key"), _File)
        keys = tuple(b64url_decode(key, what="root key") for key in document.keys)
    except (InputError, msgspec.ValidationError):
        raise RootKeyInvalid("the root key file is not in its format") from None
    if document.schema != _SCHEMA or not keys or any(len(key) != _KEY_BYTES for key in keys):
        raise RootKeyInvalid("the root key file is not in its format")
    return keys
