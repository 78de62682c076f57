"""Certificate chains of TPMs: parsing, links up to a configured root, dates.

``cryptography``'s own path builder knows the Web's profile, which these chains do not meet; the rule here
is explicit. Source: RFC 5280 sections 4.1.2.5, 4.2.1.3, 4.2.1.9, 6.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID

from common.errors import Malformed, TooLarge
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    RootUntrusted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from common.checks import Checks

_MAX_CERTIFICATE: Final = 8 << 10
# What is read here; any other extension that is marked critical refuses the certificate. Intermediates of
# vendors (STMicroelectronics) mark their certificate policies critical. Every policy is acceptable here,
# so they refuse nothing (RFC 5280 section 6.1.5 (g)); constraints that would demand one are refused.
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
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
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


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
        raise Malformed("a certificate of the TPM or an intermediate cannot be parsed") from error
    return certificate


def build_path(
    leaf: x509.Certificate,
    intermediates: list[x509.Certificate],
    roots: Sequence[x509.Certificate],
    checks: Checks,
    *,
    name: str = "tpm.ek",
) -> list[x509.Certificate]:
    """The chain, leaf first and a configured root last, every link verified; ``name`` prefixes the records.

    Raises:
        RootUntrusted: it does not end at one of ``roots``.
        CertificateInvalid: a link does not hold.
    """
    path = [leaf]
    for issuer in intermediates:
        if issuer in roots:  # sent along though it is configured
            break
        _check_link(path, issuer, checks, name)
        path.append(issuer)
    last = path[-1]
    root = next((root for root in roots if _issued_by(last, root)), None)
    checks.require(
        f"{name}.root",
        root is not None,
        RootUntrusted,
        expected=[item.fingerprint(hashes.SHA256()).hex() for item in roots],
        observed=last.issuer.rfc4514_string(),
        source="settings: ek_roots, ak_roots",
        note="" if root is not None else "the certificate does not chain to a configured root",
    )
    assert root is not None
    _check_link(path, root, checks, name)
    return [*path, root]


def _check_link(path: list[x509.Certificate], issuer: x509.Certificate, checks: Checks, name: str) -> None:
    subject = path[-1]
    constraints = extension_of(issuer, x509.BasicConstraints)
    usage = extension_of(issuer, x509.KeyUsage)
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
        f"{name}.chain.{below}",
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


def check_dates(
    path: list[x509.Certificate], now: datetime, checks: Checks, *, name: str = "tpm.ek"
) -> None:
    """Demand that every certificate of ``path`` is valid at ``now``.

    Raises:
        CertificateNotYetValid, CertificateExpired: one is not.
    """
    for position, certificate in enumerate(path):
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        checks.require(
            f"{name}.not_before.{position}",
            start <= now,
            CertificateNotYetValid,
            expected=f"at or after {start.isoformat()}",
            observed=now.isoformat(),
            source="RFC 5280 section 4.1.2.5",
        )
        checks.require(
            f"{name}.not_after.{position}",
            now <= end,
            CertificateExpired,
            expected=f"at or before {end.isoformat()}",
            observed=now.isoformat(),
            source="RFC 5280 section 4.1.2.5",
        )


def extension_of(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """The value of an extension; None if the certificate has none of this kind."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
