"""Keys of layouts, and the ids that in-toto gives keys.

A functionary's key is bound to the one algorithm that its ``keytype`` and ``scheme`` name. Keys are told
apart by their SubjectPublicKeyInfo, never by key id: an id is only a name, and a layout could list one key
under two.

Sources: in-toto specification v1.0, section 4.2; securesystemslib 1.6.0, signer/_key.py (types,
schemes, and the key id: SHA-256 of the canonical JSON of keytype, scheme and keyval).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from provenance import keys
from provenance.errors import LayoutMalformed, TrustPolicyInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.keys import VerificationKey
    from provenance.layout.model import FunctionaryKey

_ED25519: Final = "ed25519"
_ED25519_BYTES: Final = 32
_ED25519_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
# (keytype, scheme) of securesystemslib to our algorithm.
_ALGORITHMS: Final[Mapping[tuple[str, str], str]] = {
    ("ed25519", "ed25519"): "ed25519",
    ("ecdsa", "ecdsa-sha2-nistp256"): "ecdsa-p256-sha256",
    ("ecdsa", "ecdsa-sha2-nistp384"): "ecdsa-p384-sha384",
    ("ecdsa", "ecdsa-sha2-nistp521"): "ecdsa-p521-sha512",
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"): "ecdsa-p256-sha256",
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"): "ecdsa-p384-sha384",
    ("rsa", "rsassa-pss-sha256"): "rsa-pss-sha256",
    ("rsa", "rsa-pkcs1v15-sha256"): "rsa-pkcs1v15-sha256",
}
_NAMES: Final = {algorithm: name for name, algorithm in reversed(tuple(_ALGORITHMS.items()))}


def load(key: FunctionaryKey) -> VerificationKey:
    """The key that a layout lists.

    Raises:
        LayoutMalformed: a type or scheme that is not supported, or not a key of it.
    """
    algorithm = _ALGORITHMS.get((key.keytype, key.scheme))
    if algorithm is None:
        raise LayoutMalformed("a functionary's key is of a type or scheme that is not supported")
    try:
        return keys.from_pem(
            algorithm, _ed25519_pem(key.keyval.public) if algorithm == _ED25519 else key.keyval.public
        )
    except TrustPolicyInvalid as error:
        raise LayoutMalformed(f"a functionary's key: {error.message}") from error


def keyid(key: VerificationKey) -> str:
    """The key id that securesystemslib gives a public key by default."""
    from securesystemslib.formats import encode_canonical  # noqa: PLC0415 (only layouts need it)

    keytype, scheme = _NAMES[key.algorithm]
    # An Ed25519 key is its raw 32 bytes, the end of its SubjectPublicKeyInfo (RFC 8410 section 4).
    public = key.der[-_ED25519_BYTES:].hex() if key.algorithm == _ED25519 else pem(key)
    value = {"keytype": keytype, "scheme": scheme, "keyval": {"public": public}}
    return hashlib.sha256(str(encode_canonical(value)).encode("utf-8")).hexdigest()


def pem(key: VerificationKey) -> str:
    """SubjectPublicKeyInfo, PEM, as `cryptography` and so securesystemslib write it."""
    public = load_der_public_key(key.der)
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _ed25519_pem(public: str) -> str:
    if not _ED25519_HEX.match(public):
        raise LayoutMalformed("an Ed25519 key is not 64 lower-case hex characters")
    key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
