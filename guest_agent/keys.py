"""The guest's ephemeral key: one per session, in memory alone, and what decrypts for it.

Invariants:

* The private key is never written, printed or serialised; it ends with the object.
* One JWE form is accepted: ``ECDH-ES+A256KW`` with ``A256GCM`` (RFC 7518 sections 4.6 and 5.3), exactly
  our protected header, no ``zip``. The algorithm follows from the key, not from the header.
* What the header says about secret and session is compared with what was asked *and* authenticated by
  the decryption; only then are bytes returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.registry import HeaderParameter

from common import strict_json
from common.encoding import b64url_decode
from common.errors import InputError, InvalidSetting
from guest_agent.errors import SecretMismatch, SecretUndecryptable

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM: Final = "ECDH-ES+A256KW"
_ENCRYPTION: Final = "A256GCM"
_COMPACT_PARTS: Final = 5  # RFC 7516 section 3.1
_MAX_CIPHERTEXT: Final = 24 << 20  # base64url of the largest secret that a server stores, 16 MiB
_MAX_HEADER: Final = 4096
_CURVES: Final[Mapping[str, type[ec.EllipticCurve]]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}
_OUR_HEADER: Final = {
    "resource": HeaderParameter("kind and id of the secret", "str", required=True),
    "version": HeaderParameter("version of the secret", "int", required=True),
    "ear_jti": HeaderParameter("id of the attestation result", "str", required=True),
}
_HEADER_MEMBERS: Final = frozenset({"alg", "enc", "epk", *_OUR_HEADER})


class EphemeralKey:
    """A session's key pair.

    Args:
        curve: ``P-256``, ``P-384`` or ``P-521``.

    Raises:
        InvalidSetting: another curve.
    """

    __slots__ = ("_key", "public_jwk")

    def __init__(self, curve: str = "P-384") -> None:
        """Generate the pair."""
        kind = _CURVES.get(curve)
        if kind is None:
            raise InvalidSetting(f"the session key's curve is one of {', '.join(_CURVES)}")
        self._key = ECKey.import_key(ec.generate_private_key(kind()))
        public = self._key.as_dict(private=False)
        self.public_jwk: dict[str, str] = {name: str(public[name]) for name in ("kty", "crv", "x", "y")}

    def open_secret(self, token: str, *, resource: str, version: int | None, ear_jti: str) -> bytes:
        """Decrypt a released secret.

        Args:
            token: compact JWE.
            resource: ``kind/id`` that was asked for.
            version: the version that was asked for; None accepts the one that the server chose.
            ear_jti: id of this session's attestation result.

        Raises:
            SecretMismatch: it is another secret, version or session's.
            SecretUndecryptable: altered, for another key, or of a refused form.
        """
        header = _header_of(token)
        if header["resource"] != resource or header["ear_jti"] != ear_jti:
            raise SecretMismatch("the secret is for another name or another session than was asked")
        if version is not None and header["version"] != version:
            raise SecretMismatch("the secret is another version than was asked")
        registry = jwe.JWERegistry(header_registry=_OUR_HEADER, algorithms=[_ALGORITHM, _ENCRYPTION])
        registry.max_ciphertext_length = _MAX_CIPHERTEXT
        registry.max_protected_header_length = _MAX_HEADER
        try:
            plaintext = jwe.decrypt_compact(token, self._key, registry=registry).plaintext
        except (JoseError, ValueError, TypeError, KeyError, AssertionError) as error:
            raise SecretUndecryptable("the secret does not decrypt with this session's key") from error
        if plaintext is None:
            raise SecretUndecryptable("the secret has no content")
        return plaintext


def _header_of(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != _COMPACT_PARTS or len(parts[0]) > _MAX_HEADER:
        raise SecretUndecryptable("the secret is not a compact JWE")
    try:
        for part in parts:
            b64url_decode(part, what="JWE part")
        header = strict_json.loads(b64url_decode(parts[0], what="header"), what="JWE header")
    except InputError as error:
        raise SecretUndecryptable("the secret is not a compact JWE") from error
    if not isinstance(header, dict) or header.keys() != _HEADER_MEMBERS:
        raise SecretUndecryptable("the secret's header has other members than ours")
    if header["alg"] != _ALGORITHM or header["enc"] != _ENCRYPTION:
        raise SecretUndecryptable("the secret is encrypted by an algorithm that was not agreed")
    version = header["version"]
    if not isinstance(version, int) or isinstance(version, bool):
        raise SecretUndecryptable("the secret's version is not a number")
    return header
