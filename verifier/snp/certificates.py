"""Profile of AMD's certificates: VCEK and VLEK leaves, ASK and ASVK intermediates, ARK roots.

Sources: AMD VCEK specification (pub. 57230) section 3 and VLEK specification (pub. 58369); RFC 5280.

What is demanded of every one: X.509 v3; the six AMD name attributes and nothing else; RSASSA-PSS with
SHA-384, MGF1-SHA-384 and a 48-byte salt; no critical extension that is not understood here. Further:

* leaf: P-384 key, no CA flag, the AMD extensions of its kind (VCEK: hardware id and no CSP; VLEK: CSP and
  no hardware id), each at most once, each strict DER, none in the TCB arc that is not known;
* authority: RSA-4096, CA flag, keyCertSign, and of AMD's own exactly one CRL distribution point, the
  key distribution service's. The address is compared, never fetched from here.

Signatures are verified with these very parameters, never with those that a certificate asks for.
AMD leaves have serial number 0, so that a serial number never identifies one.
"""

from __future__ import annotations

import hashlib
import warnings
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from common.errors import Malformed
from verifier.errors import CertificateInvalid
from verifier.snp import der as strict_der
from verifier.snp.products import HWID_BYTES, PRODUCT_NAMES, Product, SigningKey, Tcb

if TYPE_CHECKING:
    from collections.abc import Mapping

# The library warns at every serial number 0 and will refuse it one day; the version is bounded and
# tests/verifier/snp/test_canary.py says when that day comes.
warnings.filterwarnings("ignore", message="Parsed a serial number which wasn't positive")

MAX_CERTIFICATE_BYTES: Final = 8192
_ARC: Final = "1.3.6.1.4.1.3704.1"
_STRUCT_VERSION: Final = f"{_ARC}.1"
_PRODUCT_NAME: Final = f"{_ARC}.2"
_SPL_ARC: Final = f"{_ARC}.3."
_HWID: Final = f"{_ARC}.4"
_CSP_ID: Final = f"{_ARC}.5"
# TCB components by the last number of their OID (VCEK specification table 9).
_SPL_NAMES: Final[Mapping[str, str]] = {
    f"{_SPL_ARC}1": "bootloader",
    f"{_SPL_ARC}2": "tee",
    f"{_SPL_ARC}3": "snp",
    f"{_SPL_ARC}8": "microcode",
    f"{_SPL_ARC}9": "fmc",
}
_SPL_RESERVED: Final = frozenset(f"{_SPL_ARC}{number}" for number in (4, 5, 6, 7))
_KNOWN_STRUCT_VERSIONS: Final = (0, 1)
_MAX_SPL: Final = 0xFF
_MAX_CSP_ID: Final = 64
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
_UNDERSTOOD: Final = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})


class Vek(msgspec.Struct, frozen=True):
    """A leaf that meets its profile. Not yet chained to anything.

    Attributes:
        kind: VCEK or VLEK.
        certificate: the certificate.
        sha256: of its DER, hex.
        public_key: P-384.
        product_name: as in the certificate, stepping included (which may be wrong).
        struct_version: 0, or 1 since Turin.
        tcb: the TCB that the key was derived for.
        hardware_id: 64 bytes, 8 on Turin; VCEK only.
        csp_id: the cloud provider that the key belongs to; VLEK only.
    """

    kind: SigningKey
    certificate: x509.Certificate
    sha256: str
    public_key: ec.EllipticCurvePublicKey
    product_name: str
    struct_version: int
    tcb: Tcb
    hardware_id: bytes | None
    csp_id: str | None

    @property
    def not_before(self) -> datetime:
        """Start of validity, UTC."""
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """End of validity, UTC."""
        return self.certificate.not_valid_after_utc


def load_certificate(data: bytes, what: str) -> x509.Certificate:
    """Parse one DER certificate.

    Raises:
        Malformed: too large or not a certificate.
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise Malformed(f"{what} has {len(data)} bytes, the limit is {MAX_CERTIFICATE_BYTES}")
    try:
        return x509.load_der_x509_certificate(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed(f"{what} is not a DER certificate") from error


def check_vek(der: bytes, kind: SigningKey, product: Product) -> Vek:
    """Parse a leaf and hold it against the profile of ``kind`` and ``product``.

    Raises:
        Malformed: not a certificate.
        CertificateInvalid: it does not meet the profile.
    """
    what = f"the {kind} certificate"
    certificate = load_certificate(der, what)
    try:
        return _vek(certificate, der, kind, product, what)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CertificateInvalid(f"{what} has a malformed or duplicate extension or field") from error
    except Malformed as error:
        raise CertificateInvalid(error.message) from error


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


def _vek(certificate: x509.Certificate, der: bytes, kind: SigningKey, product: Product, what: str) -> Vek:
    if certificate.version is not x509.Version.v3:
        raise CertificateInvalid(f"{what} is not X.509 v3")
    if common_name(certificate.subject) != f"SEV-{kind}":
        raise CertificateInvalid(f"{what} is not called SEV-{kind}")
    _require_algorithm(certificate, what)
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise CertificateInvalid(f"{what} has no P-384 key")
    values = _amd_extensions(certificate, what)
    struct_version = strict_der.integer(_required(values, _STRUCT_VERSION, what), "structVersion")
    if struct_version not in _KNOWN_STRUCT_VERSIONS:
        raise CertificateInvalid(f"{what} has unknown structVersion {struct_version}")
    product_name = strict_der.ia5_string(_required(values, _PRODUCT_NAME, what), "productName")
    if product_name.partition("-")[0] not in PRODUCT_NAMES[product]:
        raise CertificateInvalid(f"{what} is for {product_name}, not for {product}")
    return Vek(
        kind=kind,
        certificate=certificate,
        sha256=hashlib.sha256(der).hexdigest(),
        public_key=key,
        product_name=product_name,
        struct_version=struct_version,
        tcb=_tcb(values, product, what),
        hardware_id=_hardware_id(values, kind, product, what),
        csp_id=_csp_id(values, kind, what),
    )


def _require_algorithm(certificate: x509.Certificate, what: str) -> None:
    require_pss(
        certificate.signature_algorithm_oid,
        certificate.signature_algorithm_parameters,
        certificate.signature_hash_algorithm,
        what,
    )


def _amd_extensions(certificate: x509.Certificate, what: str) -> dict[str, bytes]:
    """AMD's extensions by OID; refuses critical unknown ones, a CA flag and unknown TCB components."""
    values: dict[str, bytes] = {}
    for extension in certificate.extensions:
        oid = extension.oid.dotted_string
        if oid.startswith(_ARC + "."):
            if oid.startswith(_SPL_ARC) and oid not in _SPL_NAMES and oid not in _SPL_RESERVED:
                raise CertificateInvalid(f"{what} has the unknown TCB component {oid}")
            values[oid] = extension.value.public_bytes()
        elif isinstance(extension.value, x509.BasicConstraints):
            if extension.value.ca:
                raise CertificateInvalid(f"{what} claims to be an authority")
        elif extension.critical and extension.oid not in _UNDERSTOOD:
            raise CertificateInvalid(f"{what} has the unknown critical extension {oid}")
    return values


def _required(values: Mapping[str, bytes], oid: str, what: str) -> bytes:
    value = values.get(oid)
    if value is None:
        raise CertificateInvalid(f"{what} lacks the extension {oid}")
    return value


def _tcb(values: Mapping[str, bytes], product: Product, what: str) -> Tcb:
    components: dict[str, int] = {}
    for oid, name in _SPL_NAMES.items():
        if name == "fmc" and product is not Product.TURIN:
            if oid in values:
                raise CertificateInvalid(f"{what} has an FMC component, which {product} has not")
            continue
        components[name] = _spl(_required(values, oid, what), oid)
    for oid in _SPL_RESERVED & values.keys():
        if _spl(values[oid], oid):
            raise CertificateInvalid(f"{what} has a value in the reserved TCB component {oid}")
    return Tcb(**components)


def _spl(data: bytes, oid: str) -> int:
    value = strict_der.integer(data, oid)
    if value > _MAX_SPL:
        raise Malformed(f"{oid} is larger than a byte")
    return value


def _hardware_id(
    values: Mapping[str, bytes], kind: SigningKey, product: Product, what: str
) -> bytes | None:
    if kind is SigningKey.VLEK:
        if _HWID in values:
            raise CertificateInvalid(f"{what} has a hardware id, which a VLEK has not")
        return None
    data = _required(values, _HWID, what)
    size = HWID_BYTES[product]
    # Raw in most certificates; newer ones wrap it in an OCTET STRING. The lengths differ, so that no
    # value can be read both ways.
    hardware_id = data if len(data) == size else strict_der.octet_string(data, "hwID")
    if len(hardware_id) != size:
        raise CertificateInvalid(f"{what} has a hardware id of {len(hardware_id)} bytes, not {size}")
    return hardware_id


def _csp_id(values: Mapping[str, bytes], kind: SigningKey, what: str) -> str | None:
    if kind is SigningKey.VCEK:
        if _CSP_ID in values:
            raise CertificateInvalid(f"{what} has a CSP id, which a VCEK has not")
        return None
    csp_id = strict_der.ia5_string(_required(values, _CSP_ID, what), "CSP_ID")
    if len(csp_id) > _MAX_CSP_ID:
        raise CertificateInvalid(f"{what} has a CSP id of more than {_MAX_CSP_ID} characters")
    return csp_id


def _check_authority(certificate: x509.Certificate, name: str, crl_url: str | None) -> None:
    if certificate.version is not x509.Version.v3:
        raise CertificateInvalid(f"{name} is not X.509 v3")
    if (found := common_name(certificate.subject)) != name:
        raise CertificateInvalid(f"the certificate in the place of {name} is called {found}")
    _require_algorithm(certificate, name)
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != _CA_KEY_BITS:
        raise CertificateInvalid(f"{name} has no RSA-{_CA_KEY_BITS} key")
    extensions = {extension.oid: extension for extension in certificate.extensions}
    for oid, extension in extensions.items():
        if extension.critical and oid not in _UNDERSTOOD:
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
