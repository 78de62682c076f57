"""Certificates and revocation lists of host keys: parsing, signatures, key identifiers, dates, lists.

Nothing here is taken from evidence: documents, certificates and lists lie in the operator's store. They are
parsed as strictly as if they were not.

Source: RFC 5280 sections 4.1, 4.2.1.1, 4.2.1.2, 5.1, 6.3.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from common.errors import Malformed, TooLarge
from verifier.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    CertificateRevoked,
    CrlExpired,
    CrlInvalid,
    CrlMissing,
)
from verifier.se.names import same_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from common.checks import Checks

MAX_CERTIFICATE_FILE: Final = 64 << 10
MAX_CERTIFICATES: Final = 16  # in one file
MAX_CRL_FILE: Final = 16 << 20
MAX_CRLS: Final = 16  # in one file
_PEM: Final = b"-----BEGIN "
_PEM_CRL_END: Final = b"-----END X509 CRL-----"
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_MIN_RSA_BITS: Final = 2048
_PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_DATES: Final = "RFC 5280 section 4.1.2.5"
_LISTS: Final = "RFC 5280 section 6.3; pvattest: every certificate is held against a list of its issuer"
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class RevocationList(msgspec.Struct, frozen=True):
    """A list that its issuer signed and that is current."""

    crl: x509.CertificateRevocationList
    sha256: str
    next_update: datetime


def load_certificates(data: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """Certificates of one file, PEM or DER, every lazy part of them read.

    Raises:
        TooLarge: over 64 KiB, or more than 16 certificates.
        Malformed: no certificate, or one that cannot be parsed.
    """
    if len(data) > MAX_CERTIFICATE_FILE:
        raise TooLarge(f"{what} has {len(data)} bytes, the limit is {MAX_CERTIFICATE_FILE}")
    try:
        if _PEM in data:
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
        for certificate in found:
            _ = (certificate.public_key(), certificate.extensions, certificate.subject, certificate.issuer)
            _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.version)
            _ = (certificate.signature_hash_algorithm, certificate.signature_algorithm_parameters)
    except _PARSE_ERRORS as error:
        raise Malformed(f"{what} holds no readable certificate") from error
    if len(found) > MAX_CERTIFICATES:
        raise TooLarge(f"{what} holds {len(found)} certificates, the limit is {MAX_CERTIFICATES}")
    return tuple(found)


def load_lists(data: bytes, what: str) -> tuple[x509.CertificateRevocationList, ...]:
    """Revocation lists of one file, PEM (any number of them) or DER.

    Raises:
        TooLarge: over 16 MiB, or more than 16 lists.
        CrlInvalid: one cannot be parsed.
    """
    if len(data) > MAX_CRL_FILE:
        raise TooLarge(f"{what} has {len(data)} bytes, the limit is {MAX_CRL_FILE}")
    if _PEM not in data:
        return (_list(data, what),)
    parts = [part[part.find(_PEM) :] + _PEM_CRL_END for part in data.split(_PEM_CRL_END) if _PEM in part]
    if len(parts) > MAX_CRLS:
        raise TooLarge(f"{what} holds {len(parts)} revocation lists, the limit is {MAX_CRLS}")
    return tuple(_list(part, what) for part in parts)


def _list(data: bytes, what: str) -> x509.CertificateRevocationList:
    try:
        load = x509.load_pem_x509_crl if data.startswith(_PEM) else x509.load_der_x509_crl
        crl = load(data)
        _ = (crl.issuer, crl.extensions, crl.last_update_utc, crl.next_update_utc)
        _ = (crl.signature_hash_algorithm, crl.signature_algorithm_parameters)
    except _PARSE_ERRORS as error:
        raise CrlInvalid(f"{what} holds a revocation list that cannot be parsed") from error
    return crl


def signed_by(item: x509.Certificate | x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Whether the key of ``issuer`` made the signature of ``item``, with SHA-256 or stronger.

    Names and constraints are not looked at: they are the caller's.
    """
    key, digest = issuer.public_key(), item.signature_hash_algorithm
    parameters = item.signature_algorithm_parameters
    body = item.tbs_certificate_bytes if isinstance(item, x509.Certificate) else item.tbs_certlist_bytes
    if not isinstance(digest, _HASHES):
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey) and isinstance(parameters, (padding.PKCS1v15, padding.PSS)):
            if key.key_size < _MIN_RSA_BITS:
                return False
            key.verify(item.signature, body, parameters, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
            key.verify(item.signature, body, parameters)
        else:
            return False
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def key_identifier_fits(
    item: x509.Certificate | x509.CertificateRevocationList, issuer: x509.Certificate
) -> bool:
    """Whether the authority key identifier of ``item``, if it has one, names the key of ``issuer``."""
    authority = extension_of(item, x509.AuthorityKeyIdentifier)
    subject = extension_of(issuer, x509.SubjectKeyIdentifier)
    if authority is None or authority.key_identifier is None or subject is None:
        return True
    return authority.key_identifier == subject.digest


def extension_of(
    item: x509.Certificate | x509.CertificateRevocationList, kind: type[_Extension]
) -> _Extension | None:
    """The value of an extension; None if there is none of this kind."""
    try:
        return item.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def require_dates(certificate: x509.Certificate, name: str, now: datetime, checks: Checks) -> None:
    """Demand that a certificate is valid at ``now``.

    Raises:
        CertificateNotYetValid, CertificateExpired: it is not.
    """
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    checks.require(
        f"se.{name}.not_before", start <= now, CertificateNotYetValid,
        expected=f"at or after {start.isoformat()}", observed=now.isoformat(), source=_DATES,
    )  # fmt: skip
    checks.require(
        f"se.{name}.not_after", now <= end, CertificateExpired,
        expected=f"at or before {end.isoformat()}", observed=now.isoformat(), source=_DATES,
    )  # fmt: skip


def require_not_revoked(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Iterable[x509.CertificateRevocationList],
    *,
    name: str,
    now: datetime,
    checks: Checks,
) -> tuple[RevocationList, ...]:
    """Hold a certificate against every current list of its issuer; at least one is needed.

    Raises:
        CrlMissing: the issuer has no list. CrlInvalid: none that it signed. CrlExpired: none that is
            current. CertificateRevoked: the certificate is on one.
    """
    named = [crl for crl in lists if same_name(crl.issuer, issuer.subject)]
    signed = [crl for crl in named if key_identifier_fits(crl, issuer) and signed_by(crl, issuer)]
    current = _current([crl for crl in signed if _whole(crl)], now)
    error = CrlMissing if not named else CrlInvalid if not any(map(_whole, signed)) else CrlExpired
    checks.require(
        f"se.{name}.crl", bool(current), error, source=_LISTS,
        expected=f"a current list of {issuer.subject.rfc4514_string()}",
        observed=f"{len(named)} of that name, {len(signed)} signed by it",
    )  # fmt: skip
    revoked = any(
        item.crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
        for item in current
    )
    checks.require(
        f"se.{name}.revocation", not revoked, CertificateRevoked, source=_LISTS,
        expected="on no list", observed=f"{certificate.serial_number:x}",
    )  # fmt: skip
    return current


def _whole(crl: x509.CertificateRevocationList) -> bool:
    """No delta and no indirect list, nor any other whose meaning a critical extension changes."""
    return not any(extension.critical for extension in crl.extensions)


def _current(lists: Sequence[x509.CertificateRevocationList], now: datetime) -> tuple[RevocationList, ...]:
    return tuple(
        RevocationList(crl, hashlib.sha256(crl.tbs_certlist_bytes).hexdigest(), crl.next_update_utc)
        for crl in lists
        if crl.next_update_utc is not None and crl.last_update_utc <= now <= crl.next_update_utc
    )
