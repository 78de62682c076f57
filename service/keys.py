"""The key that attestation results are signed with, and the previous ones that still verify.

Files in ``<data_dir>/keys``: ``token-signing.pem`` (PKCS#8, mode 0600) and, after a rotation,
``previous-<kid>.json`` with the public JWK and the time of retirement. A retired key verifies for as
long as the longest token that it can have signed lives, then it is forgotten.

The key is ES256 (P-256, RFC 7518 section 3.4); its id is its RFC 7638 thumbprint. Replicas share the
``keys`` folder; the first to start makes the key, and of two that start together one wins for both.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from common.errors import InvalidSetting
from common.files import read_limited, read_private, write_private, write_public
from kms.files import create_once
from verifier.ear import EarSigner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The longest lifetime that [token] lifetime_s admits: until then a retired key must verify.
MAX_TOKEN_LIFETIME = timedelta(days=1)
_FOLDER_MODE = 0o700
_KEY_FILE = "token-signing.pem"
_MAX_JWK_BYTES = 4096


class RetiredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A previous signing key.

    Attributes:
        jwk: its public JWK, with ``kid``.
        retired_at: when it stopped signing.
    """

    jwk: dict[str, str]
    retired_at: datetime


class SigningKeys:
    """Signing key and verifying keys of one ``keys`` folder.

    Args:
        folder: created with mode 0700 where it is missing.

    Raises:
        InvalidSetting: the folder or a key file is not usable, or is readable by others.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder; the key is made at the first ``private_key``."""
        try:
            folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSetting(f"cannot create {folder} ({error.strerror})") from error
        self._folder = folder
        self._path = folder / _KEY_FILE

    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """The present signing key, generated where there is none."""
        if not self._path.exists():
            create_once(self._path, _pem(ec.generate_private_key(ec.SECP256R1())))
        try:
            key = load_pem_private_key(read_private(self._path, what="signing key"), password=None)
        except (ValueError, TypeError) as error:
            raise InvalidSetting(f"{self._path} is not an unencrypted PEM private key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidSetting(f"{self._path} is not a P-256 key")
        return key

    def verifying_keys(self, now: datetime) -> list[dict[str, str]]:
        """Public JWKs that a token may be signed with at ``now``: the present one first."""
        retired = [key.jwk for key in self._retired() if key.retired_at + MAX_TOKEN_LIFETIME > now]
        return [_public_jwk(self.private_key()), *retired]

    def rotate(self, now: datetime) -> str:
        """Retire the present key and make a new one; running servers take it up when restarted.

        Returns:
            The new key's id.
        """
        present = _public_jwk(self.private_key())
        record = RetiredKey(jwk=present, retired_at=now)
        write_public(self._folder / f"previous-{present['kid']}.json", msgspec.json.encode(record))
        write_private(self._path, _pem(ec.generate_private_key(ec.SECP256R1())))
        return _public_jwk(self.private_key())["kid"]

    def _retired(self) -> Iterator[RetiredKey]:
        for path in sorted(self._folder.glob("previous-*.json")):
            data = read_limited(path, what="retired key", max_bytes=_MAX_JWK_BYTES)
            try:
                yield msgspec.json.decode(data, type=RetiredKey)
            except msgspec.MsgspecError as error:
                raise InvalidSetting(f"{path} is not a retired key") from error


def jwks(keys: list[dict[str, str]]) -> dict[str, Any]:
    """A JWK Set (RFC 7517 section 5)."""
    return {"keys": keys}


def _public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    return EarSigner(key, issuer="", developer="", build="").public_jwk


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
