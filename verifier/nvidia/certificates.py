"""Chains of NVIDIA's authorities, of devices and of manifests alike: from a leaf to one pinned root.

Of every certificate: X.509 v3, P-384, signed with ECDSA and SHA-384 by the next one, whose subject is its
issuer; no critical extension that is not understood here. Of every issuer: CA, keyCertSign, path length.
A certificate of the root's name must be the root itself, byte by byte: one that comes with evidence proves
nothing. Dates are not looked at here: they are judged at every use, so that a chain may be cached.

Sources: RFC 5280 sections 4.2 and 6.1; the chains of Hopper, Blackwell and LS10 devices.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from common.errors import Malformed, TooLarge
from common.x509_names import with_names
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    RootUntrusted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.checks import Checks

_T = TypeVar("_T", bound=x509.ExtensionType)
MAX_CERTIFICATE_BYTES: Final = 8192
MAX_CERTIFICATES: Final = 8
SOURCE: Final = "RFC 5280 section 6.1"
UNDERSTOOD: Final = frozenset(
    {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE}
)
# What the library raises for certificates whose parts cannot be read.
UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)


class Path(msgspec.Struct, frozen=True):
    """A chain whose signatures lead to a root that is trusted.

    Attributes:
        certificates: leaf first; the root last.
        sha256: of each, hex.
    """

    certificates: tuple[x509.Certificate, ...]
    sha256: tuple[str, ...]

    @property
    def leaf(self) -> x509.Certificate:
        """The first."""
        return self.certificates[0]

    @property
    def not_after(self) -> datetime:
        """Earliest end."""
        return min(certificate.not_valid_after_utc for certificate in self.certificates)


def load_certificates(ders: Sequence[bytes], what: str) -> tuple[x509.Certificate, ...]:
    """Certificates of a chain, leaf first.

    Raises:
        Malformed: none, or one that is not a DER certificate.
        TooLarge: too many, or one too large.
    """
    if not ders:
        raise Malformed(f"{what} has no certificate")
    if len(ders) > MAX_CERTIFICATES or any(len(der) > MAX_CERTIFICATE_BYTES for der in ders):
        raise TooLarge(f"{what} has more than {MAX_CERTIFICATES} certificates, or one too large")
    try:
        return tuple(with_names(x509.load_der_x509_certificate(der)) for der in ders)
    except UNREADABLE as error:
        raise Malformed(f"a certificate of {what} is not DER") from error


def build_path(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], what: str) -> Path:
    """Verify names, signatures and profiles from the leaf to a root.

    Args:
        chain: leaf first; the root may be left out.
        roots: those that are trusted.
        what: name of the chain, for messages.

    Raises:
        CertificateInvalid: a link or a profile does not hold.
        RootUntrusted: it does not end at one of the roots.
    """
    try:
        return _build_path(chain, roots, what)
    except UNREADABLE as error:
        raise CertificateInvalid(f"a certificate of {what} has a part that cannot be read") from error


def require_dates(path: Path, now: datetime, name: str, checks: Checks) -> None:
    """Demand that every certificate is valid at ``now``.

    Raises:
        CertificateNotYetValid, CertificateExpired: one is not.
    """
    for position, certificate in enumerate(path.certificates):
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        checks.require(
            f"{name}.{position}.not_before", start <= now, CertificateNotYetValid,
            expected=now.isoformat(), observed=start.isoformat(), source="RFC 5280 section 4.1.2.5",
        )  # fmt: skip
        checks.require(
            f"{name}.{position}.not_after", now <= end, CertificateExpired,
            expected=now.isoformat(), observed=end.isoformat(), source="RFC 5280 section 4.1.2.5",
        )  # fmt: skip


def verify_with(certificate: x509.Certificate, signature: bytes, signed: bytes) -> bool:
    """Whether the certificate's key made this DER-encoded ECDSA signature, with P-384 and SHA-384."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        return False
    try:
        key.verify(signature, signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return False
    return True


def extension(certificate: x509.Certificate, kind: type[_T]) -> _T | None:
    """An extension's value; None where the certificate has none.

    Raises:
        ValueError, DuplicateExtension: the extensions cannot be read.
    """
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _build_path(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], what: str) -> Path:
    path = list(chain)
    if path[-1] not in roots:
        last = path[-1]
        root = next((root for root in roots if root.subject == last.issuer), None)
        if root is None or last.subject == last.issuer:
            _require_links(path, what)  # a chain that is broken below is called that
            raise RootUntrusted(f"{what} does not end at a pinned root")
        path.append(root)
    _require_links(path, what)
    ders = [certificate.public_bytes(Encoding.DER) for certificate in path]
    return Path(tuple(path), tuple(hashlib.sha256(der).hexdigest() for der in ders))


def _require_links(path: Sequence[x509.Certificate], what: str) -> None:
    for position, certificate in enumerate(path):
        name = f"certificate {position} of {what}"
        _require_profile(certificate, name)
        if position:
            below = sum(item.subject != item.issuer for item in path[1:position])
            _require_authority(certificate, below, name)
        issuer = path[position + 1] if position + 1 < len(path) else certificate
        if issuer is certificate and certificate.issuer != certificate.subject:
            return  # the root is missing, which the caller says
        if certificate.issuer != issuer.subject:
            raise CertificateInvalid(f"{name} names another issuer than the next certificate")
        if not verify_with(issuer, certificate.signature, certificate.tbs_certificate_bytes):
            raise CertificateInvalid(f"{name} is not signed by its issuer")


def _require_profile(certificate: x509.Certificate, name: str) -> None:
    if certificate.version is not x509.Version.v3:
        raise CertificateInvalid(f"{name} is not X.509 v3")
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        raise CertificateInvalid(f"{name} is not signed with ECDSA and SHA-384")
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise CertificateInvalid(f"{name} has no P-384 key")
    for item in certificate.extensions:
        if item.critical and item.oid not in UNDERSTOOD:
            raise CertificateInvalid(f"{name} has the unknown critical extension {item.oid.dotted_string}")


def _require_authority(certificate: x509.Certificate, below: int, name: str) -> None:
    constraints = extension(certificate, x509.BasicConstraints)
    usage = extension(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        raise CertificateInvalid(f"{name} is not marked as an authority that signs certificates")
    if constraints.path_length is not None and below > constraints.path_length:
        raise CertificateInvalid(f"the chain below {name} is longer than it allows")
