"""Endorsement-key certificates: profile, chain to a configured root, dates.

Order: sizes; the leaf's profile; one issuer after the other up to a configured root (compared by bytes,
never taken from the evidence); then, with the attestation key's public area, its name.

Sources: TCG EK Credential Profile 2.5, section 3.2 (fields), 3.2.9 (subjectAltName), 3.2.16 (EKU);
RFC 5280 sections 4.1.2.5, 4.2.1.3, 4.2.1.6, 4.2.1.9, 6.1.

Not done: revocation (few TPM vendors publish CRLs, and none is fetched here); name constraints and
certificate policies (a chain with them marked critical is refused).
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, ObjectIdentifier

from common.checks import Check, Checks
from common.encoding import b64url_decode
from common.errors import Malformed, TooLarge
from verifier.errors import (
    AttestationKeyUntrusted,
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    RootUntrusted,
)
from verifier.tpm.names import name_of
from verifier.tpm.public import (
    DECRYPT,
    FIXED_PARENT,
    FIXED_TPM,
    RESTRICTED,
    SENSITIVE_DATA_ORIGIN,
    SIGN,
    PublicArea,
    parse_public,
    spki_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifier.tpm.settings import TpmSettings
    from wire.rcar import TpmEndorsement

EK_KEY_PURPOSE: Final = ObjectIdentifier("2.23.133.8.1")  # tcg-kp-EKCertificate, EK profile 3.2.16
_TPM_MANUFACTURER: Final = ObjectIdentifier("2.23.133.2.1")  # EK profile 3.2.9
_TPM_MODEL: Final = ObjectIdentifier("2.23.133.2.2")
_TPM_VERSION: Final = ObjectIdentifier("2.23.133.2.3")

_MAX_CERTIFICATE: Final = 8 << 10
_MAX_CHAIN_BYTES: Final = 32 << 10
_MAX_INTERMEDIATES: Final = 5  # with the leaf: six certificates
_MIN_RSA_BITS: Final = 2048
_X509_V3: Final = x509.Version.v3
# What this module reads; any other extension that is marked critical refuses the certificate.
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_SOURCE: Final = "TCG EK Credential Profile 2.5, section 3.2"

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
EndorsementPublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class EkCertificate(msgspec.Struct, frozen=True):
    """An EK certificate that chains to a configured root.

    Attributes:
        key: the endorsement key.
        spki_sha256: SHA-256 of its SubjectPublicKeyInfo: the TPM's identity.
        certificates: SHA-256 of each certificate relied on, hex, leaf first, root last.
        not_after: earliest end of validity among them.
        manufacturer: TPM manufacturer of the subjectAltName (``id:`` and hex of four characters).
        model: TPM model of the subjectAltName.
    """

    key: EndorsementPublicKey
    spki_sha256: bytes
    certificates: tuple[str, ...]
    not_after: datetime
    manufacturer: str
    model: str


class EndorsedKey(msgspec.Struct, frozen=True):
    """An attestation key to make a credential for, and the endorsement key to make it to.

    Attributes:
        ek: endorsement key of the verified certificate.
        ek_spki_sha256: SHA-256 of its SubjectPublicKeyInfo.
        ak_name: name of the attestation key (TPM 2.0 Part 1 section 16).
        checks: the checks made.
    """

    ek: EndorsementPublicKey
    ek_spki_sha256: bytes
    ak_name: bytes
    checks: tuple[Check, ...]


def parse_endorsement(endorsement: TpmEndorsement, settings: TpmSettings, now: datetime) -> EndorsedKey:
    """Verify what a guest sends with its request for a challenge.

    Raises:
        InputError: something cannot be parsed.
        AttestationKeyUntrusted: the attestation key's attributes are not those of one.
        EndorsementError: the EK certificate, its chain or its dates do not hold.
    """
    checks = Checks()
    public = parse_public(b64url_decode(endorsement.ak_public, what="ak_public"))
    require_attestation_key(public, checks)
    certificate = verify_ek_certificate(
        b64url_decode(endorsement.ek_certificate, what="ek_certificate"),
        decode_chain(endorsement.ek_chain),
        settings.ek_roots,
        now,
        checks,
    )
    return EndorsedKey(
        ek=certificate.key,
        ek_spki_sha256=certificate.spki_sha256,
        ak_name=name_of(public),
        checks=checks.records,
    )


def require_attestation_key(public: PublicArea, checks: Checks) -> None:
    """Demand the attributes that make a key sign only what its TPM made.

    Restricted: the key signs no structure that starts with TPM_GENERATED_VALUE unless the TPM made it
    (Part 1 section 25.1.6). Fixed and of the TPM's own making: nobody else has the private key.

    Raises:
        AttestationKeyUntrusted: an attribute is missing, or the key also decrypts.
    """
    required = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN
    checks.require(
        "tpm.ak.attributes",
        public.attributes & (required | DECRYPT) == required,
        AttestationKeyUntrusted,
        expected="fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, not decrypt",
        observed=f"{public.attributes:#010x}",
        source="TPM 2.0 Library Part 2, section 8.3 (TPMA_OBJECT)",
    )


def decode_chain(chain: Sequence[str]) -> list[bytes]:
    """Decode the intermediates of a document.

    Raises:
        TooLarge: more certificates than a TPM's chain has.
        Malformed: not base64url.
    """
    if len(chain) > _MAX_INTERMEDIATES:
        raise TooLarge(f"EK chain of {len(chain)} certificates, the limit is {_MAX_INTERMEDIATES}")
    return [b64url_decode(item, what="ek_chain") for item in chain]


def verify_ek_certificate(
    leaf_der: bytes,
    chain_der: Sequence[bytes],
    roots: Sequence[x509.Certificate],
    now: datetime,
    checks: Checks,
) -> EkCertificate:
    """Verify an EK certificate at ``now``.

    Args:
        leaf_der: the certificate.
        chain_der: intermediates, the leaf's issuer first.
        roots: trusted certificates.
        now: instant at which every certificate must be valid.
        checks: where the checks are recorded.

    Raises:
        Malformed: not a certificate. TooLarge: over 32 KiB in all.
        CertificateInvalid: outside the EK profile, or a link of the chain does not hold.
        RootUntrusted: the chain does not end at one of ``roots``.
        CertificateExpired, CertificateNotYetValid: by ``now``.
    """
    if len(leaf_der) + sum(map(len, chain_der)) > _MAX_CHAIN_BYTES:
        raise TooLarge(f"EK certificates of more than {_MAX_CHAIN_BYTES} bytes")
    leaf = load_certificate(leaf_der)
    manufacturer, model = _check_profile(leaf, checks)
    path = _path(leaf, [load_certificate(der) for der in chain_der], roots, checks)
    _check_dates(path, now, checks)
    key = _endorsement_key(leaf, checks)
    return EkCertificate(
        key=key,
        spki_sha256=hashlib.sha256(spki_of(key)).digest(),
        certificates=tuple(item.fingerprint(hashes.SHA256()).hex() for item in path),
        not_after=min(item.not_valid_after_utc for item in path),
        manufacturer=manufacturer,
        model=model,
    )


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse one DER certificate, extensions included.

    Raises:
        Malformed: it cannot be parsed.
    """
    if len(der) > _MAX_CERTIFICATE:
        raise TooLarge(f"certificate of {len(der)} bytes, the limit is {_MAX_CERTIFICATE}")
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Lazy parts of the parser: read now, so that errors come out here and typed.
        certificate.public_key()
        _ = (certificate.extensions, certificate.subject, certificate.issuer, certificate.version)
        _ = (certificate.not_valid_after_utc, certificate.not_valid_before_utc)
        _ = certificate.signature_hash_algorithm
    except _PARSE_ERRORS as error:
        raise Malformed("the EK certificate or an intermediate cannot be parsed") from error
    return certificate


def _check_profile(leaf: x509.Certificate, checks: Checks) -> tuple[str, str]:
    """The leaf against the EK profile; gives manufacturer and model."""
    constraints = _extension(leaf, x509.BasicConstraints)
    usages = _extension(leaf, x509.ExtendedKeyUsage)
    checks.require(
        "tpm.ek.profile",
        leaf.version is _X509_V3 and constraints is not None and not constraints.ca,
        CertificateInvalid,
        expected="an X.509 v3 end-entity certificate",
        source=f"{_SOURCE}.1 and 3.2.13",
    )
    checks.require(
        "tpm.ek.extended_key_usage",
        usages is not None and EK_KEY_PURPOSE in usages,
        CertificateInvalid,
        expected=EK_KEY_PURPOSE.dotted_string,
        observed=[usage.dotted_string for usage in usages or ()],
        source=f"{_SOURCE}.16",
    )
    names = _tpm_names(leaf)
    checks.require(
        "tpm.ek.subject_alternative_name",
        names is not None,
        CertificateInvalid,
        expected="a directoryName with TPM manufacturer, model and version; critical without a subject",
        observed=names,
        source=f"{_SOURCE}.9; RFC 5280 section 4.2.1.6",
    )
    assert names is not None
    return names


def _tpm_names(leaf: x509.Certificate) -> tuple[str, str] | None:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    if not extension.critical and not list(leaf.subject):
        return None
    directories = extension.value.get_values_for_type(x509.DirectoryName)
    if len(directories) != 1:
        return None
    values = [
        directories[0].get_attributes_for_oid(oid) for oid in (_TPM_MANUFACTURER, _TPM_MODEL, _TPM_VERSION)
    ]
    if any(len(found) != 1 for found in values):
        return None
    return str(values[0][0].value), str(values[1][0].value)


def _path(
    leaf: x509.Certificate,
    intermediates: list[x509.Certificate],
    roots: Sequence[x509.Certificate],
    checks: Checks,
) -> list[x509.Certificate]:
    """The chain, leaf first and a configured root last."""
    path = [leaf]
    for issuer in intermediates:
        if issuer in roots:  # sent along though it is configured
            break
        _check_link(path, issuer, checks)
        path.append(issuer)
    last = path[-1]
    root = next((root for root in roots if _issued_by(last, root)), None)
    checks.require(
        "tpm.ek.root",
        root is not None,
        RootUntrusted,
        expected=[item.fingerprint(hashes.SHA256()).hex() for item in roots],
        observed=last.issuer.rfc4514_string(),
        source="configuration: ek_roots",
        note="" if root is not None else "the EK certificate does not chain to a configured root",
    )
    assert root is not None
    _check_link(path, root, checks)
    return [*path, root]


def _check_link(path: list[x509.Certificate], issuer: x509.Certificate, checks: Checks) -> None:
    subject = path[-1]
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    below = len(path) - 1  # intermediates between the issuer and the leaf (RFC 5280 section 4.2.1.9)
    ok = (
        constraints is not None
        and constraints.ca
        and (constraints.path_length is None or constraints.path_length >= below)
        and (usage is None or usage.key_cert_sign)
        and isinstance(subject.signature_hash_algorithm, _HASHES)
        and all(ext.oid in _UNDERSTOOD for item in (subject, issuer) for ext in _critical(item))
        and _issued_by(subject, issuer)
    )
    checks.require(
        f"tpm.ek.chain.{below}",
        ok,
        CertificateInvalid,
        expected="issued by the next certificate: a CA, SHA-256 or stronger, no unknown critical extension",
        observed=f"{subject.issuer.rfc4514_string()} / {issuer.subject.rfc4514_string()}",
        source="RFC 5280 section 6.1",
    )


def _issued_by(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _critical(certificate: x509.Certificate) -> list[x509.Extension[x509.ExtensionType]]:
    return [extension for extension in certificate.extensions if extension.critical]


def _check_dates(path: list[x509.Certificate], now: datetime, checks: Checks) -> None:
    for position, certificate in enumerate(path):
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        checks.require(
            f"tpm.ek.not_before.{position}",
            start <= now,
            CertificateNotYetValid,
            expected=f"at or after {start.isoformat()}",
            observed=now.isoformat(),
            source="RFC 5280 section 4.1.2.5",
        )
        checks.require(
            f"tpm.ek.not_after.{position}",
            now <= end,
            CertificateExpired,
            expected=f"at or before {end.isoformat()}",
            observed=now.isoformat(),
            source="RFC 5280 section 4.1.2.5",
        )


def _endorsement_key(leaf: x509.Certificate, checks: Checks) -> EndorsementPublicKey:
    key = leaf.public_key()
    usage = _extension(leaf, x509.KeyUsage)
    if isinstance(key, rsa.RSAPublicKey):
        ok = key.key_size >= _MIN_RSA_BITS and (usage is None or usage.key_encipherment)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        ok = isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)) and (usage is None or usage.key_agreement)
    else:
        ok = False
    checks.require(
        "tpm.ek.key",
        ok,
        CertificateInvalid,
        expected="RSA of 2048 bits or more with keyEncipherment, or P-256 or P-384 with keyAgreement",
        observed=type(key).__name__,
        source=f"{_SOURCE}.7 and 3.2.15",
    )
    assert isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
    return key


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
