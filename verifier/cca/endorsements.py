"""The platforms' attestation keys (CPAK): who may sign platform tokens.

No certificate leads to a CPAK: it is trusted because it is in the endorsement store, under the
implementation and the instance that it belongs to. Whoever can write into that folder can vouch for any
platform; a token never adds to it.

Folder, below the store that all TEEs share::

    cca/cpak/<implementation id, hex>/<instance id, hex>.jwk     a public EC JWK (RFC 7517)
    cca/cpak/<implementation id, hex>/<instance id, hex>.pem     a SubjectPublicKeyInfo (RFC 7468)

Keys are of P-256, P-384 or P-521. File names are made of parsed ids of a fixed length, never of text from
outside. A file that changes is read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from common import cose, strict_json
from common.encoding import b64url_decode, hex_decode
from common.errors import InputError, InvalidSetting, Malformed
from common.files import read_limited, version_of, write_public
from verifier.cca.platform import IMPLEMENTATION_ID_BYTES, INSTANCE_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDER: Final = ("cca", "cpak")
MAX_KEY_BYTES: Final = 4096
_MAX_STORE_BYTES: Final = 4 << 20
_MAX_REMEMBERED: Final = 1024
_JWK_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_JWK_MEMBERS: Final = frozenset({"kty", "crv", "x", "y", "kid", "alg", "use", "key_ops"})
_STORE_MEMBERS: Final = frozenset({"pkey", "implementation-id", "instance-id"})

Cpaks = dict[tuple[bytes, bytes], ec.EllipticCurvePublicKey]


class CcaEndorsements(Protocol):
    """Finds the attestation key of a platform."""

    def attestation_key(
        self, implementation_id: bytes, instance_id: bytes
    ) -> ec.EllipticCurvePublicKey | None:
        """The key; None where none is known.

        Raises:
            InvalidSetting: there is one, and it cannot be used.
        """


class FixedEndorsements:
    """Keys that are given once, in memory.

    Args:
        keys: (implementation id, instance id) to the key.
    """

    def __init__(self, keys: Mapping[tuple[bytes, bytes], ec.EllipticCurvePublicKey]) -> None:
        """Keep them."""
        self._keys = dict(keys)

    def attestation_key(
        self, implementation_id: bytes, instance_id: bytes
    ) -> ec.EllipticCurvePublicKey | None:
        """The key of a platform."""
        return self._keys.get((implementation_id, instance_id))


class FolderEndorsements:
    """Keys in the endorsement store. Thread-safe.

    Args:
        store: the store's folder; it need not exist.
    """

    def __init__(self, store: Path) -> None:
        """Keep the folder; nothing is opened yet."""
        self._folder = store.joinpath(*FOLDER)
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[object, ec.EllipticCurvePublicKey]] = OrderedDict()

    def attestation_key(
        self, implementation_id: bytes, instance_id: bytes
    ) -> ec.EllipticCurvePublicKey | None:
        """The key of a platform.

        Raises:
            InvalidSetting: the file holds no such key, or there are two files.
        """
        stem = self._folder / implementation_id.hex() / instance_id.hex()
        found = [
            (path, version)
            for path in (stem.with_suffix(".jwk"), stem.with_suffix(".pem"))
            if (version := version_of(path)) is not None
        ]
        if not found:
            return None
        if len(found) > 1:
            raise InvalidSetting(f"two attestation keys of one platform: {stem}.jwk and {stem}.pem")
        return self._read(*found[0])

    def _read(self, path: Path, version: object) -> ec.EllipticCurvePublicKey:
        with self._lock:
            known = self._known.get(path)
            if known is not None and known[0] == version:
                self._known.move_to_end(path)
                return known[1]
        try:
            key = read_key(read_limited(path, what="attestation key", max_bytes=MAX_KEY_BYTES))
        except InputError as error:
            raise InvalidSetting(f"{path}: {error.message}") from error
        with self._lock:
            self._known[path] = (version, key)
            if len(self._known) > _MAX_REMEMBERED:
                self._known.popitem(last=False)
        return key


def read_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """A public key in one of the two forms of the folder.

    Raises:
        InputError: neither, or of another kind of key.
    """
    if data.lstrip()[:1] == b"{":
        return jwk_key(strict_json.loads(data, what="attestation key", max_bytes=MAX_KEY_BYTES))
    try:
        key = load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed("the attestation key is neither a JWK nor a PEM public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in cose.CURVES:
        raise Malformed("the attestation key is not of P-256, P-384 or P-521")
    return key


def jwk_key(jwk: Any) -> ec.EllipticCurvePublicKey:
    """The key of a public EC JWK (RFC 7518 section 6.2.1).

    Raises:
        InputError: another key type or curve, a member that is not known (a private key), no point.
    """
    if not isinstance(jwk, dict) or jwk.get("kty") != "EC" or not set(jwk) <= _JWK_MEMBERS:
        raise Malformed("the attestation key is not a public EC JWK")
    name = jwk.get("crv")
    curve = _JWK_CURVES.get(name) if isinstance(name, str) else None
    if curve is None:
        raise Malformed("the attestation key is not of P-256, P-384 or P-521")
    width = cose.CURVES[curve.name].order_bytes
    coordinates = [_coordinate(jwk.get(member), width) for member in ("x", "y")]
    key = cose.point(b"\x04" + b"".join(coordinates), curve)
    if key is None:
        raise Malformed("the attestation key is no point of its curve")
    return key


def read_store(data: bytes) -> Cpaks:
    """The keys of a trust-anchor store as Confidential Containers has it (its CCA verifier's ``ta-store``).

    A JSON list of ``{"pkey": JWK, "implementation-id": hex, "instance-id": hex}``.

    Raises:
        InputError: another form, or two keys of one platform.
    """
    entries = strict_json.loads(data, what="trust-anchor store", max_bytes=_MAX_STORE_BYTES)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and set(entry) == _STORE_MEMBERS for entry in entries
    ):
        raise Malformed("the trust-anchor store is not a list of attestation keys with their platforms")
    keys: Cpaks = {}
    for entry in entries:
        ids = (
            _id(entry["implementation-id"], IMPLEMENTATION_ID_BYTES),
            _id(entry["instance-id"], INSTANCE_ID_BYTES),
        )
        if ids in keys:
            raise Malformed("the trust-anchor store has two attestation keys of one platform")
        keys[ids] = jwk_key(entry["pkey"])
    return keys


def write_keys(store: Path, keys: Mapping[tuple[bytes, bytes], ec.EllipticCurvePublicKey]) -> int:
    """Put keys into the endorsement store; returns how many were not there before.

    Raises:
        Malformed: an id of another length.
        InvalidSetting: a platform has another key there already, or the folder cannot be written.
    """
    known = FolderEndorsements(store)
    added = []
    for (implementation, instance), key in keys.items():
        if len(implementation) != IMPLEMENTATION_ID_BYTES or len(instance) != INSTANCE_ID_BYTES:
            raise Malformed("an implementation id has 32 bytes, and an instance id 33")
        there = known.attestation_key(implementation, instance)
        if there is None:
            added.append((implementation, instance, key))
        elif _der(there) != _der(key):
            raise InvalidSetting(
                f"the platform {implementation.hex()}/{instance.hex()} has another attestation key",
                advice="Remove the old file first, if the new key is meant.",
            )
    for implementation, instance, key in added:
        folder = store.joinpath(*FOLDER, implementation.hex())
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSetting(f"cannot make the folder {folder} ({error.strerror})") from error
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_public(folder / f"{instance.hex()}.pem", pem)
    return len(added)


def _der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _coordinate(value: object, width: int) -> bytes:
    data = b64url_decode(value, what="a coordinate") if isinstance(value, str) else b""
    if len(data) != width:
        raise Malformed(f"the attestation key has not two coordinates of {width} bytes")
    return data


def _id(value: object, length: int) -> bytes:
    if not isinstance(value, str):
        raise Malformed("the trust-anchor store has an id that is not text")
    return hex_decode(value, what="an id of the trust-anchor store", length=length)
