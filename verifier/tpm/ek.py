"""Endorsement-key certificates: profile, chain to a configured root, dates.

Order: sizes; the leaf's profile; one issuer after the other up to a configured root (compared by bytes,
never taken from the evidence); dates; revocation; the key.

Sources: TCG EK Credential Profile 2.5, section 3.2 (fields), 3.2.9 (subjectAltName), 3.2.16 (EKU);
RFC 5280 sections 4.2.1.3 and 4.2.1.6. The chain's rules are in ``verifier.tpm.chain``.

Not done: fetching of revocation lists; name constraints and certificate policies (a chain with them marked
critical is refused).
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ObjectIdentifier

from common.encoding import b64url_decode
from common.errors import TooLarge
from verifier.errors import CertificateInvalid
from verifier.tpm.chain import build_path, check_dates, extension_of, load_certificate
from verifier.tpm.public import spki_of
from verifier.tpm.revocation import Mode, require_not_revoked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.checks import Checks

EK_KEY_PURPOSE: Final = ObjectIdentifier("2.23.133.8.1")  # tcg-kp-EKCertificate, EK profile 3.2.16
_TPM_MANUFACTURER: Final = ObjectIdentifier("2.23.133.2.1")  # EK profile 3.2.9
_TPM_MODEL: Final = ObjectIdentifier("2.23.133.2.2")
_TPM_VERSION: Final = ObjectIdentifier("2.23.133.2.3")

MAX_CHAIN_BYTES: Final = 32 << 10
_MAX_INTERMEDIATES: Final = 5  # with the leaf: six certificates
_MIN_RSA_BITS: Final = 2048
_X509_V3: Final = x509.Version.v3
_SOURCE: Final = "TCG EK Credential Profile 2.5, section 3.2"

EndorsementPublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class EkCertificate(msgspec.Struct, frozen=True):
    """An EK certificate that chains to a configured root.

    Attributes:
        key: the endorsement key.
        spki_sha256: SHA-256 of its SubjectPublicKeyInfo: the TPM's identity.
        certificates: SHA-256 of each certificate relied on, hex, leaf first, root last; then of each list.
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
    *,
    lists: Sequence[x509.CertificateRevocationList] = (),
    revocation: Mode = "if-present",
) -> EkCertificate:
    """Verify an EK certificate at ``now``.

    Args:
        leaf_der: the certificate.
        chain_der: intermediates, the leaf's issuer first.
        roots: trusted certificates.
        now: instant at which every certificate must be valid.
        checks: where the checks are recorded.
        lists: revocation lists at hand.
        revocation: whether every issuer must have one.

    Raises:
        Malformed: not a certificate. TooLarge: over 32 KiB in all.
        CertificateInvalid: outside the EK profile, or a link of the chain does not hold.
        RootUntrusted: the chain does not end at one of ``roots``.
        CertificateExpired, CertificateNotYetValid: by ``now``.
        CertificateRevoked, CrlMissing, CrlInvalid, CrlExpired: by ``lists``.
    """
    if len(leaf_der) + sum(map(len, chain_der)) > MAX_CHAIN_BYTES:
        raise TooLarge(f"EK certificates of more than {MAX_CHAIN_BYTES} bytes")
    leaf = load_certificate(leaf_der)
    manufacturer, model = _check_profile(leaf, checks)
    path = build_path(leaf, [load_certificate(der) for der in chain_der], roots, checks)
    check_dates(path, now, checks)
    relied = require_not_revoked(path, lists, revocation, name="tpm.ek", now=now, checks=checks)
    key = _endorsement_key(leaf, checks)
    return EkCertificate(
        key=key,
        spki_sha256=hashlib.sha256(spki_of(key)).digest(),
        certificates=(
            *(item.fingerprint(hashes.SHA256()).hex() for item in path),
            *(item.sha256 for item in relied),
        ),
        not_after=min([item.not_valid_after_utc for item in path] + [item.next_update for item in relied]),
        manufacturer=manufacturer,
        model=model,
    )


def _check_profile(leaf: x509.Certificate, checks: Checks) -> tuple[str, str]:
    """The leaf against the EK profile; gives manufacturer and model."""
    constraints = extension_of(leaf, x509.BasicConstraints)
    usages = extension_of(leaf, x509.ExtendedKeyUsage)
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
    names = tpm_names(leaf)
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


def tpm_names(leaf: x509.Certificate) -> tuple[str, str] | None:
    """TPM manufacturer and model of a subjectAltName; None where it does not name both, and the version."""
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


def _endorsement_key(leaf: x509.Certificate, checks: Checks) -> EndorsementPublicKey:
    key = leaf.public_key()
    usage = extension_of(leaf, x509.KeyUsage)
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
