"""Profile of the leaves that sign reports: VCEK and VLEK.

Sources: AMD VCEK specification (pub. 57230) section 3, table 9; VLEK specification (pub. 58369).

Beyond what every AMD certificate has (``verifier.snp.certificates``): a P-384 key, no CA flag, and the AMD
extensions of its kind (VCEK: hardware id and no CSP; VLEK: CSP and no hardware id), each at most once, each
strict DER, none in the TCB arc that is not known.

AMD leaves have serial number 0, so that a serial number never identifies one.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import Malformed
from verifier.errors import CertificateInvalid
from verifier.snp import der as strict_der
from verifier.snp.certificates import UNDERSTOOD, common_name, load_certificate, require_algorithm
from verifier.snp.products import HWID_BYTES, PRODUCT_NAMES, Product, SigningKey, Tcb

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def _vek(certificate: x509.Certificate, der: bytes, kind: SigningKey, product: Product, what: str) -> Vek:
    if certificate.version is not x509.Version.v3:
        raise CertificateInvalid(f"{what} is not X.509 v3")
    if common_name(certificate.subject) != f"SEV-{kind}":
        raise CertificateInvalid(f"{what} is not called SEV-{kind}")
    require_algorithm(certificate, what)
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
        elif extension.critical and extension.oid not in UNDERSTOOD:
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
