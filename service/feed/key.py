"""The key that signs change events and the statements in them: Ed25519, ``<data_dir>/keys/feed.pem``.

Ed25519 because it is deterministic: an event that is exported twice is the same bytes, and what a
subscriber stores of it has one digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from common.errors import InvalidSetting
from common.files import read_private
from kms.files import create_once

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "feed.pem"


def open_or_create(path: Path) -> ed25519.Ed25519PrivateKey:
    """The key in ``path``, made where there is none.

    Raises:
        InvalidSetting: the file is not such a key, or is readable by others.
    """
    if not path.exists():
        made = ed25519.Ed25519PrivateKey.generate()
        create_once(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        key = load_pem_private_key(read_private(path, what="feed key"), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidSetting(f"{path} is not an unencrypted PEM private key") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InvalidSetting(f"{path} is not an Ed25519 key")
    return key


def public_pem(key: ed25519.Ed25519PrivateKey) -> str:
    """SubjectPublicKeyInfo, PEM: what a peer puts into its settings and its trust policy."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
