"""Private key files of token-signing keys: P-256, unencrypted PEM, mode 0600."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from common.errors import InvalidSetting
from common.files import read_private

if TYPE_CHECKING:
    from pathlib import Path


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key from an unencrypted PEM file.

    Raises:
        NotFound: no such file.
        InvalidSetting: another content, or readable by others.
    """
    try:
        key: Any = load_pem_private_key(read_private(path, what="signing key"), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidSetting(f"{path} is not an unencrypted PEM private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidSetting(f"{path} is not a P-256 key")
    return key


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
