"""Path of a signing certificate to the trust root, at the times at which the signature is known to exist.

Steps, for every verified time: an authority whose window contains it -> path (RFC 5280 section 6, by
``cryptography.x509.verification``) -> leaf validity. Then once: key usage and extended key usage ->
SCT. Fulcio certificates live ten minutes, so *now* never enters.

Source: sigstore/fulcio, docs/certificate-specification.md; sigstore client specification, section on
signing certificates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from provenance.errors import SignerCertificateInvalid
from provenance.sigstore import backend
from provenance.steps import step

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from common.checks import Checks
    from provenance.sigstore.trust_root import SigstoreRoot

_PROFILE = "sigstore/fulcio docs/certificate-specification.md"


def verify(
    certificate: x509.Certificate, root: SigstoreRoot, times: Iterable[datetime], checks: Checks
) -> None:
    """Verify path, validity, key usage and SCT.

    Args:
        certificate: the signing certificate.
        root: the trusted root.
        times: verified times of the signature, at least one.
        checks: where the records go.

    Raises:
        SignerCertificateInvalid: any of them does not hold.
    """
    chain: list[x509.Certificate] = []
    for moment in times:
        chain = _path(certificate, root, moment, checks)
        _require_validity(certificate, moment, checks)
    _require_code_signing(certificate, checks)
    with step(checks, "certificate.sct", source="RFC 6962 section 3.2"):
        backend.verify_sct(certificate, chain, root)


def _path(
    certificate: x509.Certificate, root: SigstoreRoot, moment: datetime, checks: Checks
) -> list[x509.Certificate]:
    """Issuers of the certificate, nearest first."""
    trusted = [
        item
        for authority in root.authorities
        if authority.window.contains(moment)
        for item in authority.certificates
    ]
    chain: list[x509.Certificate] | None = None
    if trusted:
        # A client policy asks for the clientAuth usage; Fulcio's is codeSigning, checked below.
        ca_policy = ExtensionPolicy.webpki_defaults_ca().may_be_present(
            x509.ExtendedKeyUsage, Criticality.NON_CRITICAL, None
        )
        ee_policy = ExtensionPolicy.webpki_defaults_ee().may_be_present(
            x509.ExtendedKeyUsage, Criticality.NON_CRITICAL, None
        )
        builder = PolicyBuilder().store(Store(trusted)).time(moment)
        builder = builder.extension_policies(ca_policy=ca_policy, ee_policy=ee_policy)
        try:
            chain = builder.build_client_verifier().verify(certificate, []).chain[1:]
        except (VerificationError, x509.UnsupportedGeneralNameType, ValueError):
            chain = None
    checks.require(
        "certificate.path",
        bool(chain),
        SignerCertificateInvalid,
        expected="a path to an authority of the trust root that was in force",
        observed=moment.isoformat(),
        source="RFC 5280 section 6",
    )
    return chain or []


def _require_validity(certificate: x509.Certificate, moment: datetime, checks: Checks) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    checks.require(
        "certificate.validity",
        first <= moment <= last,
        SignerCertificateInvalid,
        expected=f"{first.isoformat()} to {last.isoformat()}",
        observed=moment.isoformat(),
        source="RFC 5280 section 4.1.2.5",
    )


def _require_code_signing(certificate: x509.Certificate, checks: Checks) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        fits = usage.digital_signature and ExtendedKeyUsageOID.CODE_SIGNING in purposes
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        fits = False
    checks.require(
        "certificate.usage",
        fits,
        SignerCertificateInvalid,
        expected="digitalSignature and codeSigning",
        source=_PROFILE,
    )
