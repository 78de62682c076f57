"""What all of Intel's certificates have in common, and the profiles of its authorities.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, sections 1.3 and
3; RFC 5280. Of every certificate: X.509 v3, Intel's five name attributes, ECDSA with SHA-256 on P-256, no
critical extension that is not understood here. Of an authority further: CA flag and keyCertSign; of a
signer of collateral: no CA flag and digitalSignature.

Signatures are verified with these very parameters, never with those that a certificate asks for.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from common.errors import InputError, InvalidSetting, Malformed, TooLarge
from verifier import vendor_roots
from verifier.errors import CertificateInvalid, RootUntrusted

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT_NAME: Final = "Intel SGX Root CA"
CA_NAMES: Final = {
    "Intel SGX PCK Platform CA": "platform",
    "Intel SGX PCK Processor CA": "processor",
}
TCB_SIGNING_NAME: Final = "Intel SGX TCB Signing"
MAX_CHAIN_BYTES: Final = 16 * 1024
_MAX_CERTIFICATES: Final = 4
_MAX_ISSUER_CHAIN: Final = 2
_ROOT_FILE: Final = "intel/sgx-root-ca.pem"
_NAME: Final = frozenset(
    {
        (NameOID.ORGANIZATION_NAME, "Intel Corporation"),
        (NameOID.LOCALITY_NAME, "Santa Clara"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.COUNTRY_NAME, "US"),
    }
)
_UNDERSTOOD: Final = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})
_ECDSA: Final = ec.ECDSA(hashes.SHA256())
_P256_ORDER: Final = int(
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16
)  # NIST SP 800-186 section 3.2.1.3
_COMPONENT: Final = 32
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"


class Anchor(msgspec.Struct, frozen=True):
    """A root that is trusted.

    Attributes:
        certificate: the root.
        key: its public key.
        spki: DER of its SubjectPublicKeyInfo, which is what is compared.
        sha256: of its DER, hex.
        key_id: SHA-384 of the public point, x and y, hex (what Intel's library calls the root's key id).
        intel: Intel's own, as opposed to one trusted by explicit configuration.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePublicKey
    spki: bytes
    sha256: str
    key_id: str
    intel: bool


class Anchors:
    """The trusted roots.

    Args:
        extra: further roots (test authorities), trusted as if they were Intel's.

    Raises:
        InvalidSetting: an extra root does not meet the profile of one.
    """

    def __init__(self, extra: Sequence[x509.Certificate] = ()) -> None:
        """Load the pinned root and compare its digest."""
        self.intel = _anchor(vendor_roots.load(_ROOT_FILE), intel=True)
        self._all = (self.intel, *(_extra(certificate) for certificate in extra))

    def of_chain(self, last: x509.Certificate, what: str) -> Anchor:
        """The anchor that the last certificate of a chain is, or is issued by.

        Intel's root exists in more than one certificate with the same name and key: the key counts.

        Raises:
            RootUntrusted: none.
        """
        if last.subject != last.issuer:
            for anchor in self._all:
                if last.issuer == anchor.certificate.subject and _is_issued(last, anchor.key):
                    return anchor
            raise RootUntrusted(f"{what} does not lead to a pinned root")
        for anchor in self._all:
            if is_anchor(last, anchor):
                return anchor
        raise RootUntrusted(f"the root of {what} is not a pinned one")


def is_anchor(certificate: x509.Certificate, anchor: Anchor) -> bool:
    """Whether a certificate is an anchor's, or another one of its name and key, signed by that key."""
    if certificate.public_bytes(Encoding.DER) == anchor.certificate.public_bytes(Encoding.DER):
        return True
    return (
        certificate.subject == certificate.issuer == anchor.certificate.subject
        and _spki(certificate) == anchor.spki
        and _is_issued(certificate, anchor.key)
    )


def load_issuer_chain(data: bytes, anchor: Anchor, what: str) -> x509.Certificate:
    """The first certificate of a chain of one that the anchor issued and, maybe, the anchor.

    Raises:
        CertificateInvalid: not that.
    """
    try:
        chain = load_chain(data, what)
    except InputError as error:
        raise CertificateInvalid(error.message) from error
    if len(chain) > _MAX_ISSUER_CHAIN or any(not is_anchor(last, anchor) for last in chain[1:]):
        raise CertificateInvalid(f"{what} is not one certificate and the root")
    return chain[0]


def intel_root() -> Anchor:
    """Intel's own root."""
    return Anchors().intel


def load_chain(data: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """Certificates of a PEM chain, in its order. Zeros behind it are passed over, other text is not.

    Raises:
        TooLarge: more than 16 KiB, or more than four certificates.
        Malformed: not PEM certificates.
    """
    if len(data) > MAX_CHAIN_BYTES:
        raise TooLarge(f"{what} has {len(data)} bytes, the limit is {MAX_CHAIN_BYTES}")
    text = data.rstrip(b"\0")
    if not 1 <= text.count(_BEGIN) <= _MAX_CERTIFICATES:
        raise Malformed(f"{what} has not one to {_MAX_CERTIFICATES} PEM certificates")
    blocks = text.split(_END)
    if blocks.pop().strip() or any(not block.lstrip().startswith(_BEGIN) for block in blocks):
        raise Malformed(f"{what} holds something other than PEM certificates")
    try:
        chain = tuple(x509.load_pem_x509_certificates(text))
        for certificate in chain:
            _require_readable(certificate)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Malformed(f"{what} holds a certificate that cannot be parsed") from error
    return chain


def check_authority(certificate: x509.Certificate, name: str) -> ec.EllipticCurvePublicKey:
    """Hold the certificate of an authority against its profile; returns its key.

    Raises:
        CertificateInvalid: it does not meet the profile.
    """
    return _checked(certificate, name, authority=True)


def check_leaf(certificate: x509.Certificate, name: str) -> ec.EllipticCurvePublicKey:
    """Hold a certificate that issues none against its profile; returns its key.

    Raises:
        CertificateInvalid: it does not meet the profile.
    """
    return _checked(certificate, name, authority=False)


def require_issued(
    certificate: x509.Certificate, issuer: x509.Certificate, key: ec.EllipticCurvePublicKey, what: str
) -> None:
    """Demand that ``issuer`` is named in, and ``key`` signed, ``certificate``.

    Raises:
        CertificateInvalid: otherwise.
    """
    if certificate.issuer != issuer.subject:
        raise CertificateInvalid(f"{what} names another issuer")
    if not _is_issued(certificate, key):
        raise CertificateInvalid(f"{what} is not signed by its issuer")


def require_ecdsa(oid: x509.ObjectIdentifier, what: str) -> None:
    """Demand the one signature algorithm that Intel uses, as a certificate or CRL declares it.

    Raises:
        CertificateInvalid: another algorithm.
    """
    if oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise CertificateInvalid(f"{what} is not signed with ECDSA and SHA-256")


def verify_der(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    """Whether a DER signature of X.509 verifies."""
    try:
        key.verify(signature, signed, _ECDSA)
    except InvalidSignature:
        return False
    return True


def verify_raw(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    """Whether a signature of 64 bytes (r and s, big endian, each in 1..n-1) verifies."""
    r = int.from_bytes(signature[:_COMPONENT], "big")
    s = int.from_bytes(signature[_COMPONENT:], "big")
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        return False
    return verify_der(key, encode_dss_signature(r, s), signed)


def sha256_of(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate's DER, hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def validity(certificates: Sequence[x509.Certificate]) -> tuple[datetime, datetime]:
    """Latest start and earliest end."""
    return (
        max(certificate.not_valid_before_utc for certificate in certificates),
        min(certificate.not_valid_after_utc for certificate in certificates),
    )


def common_name(name: x509.Name) -> str:
    """The common name of an Intel distinguished name, whose other attributes are fixed.

    Raises:
        CertificateInvalid: another distinguished name.
    """
    attributes = [(attribute.oid, attribute.value) for attribute in name]
    common = [value for oid, value in attributes if oid == NameOID.COMMON_NAME]
    fixed = [(oid, value) for oid, value in attributes if oid != NameOID.COMMON_NAME]
    if len(common) != 1 or len(fixed) != len(_NAME) or frozenset(fixed) != _NAME:
        raise CertificateInvalid("the distinguished name is not of Intel's form")
    return str(common[0])


def _require_readable(certificate: x509.Certificate) -> None:
    """Read what the library parses only when it is asked for, so that it fails here or never.

    Raises:
        ValueError, UnsupportedAlgorithm, InvalidVersion: a field cannot be parsed.
    """
    for name in (certificate.subject, certificate.issuer):
        list(name)
    _ = (certificate.version, certificate.serial_number, certificate.signature_algorithm_oid)
    _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _is_issued(certificate: x509.Certificate, key: ec.EllipticCurvePublicKey) -> bool:
    return verify_der(key, certificate.signature, certificate.tbs_certificate_bytes)


def _checked(certificate: x509.Certificate, name: str, *, authority: bool) -> ec.EllipticCurvePublicKey:
    try:
        if certificate.version is not x509.Version.v3:
            raise CertificateInvalid(f"{name} is not X.509 v3")
        if (found := common_name(certificate.subject)) != name:
            raise CertificateInvalid(f"the certificate in the place of {name} is called {found}")
        require_ecdsa(certificate.signature_algorithm_oid, name)
        _require_extensions(certificate, name, authority=authority)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CertificateInvalid(f"{name} has a malformed or duplicate extension or field") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateInvalid(f"{name} has no P-256 key")
    return key


def _require_extensions(certificate: x509.Certificate, name: str, *, authority: bool) -> None:
    extensions = {extension.oid: extension for extension in certificate.extensions}
    for oid, extension in extensions.items():
        if extension.critical and oid not in _UNDERSTOOD:
            raise CertificateInvalid(f"{name} has the unknown critical extension {oid.dotted_string}")
    constraints: Any = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    usage: Any = extensions.get(ExtensionOID.KEY_USAGE)
    if constraints is None or usage is None or bool(constraints.value.ca) != authority:
        raise CertificateInvalid(f"{name} is not marked as what it is: an authority, or none")
    if not (usage.value.key_cert_sign if authority else usage.value.digital_signature):
        raise CertificateInvalid(f"the key of {name} may not be used for its purpose")


def _spki(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateInvalid("a root has a key that cannot be read") from error


def _anchor(certificate: x509.Certificate, *, intel: bool) -> Anchor:
    key = check_authority(certificate, ROOT_NAME)
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    return Anchor(
        certificate=certificate,
        key=key,
        spki=_spki(certificate),
        sha256=sha256_of(certificate),
        key_id=hashlib.sha384(point).hexdigest(),
        intel=intel,
    )


def _extra(certificate: x509.Certificate) -> Anchor:
    try:
        anchor = _anchor(certificate, intel=False)
        require_issued(certificate, certificate, anchor.key, ROOT_NAME)
    except CertificateInvalid as error:
        raise InvalidSetting(f"an extra anchor is no root: {error.message}") from error
    return anchor
