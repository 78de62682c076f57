"""TEE keys of the KBS protocol: what secrets are encrypted to, and how such a secret is opened.

==========================  ====================================  =====================================
name in configuration       JWK                                   ``alg`` of the JWE
==========================  ====================================  =====================================
``ECDH-ES+A256KW-P256``     EC P-256                              ``ECDH-ES+A256KW`` (RFC 7518 4.6)
``ECDH-ES+A256KW-P521``     EC P-521                              ``ECDH-ES+A256KW``
``RSA-OAEP-256``            RSA, 3072 bits                        ``RSA-OAEP-256`` (RFC 7518 4.3)
``ML-KEM-768+A192KW``       AKP (draft-ietf-jose-pqc-kem-05)      ``ML-KEM-768+A192KW``
==========================  ====================================  =====================================

Invariants:

* The algorithm follows from the key; the header of a JWE is compared with it, not followed. ``RSA1_5`` is
  neither offered nor opened.
* A flattened JWE (RFC 7516 section 7.2.2) has exactly the protected members of its algorithm: ``alg``,
  ``enc`` and ``epk`` or ``ek``; ``enc`` is ``A256GCM``. Key, iv and tag have their one length.
* Nothing of the plaintext is returned before its tag held.
* The private key stays in memory, unless ``private_pem`` is asked for (GetToken of the attestation agent
  hands it to the workload, which is part of the TEE).

The key of ML-KEM is derived by KMAC256 (NIST SP 800-185) with the shared secret as key over
``len32(alg), alg, 192 as BE32``, 24 bytes, no customisation. Revision 06 of the draft has no JOSE any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from common import strict_json
from common.encoding import b64url_decode, b64url_encode
from common.errors import DependencyMissing, InputError, InvalidSetting
from guest_agent.errors import SecretUndecryptable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wire.kbs import EncryptedResource

DEFAULT_ALGORITHM: Final = "ECDH-ES+A256KW-P256"
EC_ALGORITHM: Final = "ECDH-ES+A256KW"
RSA_ALGORITHM: Final = "RSA-OAEP-256"
ML_KEM_ALGORITHM: Final = "ML-KEM-768+A192KW"
_ENCRYPTION: Final = "A256GCM"
_CEK_BYTES: Final = 32
_IV_BYTES: Final = 12
_TAG_BYTES: Final = 16
_ML_KEM_KEY_BYTES: Final = 24
_ML_KEM_CIPHERTEXT_BYTES: Final = 1088  # FIPS 203 table 3
_RSA_BITS: Final = 3072
_MIN_RSA_BITS: Final = 2048  # a key handed in, as kbs-client makes them
_MAX_HEADER: Final = 8192
# RFC 7518 section 6.2.1: octets of a coordinate.
_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, int]]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-521": (ec.SECP521R1(), 66),
}


class _Opener(Protocol):
    """The part of a key that depends on its algorithm."""

    @property
    def algorithm(self) -> str: ...

    @property
    def parameter(self) -> str | None:
        """The header's member besides ``alg`` and ``enc``."""

    @property
    def jwk(self) -> dict[str, str]: ...

    @property
    def private(self) -> Any: ...

    def content_key(self, encrypted: bytes, parameter: Any) -> bytes:
        """The content encryption key.

        Raises:
            ValueError, InvalidUnwrap: not made for this key.
        """


class TeeKey:
    """A key pair, of one handshake. Use ``generate`` or ``from_pem``.

    Attributes:
        algorithm: the JWE ``alg`` that it opens.
        public_jwk: as it goes into runtime data, private members never.
    """

    __slots__ = ("_opener", "algorithm", "public_jwk")

    def __init__(self, opener: _Opener) -> None:
        """Wrap what opens."""
        self._opener = opener
        self.algorithm = opener.algorithm
        self.public_jwk: dict[str, str] = dict(opener.jwk)

    @classmethod
    def generate(cls, name: str = DEFAULT_ALGORITHM) -> TeeKey:
        """A fresh pair.

        Raises:
            InvalidSetting: no such algorithm, or this build of the libraries lacks it.
            DependencyMissing: ML-KEM needs pycryptodome.
        """
        if name in {"ECDH-ES+A256KW-P256", "ECDH-ES+A256KW-P521"}:
            return cls(_Ec(ec.generate_private_key(_CURVES[f"P-{name[-3:]}"][0])))
        if name == RSA_ALGORITHM:
            return cls(_Rsa(rsa.generate_private_key(65537, _RSA_BITS)))
        if name == ML_KEM_ALGORITHM:
            _kmac()
            try:
                return cls(_MlKem(mlkem.MLKEM768PrivateKey.generate()))
            except UnsupportedAlgorithm as error:
                raise InvalidSetting("the cryptographic library here has no ML-KEM-768") from error
        raise InvalidSetting(
            f"a TEE key's algorithm is ECDH-ES+A256KW-P256, ECDH-ES+A256KW-P521, {RSA_ALGORITHM}"
            f" or {ML_KEM_ALGORITHM}"
        )

    @classmethod
    def from_pem(cls, pem: bytes) -> TeeKey:
        """The pair of an unencrypted PEM private key, for passports.

        Raises:
            InvalidSetting: not such a key, or of a kind that is not used.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidSetting("the TEE key is not an unencrypted PEM private key") from error
        if isinstance(key, ec.EllipticCurvePrivateKey) and _curve_of(key) is not None:
            return cls(_Ec(key))
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
            return cls(_Rsa(key))
        if isinstance(key, mlkem.MLKEM768PrivateKey):
            return cls(_MlKem(key))
        raise InvalidSetting("the TEE key is EC P-256 or P-521, RSA of 2048 bits or more, or ML-KEM-768")

    def private_pem(self) -> str:
        """The pair as PKCS #8 PEM, unencrypted: a secret of the TEE."""
        pem: bytes = self._opener.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem.decode("ascii")

    def open(self, resource: EncryptedResource) -> bytes:
        """The plaintext of a resource that was encrypted to this key.

        Raises:
            SecretUndecryptable: of another form or algorithm, for another key, or altered.
        """
        parameter = self._header(resource.protected)
        parts = {
            name: _decoded(getattr(resource, name)) for name in ("encrypted_key", "iv", "ciphertext", "tag")
        }
        if len(parts["iv"]) != _IV_BYTES or len(parts["tag"]) != _TAG_BYTES:
            raise SecretUndecryptable("the resource's iv or tag has another length than A256GCM's")
        try:
            key = self._opener.content_key(parts["encrypted_key"], parameter)
        except (ValueError, TypeError, InvalidUnwrap, InputError) as error:
            raise SecretUndecryptable("the resource's key was not made for this TEE key") from error
        if len(key) != _CEK_BYTES:
            raise SecretUndecryptable("the resource's content key has another length than A256GCM's")
        try:
            return AESGCM(key).decrypt(
                parts["iv"], parts["ciphertext"] + parts["tag"], resource.protected.encode("ascii")
            )
        except InvalidTag as error:
            raise SecretUndecryptable("the resource does not decrypt: it was altered") from error

    def _header(self, protected: str) -> Any:
        if len(protected) > _MAX_HEADER:
            raise SecretUndecryptable("the resource's protected header is too long")
        try:
            header = strict_json.loads(_decoded(protected), what="JWE header", max_bytes=_MAX_HEADER)
        except InputError as error:
            raise SecretUndecryptable("the resource's protected header is not JSON") from error
        name = self._opener.parameter
        if not isinstance(header, dict) or header.keys() != {"alg", "enc"} | ({name} if name else set()):
            raise SecretUndecryptable("the resource's protected header has other members than it should")
        if header["alg"] != self.algorithm or header["enc"] != _ENCRYPTION:
            raise SecretUndecryptable("the resource is encrypted by another algorithm than the TEE key's")
        return header[name] if name else None


class _Ec:
    algorithm = EC_ALGORITHM
    parameter = "epk"

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.private = key
        self._curve = _curve_of(key) or "P-256"
        numbers = key.public_key().public_numbers()
        size = _CURVES[self._curve][1]
        self.jwk = {
            "kty": "EC",
            "crv": self._curve,
            "alg": EC_ALGORITHM,
            "x": b64url_encode(numbers.x.to_bytes(size, "big")),
            "y": b64url_encode(numbers.y.to_bytes(size, "big")),
        }

    def content_key(self, encrypted: bytes, parameter: Any) -> bytes:
        shared = self.private.exchange(ec.ECDH(), self._ephemeral(parameter))
        # RFC 7518 section 4.6.2: AlgorithmID, empty PartyUInfo and PartyVInfo, SuppPubInfo (key's bits).
        name = EC_ALGORITHM.encode("ascii")
        other_info = len(name).to_bytes(4, "big") + name + bytes(8) + (256).to_bytes(4, "big")
        wrapping = ConcatKDFHash(hashes.SHA256(), 32, other_info).derive(shared)
        return aes_key_unwrap(wrapping, encrypted)

    def _ephemeral(self, value: Any) -> ec.EllipticCurvePublicKey:
        if not isinstance(value, dict) or value.keys() != {"kty", "crv", "x", "y"}:
            raise ValueError("epk has other members")
        if value["kty"] != "EC" or value["crv"] != self._curve:
            raise ValueError("epk is on another curve")
        curve, size = _CURVES[self._curve]
        x, y = (_decoded(value[name]) for name in ("x", "y"))
        if len(x) != size or len(y) != size:
            raise ValueError("a coordinate of epk has another length")
        # Points off the curve raise ValueError.
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
        return numbers.public_key()


class _Rsa:
    algorithm = RSA_ALGORITHM
    parameter = None

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.private = key
        numbers = key.public_key().public_numbers()
        self.jwk = {
            "kty": "RSA",
            "alg": RSA_ALGORITHM,
            "n": b64url_encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": b64url_encode(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
        }

    def content_key(self, encrypted: bytes, parameter: Any) -> bytes:  # noqa: ARG002 (it has none)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        return self.private.decrypt(encrypted, oaep)


class _MlKem:
    algorithm = ML_KEM_ALGORITHM
    parameter = "ek"

    def __init__(self, key: mlkem.MLKEM768PrivateKey) -> None:
        self.private = key
        public = key.public_key().public_bytes_raw()
        self.jwk = {"kty": "AKP", "alg": ML_KEM_ALGORITHM, "pub": b64url_encode(public)}

    def content_key(self, encrypted: bytes, parameter: Any) -> bytes:
        ciphertext = _decoded(parameter)
        if len(ciphertext) != _ML_KEM_CIPHERTEXT_BYTES:
            raise ValueError("ek has another length")
        # Wrong ciphertexts give another secret (implicit rejection, FIPS 203): unwrapping then fails.
        shared = self.private.decapsulate(ciphertext)
        return aes_key_unwrap(ml_kem_wrapping_key(shared), encrypted)


def ml_kem_wrapping_key(shared: bytes) -> bytes:
    """The AES-192 key of a shared secret (see the module).

    Raises:
        DependencyMissing: pycryptodome is not installed.
    """
    name = ML_KEM_ALGORITHM.encode("ascii")
    context = len(name).to_bytes(4, "big") + name + (8 * _ML_KEM_KEY_BYTES).to_bytes(4, "big")
    derived: bytes = _kmac().new(key=shared, mac_len=_ML_KEM_KEY_BYTES, data=context).digest()
    return derived


def _kmac() -> Any:
    try:
        from Crypto.Hash import KMAC256  # noqa: PLC0415 (only ML-KEM keys need it)
    except ImportError as error:
        raise DependencyMissing(
            "ML-KEM keys need the package pycryptodome",
            advice='Install touchstone with its extra "guest", or use another TEE key algorithm.',
        ) from error
    return KMAC256


def _curve_of(key: ec.EllipticCurvePrivateKey) -> str | None:
    return next((name for name, (curve, _) in _CURVES.items() if curve.name == key.curve.name), None)


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise SecretUndecryptable("the resource has a part that is not text")
    try:
        return b64url_decode(text, what="JWE part")
    except InputError as error:
        raise SecretUndecryptable("the resource has a part that is not base64url") from error
