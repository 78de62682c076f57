"""X.509 path validation for signers of manifests, against CA certificates of the trust policy.

An own check of the path: real signers of manifests (NVIDIA's RIMs) have certificates that encode dates as
GeneralizedTime before 2050, which the verifier of ``cryptography`` refuses. Every signature is still
checked by ``cryptography``.

For each certificate from the signer's up to the anchor: validity at one instant, a signature of SHA-256 or
stronger by the next one, whose subject is its issuer, no critical extension that is not understood, an RSA
key of at least 2048 bits. For each issuer: CA, may sign certificates, path length. For the signer: may
sign, and the extended key usages that the policy demands. Name constraints and policy constraints are not
understood: a certificate that makes them critical is refused.

Revocation: where the policy carries CRLs, every certificate of the path below the anchor must be covered
by a CRL of its issuer that is signed by it, in force at the instant, and complete; without CRLs nothing
is known of revocation. Nothing is fetched.

Source: RFC 5280 sections 4.2, 5 and 6.1.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from common.x509_names import with_names
from provenance.errors import SignerCertificateExpired, SignerCertificateInvalid, TrustPolicyInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

_T = TypeVar("_T", bound=x509.ExtensionType)
MAX_CHAIN: Final = 8
MAX_CERTIFICATE_BYTES: Final = 16_384
_MAX_SIGNATURES: Final = 64
_MIN_RSA_BITS: Final = 2048
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
# Critical extensions that are checked here or restrict nothing that is used here.
_UNDERSTOOD: Final = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
)
_ANY_EKU: Final = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
# A CRL with one of these is not the whole list of its issuer (RFC 5280 sections 5.2.4 and 5.2.5).
_PARTIAL: Final = (x509.DeltaCRLIndicator, x509.IssuingDistributionPoint)


class Anchors(msgspec.Struct, frozen=True):
    """What a path must lead to.

    Attributes:
        certificates: CA certificates; each is an anchor by itself.
        crls: certificate revocation lists, any number per issuer.
        eku: extended key usages that the signer's certificate must have, dotted; any if empty.
    """

    certificates: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    eku: tuple[str, ...] = ()


def anchors(certificates: Sequence[str], crls: Sequence[str], eku: Sequence[str]) -> Anchors:
    """Load the anchors of a trust policy, PEM.

    Raises:
        TrustPolicyInvalid: none, one that cannot be read or is no CA, or an EKU that is not an OID.
    """
    if not certificates:
        raise TrustPolicyInvalid("an X.509 root needs a CA certificate")
    try:
        loaded = tuple(x509.load_pem_x509_certificate(pem.encode()) for pem in certificates)
        lists = tuple(x509.load_pem_x509_crl(pem.encode()) for pem in crls)
        for crl in lists:
            _ = crl.extensions, crl.issuer  # parsed when asked for: what is malformed shows here
        for text in eku:
            x509.ObjectIdentifier(text)
        authorities = all(_is_authority(certificate) for certificate in loaded)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise TrustPolicyInvalid("a certificate, CRL or EKU of an X.509 root cannot be read") from error
    if not authorities:
        raise TrustPolicyInvalid("a certificate of an X.509 root is not a CA certificate")
    return Anchors(loaded, lists, tuple(eku))


def load_chain(chain: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Certificates that came with a signature, DER, the signer's first.

    Raises:
        SignerCertificateInvalid: none, too many, too large, or one that cannot be read.
    """
    if not 1 <= len(chain) <= MAX_CHAIN or any(len(item) > MAX_CERTIFICATE_BYTES for item in chain):
        raise SignerCertificateInvalid("the signature carries no certificate, too many, or too large ones")
    try:
        loaded = tuple(with_names(x509.load_der_x509_certificate(item)) for item in chain)
        for certificate in loaded:
            _ = certificate.extensions
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise SignerCertificateInvalid("a certificate of the signer cannot be read") from error
    return loaded


def validate(chain: Sequence[x509.Certificate], roots: Anchors, now: datetime) -> None:
    """Validate the path from ``chain[0]`` to an anchor.

    Args:
        chain: what came with the signature, the signer's first; the others help to build the path, in
            any order, and are believed nothing.
        roots: the anchors.
        now: the instant of judgement, aware.

    Raises:
        SignerCertificateExpired: a certificate of the path is outside its validity.
        SignerCertificateInvalid: no path, or another of the checks of the module's text fails.
    """
    path = _Search(chain, roots.certificates).path()
    if path is None:
        raise SignerCertificateInvalid("the signer's certificate does not lead to a CA of the trust policy")
    for position, certificate in enumerate(path):
        _require_sound(certificate, now)
        if position:
            # RFC 5280 section 4.2.1.9: intermediates below this one, self-issued ones not counted.
            below = [item for item in path[1:position] if item.subject != item.issuer]
            _require_authority(certificate, len(below), roots.eku)
    _require_usage(path[0], roots.eku)
    if roots.crls:
        for certificate, issuer in itertools.pairwise(path):
            _require_not_revoked(certificate, issuer, roots.crls, now)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Alternative names of a certificate: e-mail addresses, DNS names and URIs.

    Raises:
        SignerCertificateInvalid: the extension cannot be read.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except (ValueError, x509.DuplicateExtension) as error:
        raise SignerCertificateInvalid("the certificate's alternative names cannot be read") from error
    kinds = (x509.RFC822Name, x509.DNSName, x509.UniformResourceIdentifier)
    return tuple(name.value for name in extension if isinstance(name, kinds))


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return False


class _Search:
    """Finds a path by names and signatures; depth and number of signature checks are bounded."""

    def __init__(self, chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]) -> None:
        self._leaf, *self._others = chain
        self._anchors = anchors
        self._left = _MAX_SIGNATURES

    def path(self) -> list[x509.Certificate] | None:
        """The signer's certificate to an anchor, or None."""
        return self._extend([self._leaf])

    def _extend(self, path: list[x509.Certificate]) -> list[x509.Certificate] | None:
        last = path[-1]
        if last in self._anchors:
            return path
        for anchor in self._anchors:
            if self._issued(last, anchor):
                return [*path, anchor]
        if len(path) >= MAX_CHAIN:
            return None
        for other in self._others:
            if other not in path and self._issued(last, other):
                found = self._extend([*path, other])
                if found is not None:
                    return found
        return None

    def _issued(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        if certificate.issuer != issuer.subject or self._left == 0:
            return False
        self._left -= 1
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            return False
        return True


def _require_sound(certificate: x509.Certificate, now: datetime) -> None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise SignerCertificateExpired(
            f"a certificate of the signer's path is not valid at {now.isoformat()}"
        )
    try:
        algorithm = certificate.signature_hash_algorithm
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignerCertificateInvalid(
            "a certificate of the signer's path uses an unknown algorithm"
        ) from error
    # None is Ed25519 or Ed448, which have no separate hash.
    if algorithm is not None and not isinstance(algorithm, _HASHES):
        raise SignerCertificateInvalid("a certificate of the signer's path is signed with a weak hash")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise SignerCertificateInvalid(
            f"an RSA key of the signer's path has fewer than {_MIN_RSA_BITS} bits"
        )
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, _UNDERSTOOD):
            raise SignerCertificateInvalid(
                "a certificate of the signer's path has a critical extension that is not understood:"
                f" {extension.oid.dotted_string}"
            )


def _require_authority(certificate: x509.Certificate, below: int, eku: Sequence[str]) -> None:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise SignerCertificateInvalid("an issuer on the signer's path is not a CA")
    if constraints.path_length is not None and below > constraints.path_length:
        raise SignerCertificateInvalid("the signer's path is longer than a CA of it allows")
    stated = {item.dotted_string for item in extended} if extended is not None else set()
    if stated and _ANY_EKU.dotted_string not in stated and not set(eku) <= stated:
        raise SignerCertificateInvalid("a CA on the signer's path may not issue for the demanded usage")


def _require_usage(leaf: x509.Certificate, eku: Sequence[str]) -> None:
    try:
        usage = _extension(leaf, x509.KeyUsage)
        extended = _extension(leaf, x509.ExtendedKeyUsage)
    except (ValueError, x509.DuplicateExtension) as error:
        raise SignerCertificateInvalid(
            "the key usage of the signer's certificate cannot be read"
        ) from error
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise SignerCertificateInvalid("the signer's certificate is not for signatures")
    stated = {item.dotted_string for item in extended} if extended is not None else set()
    if not set(eku) <= stated:
        raise SignerCertificateInvalid("the signer's certificate lacks an extended key usage of the policy")


def _extension(certificate: x509.Certificate, kind: type[_T]) -> _T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _require_not_revoked(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    crls: Sequence[x509.CertificateRevocationList],
    now: datetime,
) -> None:
    current = [
        crl
        for crl in crls
        if crl.issuer == issuer.subject and _in_force(crl, now) and _signed_by(crl, issuer)
    ]
    if not current:
        raise SignerCertificateInvalid(
            "no CRL of the trust policy that is in force covers the signer's path"
        )
    serial = certificate.serial_number
    if any(crl.get_revoked_certificate_by_serial_number(serial) is not None for crl in current):
        raise SignerCertificateInvalid("a certificate of the signer's path is revoked")


def _in_force(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    if any(isinstance(extension.value, _PARTIAL) for extension in crl.extensions):
        return False
    end = crl.next_update_utc
    return crl.last_update_utc <= now and end is not None and now <= end


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key: CertificateIssuerPublicKeyTypes = issuer.public_key()  # type: ignore[assignment]
    try:
        return crl.is_signature_valid(key)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
