"""Credentials for registries, from a docker ``config.json``; never printed, never logged.

Read are ``auths`` entries with ``auth`` (base64 of ``user:password``) or ``identitytoken``. Credential
stores and helpers are programs on this machine and are never run: a configuration that has nothing else
for a registry is refused, so that a pull does not silently become an anonymous one.

Source: docker/cli, cli/config/configfile and docs of ``docker login``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.encoding import b64_decode
from common.errors import InputError
from common.files import read_limited, read_private
from provenance.oci import reference
from provenance.oci.errors import ImageReferenceInvalid, RegistryCredentialsInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MAX_CONFIG: Final = 1 << 20
# docker/cli, registry.IndexServer: how `docker login` without a registry names Docker Hub.
_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


class Credential:
    """A user and password, or an identity token. Neither is in its representation."""

    __slots__ = ("identity_token", "password", "username")

    def __init__(self, username: str, password: str, identity_token: str | None = None) -> None:
        """Keep them."""
        self.username = username
        self.password = password
        self.identity_token = identity_token

    def __repr__(self) -> str:
        """Nothing of what it holds."""
        return "Credential(...)"


class Credentials:
    """Credentials by registry; made by ``load`` or, with none, ``ANONYMOUS``."""

    def __init__(
        self, by_registry: Mapping[str, Credential], elsewhere: frozenset[str] = frozenset()
    ) -> None:
        """Keep credentials, and the registries whose credentials only a helper has ('*' for all)."""
        self._by_registry = dict(by_registry)
        self._elsewhere = elsewhere

    def of(self, registry: str) -> Credential | None:
        """The credential of a registry (as ``Reference.registry`` spells it), or None.

        Raises:
            RegistryCredentialsInvalid: the configuration keeps it in a helper.
        """
        found = self._by_registry.get(registry)
        if found is None and ({registry, "*"} & self._elsewhere):
            raise RegistryCredentialsInvalid(
                f"the docker configuration keeps the credentials of {registry} in a helper program"
            )
        return found

    def __repr__(self) -> str:
        """Nothing of what it holds."""
        return "Credentials(...)"


ANONYMOUS: Final = Credentials({})


def load(path: Path, *, private: bool = False) -> Credentials:
    """Read a docker ``config.json``.

    Args:
        path: the file.
        private: refuse one that group or others may read.

    Raises:
        NotFound, TooLarge: it cannot be read.
        InvalidSetting: its mode is wider than 0600, and ``private``.
        RegistryCredentialsInvalid: not of the format.
    """
    read = read_private if private else read_limited
    return parse(read(path, what="docker configuration", max_bytes=_MAX_CONFIG))


def parse(data: bytes) -> Credentials:
    """Parse a docker ``config.json``.

    Raises:
        RegistryCredentialsInvalid: not of the format. Nothing of it is quoted.
    """
    try:
        document = strict_json.loads(data, what="the docker configuration", max_bytes=_MAX_CONFIG)
    except InputError as error:
        raise RegistryCredentialsInvalid(error.message) from None
    auths = _table(_table(document, "the docker configuration").get("auths", {}), "auths")
    found: dict[str, Credential] = {}
    for key, value in auths.items():
        credential = _credential(_table(value, "an entry of auths"))
        if credential is not None:
            found[_registry(key)] = credential
    helpers = _table(document.get("credHelpers", {}), "credHelpers")
    elsewhere = {_registry(key) for key in helpers}
    if document.get("credsStore"):
        # `docker login` leaves an empty entry behind for what it put into the store.
        elsewhere |= {_registry(key) for key in auths if _registry(key) not in found}
    return Credentials(found, frozenset(elsewhere))


def _credential(entry: Mapping[str, Any]) -> Credential | None:
    identity = entry.get("identitytoken")
    if identity is not None and not isinstance(identity, str):
        raise RegistryCredentialsInvalid("an identitytoken is not text")
    auth = entry.get("auth")
    if not auth:
        return Credential("", "", identity) if identity else None
    if not isinstance(auth, str):
        raise RegistryCredentialsInvalid("an auth is not text")
    try:
        user, colon, password = b64_decode(auth, what="auth").decode("utf-8").partition(":")
    except (InputError, UnicodeDecodeError):
        raise RegistryCredentialsInvalid("an auth is not base64 of user:password") from None
    if not colon:
        raise RegistryCredentialsInvalid("an auth is not base64 of user:password")
    return Credential(user, password.rstrip("\0"), identity)


def _registry(key: str) -> str:
    if key in _HUB_KEYS:
        return reference.DOCKER_HUB
    bare = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    try:
        return reference.registry_of(bare)
    except ImageReferenceInvalid:
        raise RegistryCredentialsInvalid("a key of the docker configuration is not a registry") from None


def _table(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RegistryCredentialsInvalid(f"{what} is not an object")
    return value
