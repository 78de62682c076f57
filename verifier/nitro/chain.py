"""From a document's certificate to a pinned root: the document's cabundle, root first, in its order.

Invariants:

* A root is trusted because its bytes equal a pinned one. The one in the document can only select.
* Every certificate of the bundle is used, in the order that AWS documents; no path is searched for.
* Dates are not looked at here: the window is held against ``now`` at every use, so that a chain may be
  cached.

Demanded of each: version 3, a P-384 key, ECDSA with SHA-384, no unknown critical extension. Of the
issuers: CA, the path length, keyCertSign. Of the leaf: no CA, digitalSignature.

Revocation is not consulted: AWS's guide says that it must be switched off. A leaf is valid for three hours.

Sources: AWS Nitro Enclaves User Guide, "Verifying the root of trust" (chain); RFC 5280 sections 4.2.1.3,
4.2.1.9 and 6.1.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from common.checks import Check, Checks
from common.errors import Malformed
from verifier import vendor_roots
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    RootUntrusted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT_FILE: Final = "aws/nitro-enclaves-root-g1.pem"
_SOURCE: Final = "AWS Nitro Enclaves, root of trust; RFC 5280 section 6.1"
_UNDERSTOOD: Final = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})
_PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class VerifiedChain(msgspec.Struct, frozen=True):
    """A leaf whose signatures lead to a pinned root. Its dates are judged at each use.

    Attributes:
        key: of the leaf, P-384.
        certificates: leaf, its issuer and so on to the root.
        endorsements: SHA-256 of each, hex.
        checks: records of what was verified.
    """

    key: ec.EllipticCurvePublicKey
    certificates: tuple[x509.Certificate, ...]
    endorsements: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def not_after(self) -> datetime:
        """Earliest end of all."""
        return min(certificate.not_valid_after_utc for certificate in self.certificates)


class Roots:
    """The roots that are trusted, by their bytes.

    Args:
        extra: roots besides AWS's (test authorities); what they sign counts as an enclave.

    Raises:
        InvalidSetting: the pinned certificate was altered.
    """

    def __init__(self, extra: Sequence[x509.Certificate] = ()) -> None:
        """Load the pinned one."""
        roots = (vendor_roots.load(ROOT_FILE), *extra)
        self._roots = {root.public_bytes(Encoding.DER): root for root in roots}

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each, hex."""
        return [hashlib.sha256(der).hexdigest() for der in self._roots]

    def select(self, der: bytes) -> x509.Certificate | None:
        """The root that ``der`` equals."""
        return self._roots.get(der)


def verify_chain(leaf: bytes, bundle: tuple[bytes, ...], roots: Roots) -> VerifiedChain:
    """Verify everything about a chain that does not depend on the time.

    Raises:
        RootUntrusted: the bundle's first certificate is no pinned root.
        Malformed: a certificate cannot be parsed.
        CertificateInvalid: one misses its profile, or is not issued by the one before it.
    """
    checks = Checks()
    root = roots.select(bundle[0])
    digest = hashlib.sha256(bundle[0]).hexdigest()
    checks.require(
        "nitro.chain.root", root is not None, RootUntrusted,
        expected=roots.digests, observed=digest, source=_SOURCE,
        note="" if root is not None else "the first certificate of cabundle is not a pinned root",
    )  # fmt: skip
    assert root is not None
    issuers = [
        root,
        *(_load(der, f"certificate {index} of cabundle") for index, der in enumerate(bundle[1:], 1)),
    ]
    signer = _load(leaf, "the signing certificate")
    path = [*issuers, signer]
    for index, certificate in enumerate(path):
        below = len(path) - index - 2  # issuers between this one and the leaf
        problem = _profile_problem(certificate, below) or (
            None if index == 0 else _link_problem(certificate, path[index - 1])
        )
        checks.require(
            f"nitro.chain.{len(path) - 1 - index}", problem is None, CertificateInvalid,
            expected="P-384, ECDSA with SHA-384, issued by the next",
            observed=certificate.subject.rfc4514_string()[:256], source=_SOURCE,
            note=problem or "",
        )  # fmt: skip
    key = signer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    path.reverse()
    return VerifiedChain(
        key=key,
        certificates=tuple(path),
        endorsements=tuple(hashlib.sha256(item.public_bytes(Encoding.DER)).hexdigest() for item in path),
        checks=checks.records,
    )


def require_dates(chain: VerifiedChain, now: datetime, checks: Checks) -> None:
    """Every certificate is valid at ``now``.

    Raises:
        CertificateNotYetValid, CertificateExpired: one is not.
    """
    for position, certificate in enumerate(chain.certificates):
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        checks.require(
            f"nitro.chain.not_before.{position}", start <= now, CertificateNotYetValid,
            expected=f"at or after {start.isoformat()}", observed=now.isoformat(),
            source="RFC 5280 section 4.1.2.5",
        )  # fmt: skip
        checks.require(
            f"nitro.chain.not_after.{position}", now <= end, CertificateExpired,
            expected=f"at or before {end.isoformat()}", observed=now.isoformat(),
            source="RFC 5280 section 4.1.2.5",
        )  # fmt: skip


def _load(der: bytes, what: str) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Lazy parts of the parser: read now, so that errors come out here and typed.
        certificate.public_key()
        _ = (certificate.extensions, certificate.subject, certificate.issuer, certificate.version)
        _ = (certificate.not_valid_after_utc, certificate.not_valid_before_utc)
    except _PARSE_ERRORS as error:
        raise Malformed(f"{what} cannot be parsed") from error
    return certificate


def _profile_problem(certificate: x509.Certificate, below: int) -> str | None:
    """What is wrong with one certificate; ``below`` is -1 for the leaf, else the issuers under it."""
    key = certificate.public_key()
    if certificate.version is not x509.Version.v3:
        return "not an X.509 version 3 certificate"
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        return "its key is not of P-384"
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        return "not signed by ECDSA with SHA-384"
    if any(item.critical and item.oid not in _UNDERSTOOD for item in certificate.extensions):
        return "it has a critical extension that is not known here"
    return _leaf_problem(certificate) if below < 0 else _issuer_problem(certificate, below)


def _leaf_problem(certificate: x509.Certificate) -> str | None:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        return "the signing certificate is a CA"
    usage = _extension(certificate, x509.KeyUsage)
    return None if usage is not None and usage.digital_signature else "its key is not for signing"


def _issuer_problem(certificate: x509.Certificate, below: int) -> str | None:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        return "it is not a CA that may sign certificates"
    if constraints.path_length is not None and constraints.path_length < below:
        return "more issuers follow it than its path length allows"
    return None


def _link_problem(certificate: x509.Certificate, issuer: x509.Certificate) -> str | None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return "it is not issued by the certificate before it in cabundle"
    return None


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
