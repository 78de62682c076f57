"""Certificates of the token-signing key: the local authority, the leaves it issues, chains from outside.

The authority: P-256, self-signed, ten years, ``CA:TRUE, pathlen:0``, keyCertSign and cRLSign. A leaf: not a
CA, digitalSignature, no extended key usage, days. They are two certificates because relying parties refuse
a CA certificate as end entity. basicConstraints and keyUsage are critical, subject and authority key
identifiers are there (RFC 5280 section 4.2.1), serial numbers are random (159 bits).

Pure: times are given; keys and certificates go in and out.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from common.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric import ec

_CA_LIFETIME = timedelta(days=3652)
_BACKDATED = timedelta(minutes=10)  # clocks of relying parties may be behind
_LEAF_NAME = "Touchstone attestation results"
_CA_NAME = "Touchstone token signing CA"
_MAX_CHAIN = 8
_SERIAL_CHARACTERS = 16


def new_authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """The self-signed certificate of a new local authority.

    Two authorities never share a name: it ends in the beginning of the key's identifier.
    """
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"{_CA_NAME} {identifier.digest.hex()[:_SERIAL_CHARACTERS]}")
    usage = _key_usage(digital_signature=False, authority=True)
    return (
        _builder(name, name, key.public_key(), now, now + _CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def issue(
    public_key: ec.EllipticCurvePublicKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """A leaf for a token-signing key; it never outlives the authority."""
    ends = min(now + lifetime, authority.not_valid_after_utc)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(_name(_LEAF_NAME), authority.subject, public_key, now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, authority=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )


def renew_at(leaf: x509.Certificate) -> datetime:
    """When two thirds of a leaf's life are over."""
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    return begin + (end - begin) * 2 / 3


def chain_of(pem: bytes, key: ec.EllipticCurvePublicKey, now: datetime) -> tuple[bytes, ...]:
    """The DER chain of a PEM file for a key of one's own, leaf first, without the root.

    Raises:
        InvalidSetting: not certificates; the leaf is a CA or another key's; the certificates do not follow
            one another; one is out of its time at ``now``.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidSetting("[token] certificate_chain is not PEM certificates") from error
    if len(certificates) > _MAX_CHAIN:
        raise InvalidSetting(f"[token] certificate_chain has more than {_MAX_CHAIN} certificates")
    leaf = certificates[0]
    if public_bytes(leaf.public_key()) != public_bytes(key):
        raise InvalidSetting("[token] certificate_chain does not begin with the certificate of signing_key")
    if _is_authority(leaf):
        raise InvalidSetting("[token] certificate_chain: relying parties refuse a CA as end entity")
    for certificate, issuer in pairwise(certificates):
        if not directly_issued(certificate, issuer):
            raise InvalidSetting("[token] certificate_chain: each certificate must be issued by the next")
    for certificate in certificates:
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            raise InvalidSetting("[token] certificate_chain: a certificate is out of its time")
    if len(certificates) > 1 and directly_issued(certificates[-1], certificates[-1]):
        certificates = certificates[:-1]
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def directly_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether name and signature say so."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def public_bytes(key: object) -> bytes:
    """SubjectPublicKeyInfo of a public key, to compare keys by."""
    encode = getattr(key, "public_bytes")  # noqa: B009 (every kind of public key has it)
    return bytes(encode(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def not_after(chain: Sequence[bytes]) -> datetime | None:
    """When the first certificate of a DER chain expires; None for an empty one."""
    if not chain:
        return None
    return min(x509.load_der_x509_certificate(each).not_valid_after_utc for each in chain)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _BACKDATED)
        .not_valid_after(ends.astimezone(UTC))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_usage(*, digital_signature: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
