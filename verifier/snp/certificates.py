"""What all of AMD's certificates have in common, and the profile of its authorities: ARK, ASK, ASVK.

Sources: AMD VCEK specification (pub. 57230) section 3 and VLEK specification (pub. 58369); RFC 5280.

What is demanded of every certificate: X.509 v3; the six AMD name attributes and nothing else; RSASSA-PSS
with SHA-384, MGF1-SHA-384 and a 48-byte salt; no critical extension that is not understood here. Of an
authority further: RSA-4096, CA flag, keyCertSign, and of AMD's own exactly one CRL distribution point, the
key distribution service's. The address is compared, never fetched from here.

Signatures are verified with these very parameters, never with those that a certificate asks for.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from common.errors import Malformed
from common.x509_names import with_names
from verifier.errors import CertificateInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

# The library warns at every serial number 0 and will refuse it one day; the version is bounded and
# tests/verifier/snp/test_vectors.py says when that day comes.
warnings.filterwarnings("ignore", message="Parsed a serial number which wasn't positive")

MAX_CERTIFICATE_BYTES: Final = 8192
_NAME: Final = frozenset(
    {
        (NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
        (NameOID.LOCALITY_NAME, "Santa Clara"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.COUNTRY_NAME, "US"),
    }
)
_CA_KEY_BITS: Final = 4096
_SALT_BYTES: Final = 48
_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=_SALT_BYTES)
UNDERSTOOD: Final = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})


def load_certificate(data: bytes, what: str) -> x509.Certificate:
    """Parse one DER certificate.

    Raises:
        Malformed: too large or not a certificate.
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise Malformed(f"{what} has {len(data)} bytes, the limit is {MAX_CERTIFICATE_BYTES}")
    try:
        return with_names(x509.load_der_x509_certificate(data))
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Malformed(f"{what} is not a DER certificate") from error


def check_authority(certificate: x509.Certificate, common_name: str, *, crl_url: str | None) -> None:
    """Hold an ARK, ASK or ASVK against its profile.

    Args:
        certificate: the authority's certificate.
        common_name: what its subject must be called.
        crl_url: the one CRL distribution point it must have; None for test anchors, which need none.

    Raises:
        CertificateInvalid: it does not meet the profile.
    """
    try:
        _check_authority(certificate, common_name, crl_url)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CertificateInvalid(
            f"{common_name} has a malformed or duplicate extension or field"
        ) from error


def common_name(name: x509.Name) -> str:
    """The common name of an AMD distinguished name, whose other attributes are fixed.

    Raises:
        CertificateInvalid: another distinguished name.
    """
    attributes = [(attribute.oid, attribute.value) for attribute in name]
    common = [value for oid, value in attributes if oid == NameOID.COMMON_NAME]
    fixed = [(oid, value) for oid, value in attributes if oid != NameOID.COMMON_NAME]
    if len(common) != 1 or len(fixed) != len(_NAME) or frozenset(fixed) != _NAME:
        raise CertificateInvalid("the distinguished name is not of AMD's form")
    return str(common[0])


def verify_signature(issuer: x509.Certificate, signature: bytes, signed: bytes, what: str) -> None:
    """Verify an RSASSA-PSS signature (SHA-384, MGF1-SHA-384, salt 48) by an authority.

    Raises:
        CertificateInvalid: it does not verify.
    """
    key = issuer.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise CertificateInvalid(f"the issuer of {what} has no RSA key")
    try:
        key.verify(signature, signed, _PSS, hashes.SHA384())
    except InvalidSignature as error:
        raise CertificateInvalid(f"{what} is not signed by its issuer") from error


def verify_issued(certificate: x509.Certificate, issuer: x509.Certificate, what: str) -> None:
    """Demand that ``issuer`` is named in and signed ``certificate``.

    Raises:
        CertificateInvalid: otherwise.
    """
    if certificate.issuer != issuer.subject:
        raise CertificateInvalid(f"{what} names another issuer")
    verify_signature(issuer, certificate.signature, certificate.tbs_certificate_bytes, what)


def require_pss(oid: x509.ObjectIdentifier, parameters: object, digest: object, what: str) -> None:
    """Demand the one signature algorithm that AMD uses, as a certificate or CRL declares it.

    Raises:
        CertificateInvalid: another algorithm or parameter.
    """
    if (
        oid != SignatureAlgorithmOID.RSASSA_PSS
        or not isinstance(digest, hashes.SHA384)
        or not _is_amd_pss(parameters)
    ):
        raise CertificateInvalid(f"{what} is not signed with RSASSA-PSS, SHA-384 and salt 48")


def _is_amd_pss(parameters: object) -> bool:
    # Read through private names: the library exposes declared parameters by no public accessor.
    if not isinstance(parameters, padding.PSS) or parameters._salt_length != _SALT_BYTES:  # noqa: SLF001
        return False
    mgf = parameters.mgf
    return isinstance(mgf, padding.MGF1) and isinstance(mgf._algorithm, hashes.SHA384)  # noqa: SLF001


def require_algorithm(certificate: x509.Certificate, what: str) -> None:
    """Demand the signature algorithm of AMD's certificates.

    Raises:
        CertificateInvalid: another algorithm or parameter.
    """
    require_pss(
        certificate.signature_algorithm_oid,
        certificate.signature_algorithm_parameters,
        certificate.signature_hash_algorithm,
        what,
    )


def _check_authority(certificate: x509.Certificate, name: str, crl_url: str | None) -> None:
    if certificate.version is not x509.Version.v3:
        raise CertificateInvalid(f"{name} is not X.509 v3")
    if (found := common_name(certificate.subject)) != name:
        raise CertificateInvalid(f"the certificate in the place of {name} is called {found}")
    require_algorithm(certificate, name)
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != _CA_KEY_BITS:
        raise CertificateInvalid(f"{name} has no RSA-{_CA_KEY_BITS} key")
    extensions = {extension.oid: extension for extension in certificate.extensions}
    for oid, extension in extensions.items():
        if extension.critical and oid not in UNDERSTOOD:
            raise CertificateInvalid(f"{name} has the unknown critical extension {oid.dotted_string}")
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    usage = extensions.get(ExtensionOID.KEY_USAGE)
    if constraints is None or not constraints.value.ca or usage is None or not usage.value.key_cert_sign:
        raise CertificateInvalid(f"{name} is not marked as an authority that signs certificates")
    if crl_url is not None and _distribution_points(extensions) != [crl_url]:
        raise CertificateInvalid(f"{name} does not have {crl_url} as its one CRL distribution point")


def _distribution_points(extensions: Mapping[x509.ObjectIdentifier, x509.Extension]) -> list[str]:  # type: ignore[type-arg]
    extension = extensions.get(ExtensionOID.CRL_DISTRIBUTION_POINTS)
    if extension is None:
        return []
    return [
        name.value if isinstance(name, x509.UniformResourceIdentifier) else ""
        for point in extension.value
        for name in point.full_name or ()
    ]
