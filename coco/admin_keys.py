"""Keys of the identity providers whose tokens administrators bring.

Invariants:

* A key has one algorithm (``coco.verifying_key``).
* Files are read at every use: a key that is taken out of its file is out at once, without a restart. A file
  that is missing, unreadable or empty leaves the provider without keys; older ones are not kept.
* A JWK Set at a URL comes through the bounded fetcher, which remembers answers for its own while.

Source: RFC 7517.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from coco.errors import CocoSetting
from coco.verifying_key import RSA_ALGORITHMS, VerifyingKey, key_from_jwk, key_from_pem
from common import strict_json
from common.errors import ConfigurationError, TouchstoneError
from common.files import read_limited

if TYPE_CHECKING:
    from common.fetch import Fetcher

_LOG: Final = logging.getLogger(__name__)
_MAX_FILE_BYTES: Final = 256 << 10
_MAX_KEYS: Final = 32
_HTTPS: Final = "https://"


class Provider(msgspec.Struct, frozen=True):
    """An identity provider, as it is configured.

    Attributes:
        name: in records, where the token names no subject.
        issuer: the exact ``iss``; None: not looked at.
        audience: one that ``aud`` must have; None: not looked at.
        public_key: file with one key: PEM (SubjectPublicKeyInfo) or a JWK.
        jwk_set: file with a JWK Set, or an https URL.
        rsa_algorithm: of RSA keys whose JWK names none.
    """

    name: str
    issuer: str | None = None
    audience: str | None = None
    public_key: Path | None = None
    jwk_set: str | None = None
    rsa_algorithm: str = "RS256"


class ProviderKeys:
    """The present keys of one provider.

    Args:
        provider: its configuration.
        fetcher: for a JWK Set at a URL.

    Raises:
        CocoSetting: neither key nor key set is named, both are, or a URL without a fetcher.
    """

    def __init__(self, provider: Provider, fetcher: Fetcher | None = None) -> None:
        """Check the configuration; no file is read yet."""
        if (provider.public_key is None) == (provider.jwk_set is None):
            raise CocoSetting(f"provider {provider.name}: name public_key or jwk_set, one of the two")
        if provider.rsa_algorithm not in RSA_ALGORITHMS:
            raise CocoSetting(f"provider {provider.name}: rsa_algorithm is not of RSA")
        jwk_set = provider.jwk_set or ""
        if "://" in jwk_set and not jwk_set.startswith(_HTTPS):
            raise CocoSetting(f"provider {provider.name}: jwk_set is a file or an https URL")
        if jwk_set.startswith(_HTTPS) and fetcher is None:
            raise CocoSetting(f"provider {provider.name}: jwk_set is a URL, and fetching is off")
        self.provider = provider
        self._fetcher = fetcher
        self._seen: tuple[bytes, tuple[VerifyingKey, ...]] = (b"", ())

    def require(self) -> None:
        """Demand usable keys; for the start.

        Raises:
            CocoSetting: there is none.
        """
        if not self.present():
            raise CocoSetting(f"provider {self.provider.name} has no usable key; the log says why")

    def present(self) -> tuple[VerifyingKey, ...]:
        """The keys as they are now; none where they cannot be had."""
        try:
            data = self._read()
            seen, keys = self._seen
            if data != seen:
                keys = _keys(data, self.provider.rsa_algorithm)
                self._seen = (data, keys)
        except TouchstoneError as error:
            _LOG.warning("keys of admin identity provider %s: %s", self.provider.name, error)
            return ()
        return keys

    def _read(self) -> bytes:
        if self.provider.public_key is not None:
            return read_limited(self.provider.public_key, what="public_key", max_bytes=_MAX_FILE_BYTES)
        location = self.provider.jwk_set or ""
        if self._fetcher is not None and location.startswith(_HTTPS):
            return self._fetcher.fetch(location)
        return read_limited(Path(location), what="jwk_set", max_bytes=_MAX_FILE_BYTES)


def _keys(data: bytes, rsa_algorithm: str) -> tuple[VerifyingKey, ...]:
    """Of a PEM file one key; of JSON a JWK or those of a set that are for signatures and of our kinds."""
    if data.lstrip().startswith(b"-----BEGIN"):
        return (key_from_pem(data, rsa_algorithm),)
    document = strict_json.loads(data, what="key file", max_bytes=_MAX_FILE_BYTES)
    if not isinstance(document, dict):
        raise CocoSetting("a key file is neither PEM nor a JWK or JWK Set")
    if "keys" not in document:
        return (key_from_jwk(document, rsa_algorithm),)
    entries = document["keys"]
    if not isinstance(entries, list) or len(entries) > _MAX_KEYS:
        raise CocoSetting(f"a JWK Set has a list of at most {_MAX_KEYS} keys")
    keys = []
    for entry in entries:
        # Providers publish keys for encryption and of other kinds beside those for signatures.
        try:
            keys.append(key_from_jwk(entry, rsa_algorithm))
        except ConfigurationError as error:
            _LOG.info("a key of a JWK Set is left out: %s", error)
    return tuple(keys)
