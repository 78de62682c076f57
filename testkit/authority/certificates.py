"""A Fulcio-like certificate authority: root, intermediate, short-lived leaves with an embedded SCT.

A leaf is built twice: without the SCT extension (its TBSCertificate is what the CT log signs, RFC 6962
section 3.2), then with it as last extension.

Sources: sigstore/fulcio docs/certificate-specification.md and docs/oid-info.md; RFC 6962 sections 3.2
and 3.3.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provenance.sigstore.fulcio import OID_OF_CLAIM

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_SCT_LIST: Final = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")  # RFC 6962 section 3.3
_ISSUER_V1: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_RAW_CLAIM_PREFIX: Final = "github_workflow_"  # OIDs .2 to .6 hold text without a DER header
_SHA256_ECDSA: Final = bytes((4, 3))  # RFC 5246 section 7.4.1.4.1: hash sha256, signature ecdsa
_CA_YEARS: Final = timedelta(days=3650)


def spki(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    public = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class CertificateAuthority:
    """Root, intermediate and CT log key.

    Args:
        name: organisation in the authorities' names.
        start: when they become valid.
    """

    def __init__(self, name: str, start: datetime) -> None:
        """Make fresh keys and certificates."""
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ct_key = ec.generate_private_key(ec.SECP256R1())
        root_name, issuer_name = _name(name, "root"), _name(name, "intermediate")
        end = start + _CA_YEARS
        self.root = _ca(root_name, root_name, self._root_key, self._root_key, start=start, end=end)
        self.intermediate = _ca(issuer_name, root_name, self._key, self._root_key, start=start, end=end)

    def issue(
        self,
        key: ec.EllipticCurvePublicKey,
        *,
        identity: str,
        issuer: str,
        claims: Mapping[str, str],
        not_before: datetime,
        lifetime: timedelta,
        code_signing: bool = True,
    ) -> x509.Certificate:
        """A leaf for ``identity`` (a URI, or an e-mail address)."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.intermediate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_before + lifetime)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(_purpose(code_signing=code_signing), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(_authority_of(self.intermediate), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(identity)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V1, issuer.encode()), critical=False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, _utf8(issuer)), critical=False)
        )
        for name, value in claims.items():
            data = value.encode() if name.startswith(_RAW_CLAIM_PREFIX) else _utf8(value)
            oid = x509.ObjectIdentifier(OID_OF_CLAIM[name])
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, data), critical=False)
        precertificate = builder.sign(self._key, hashes.SHA256())
        sct = self._sct(precertificate.tbs_certificate_bytes, not_before)
        builder = builder.add_extension(
            x509.UnrecognizedExtension(_SCT_LIST, _octet_string(sct)), critical=False
        )
        return builder.sign(self._key, hashes.SHA256())

    def _sct(self, tbs: bytes, moment: datetime) -> bytes:
        """A SignedCertificateTimestampList of one (RFC 6962 section 3.3)."""
        milliseconds = int(moment.timestamp() * 1000)
        issuer_key_hash = hashlib.sha256(spki(self._key)).digest()
        # version v1, certificate_timestamp, time, precert_entry, no extensions
        signed = struct.pack("!BBQH", 0, 0, milliseconds, 1) + issuer_key_hash
        signed += len(tbs).to_bytes(3, "big") + tbs + struct.pack("!H", 0)
        signature = self.ct_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        log_id = hashlib.sha256(spki(self.ct_key)).digest()
        sct = struct.pack("!B32sQH", 0, log_id, milliseconds, 0) + _SHA256_ECDSA
        sct += struct.pack("!H", len(signature)) + signature
        return struct.pack("!HH", len(sct) + 2, len(sct)) + sct


def _name(organisation: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organisation} {common_name}"),
        ]
    )


def _ca(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    start: datetime,
    end: datetime,
) -> x509.Certificate:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=not signs,
        crl_sign=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _purpose(*, code_signing: bool) -> x509.ExtendedKeyUsage:
    purpose = ExtendedKeyUsageOID.CODE_SIGNING if code_signing else ExtendedKeyUsageOID.SERVER_AUTH
    return x509.ExtendedKeyUsage([purpose])


def _authority_of(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)


def _general_name(identity: str) -> x509.GeneralName:
    if "://" in identity:
        return x509.UniformResourceIdentifier(identity)
    return x509.RFC822Name(identity)


def _utf8(text: str) -> bytes:
    """A DER UTF8String."""
    return _tlv(0x0C, text.encode())


def _octet_string(data: bytes) -> bytes:
    return _tlv(0x04, data)


def _tlv(tag: int, data: bytes) -> bytes:
    length = len(data)
    if length < 0x80:
        return bytes((tag, length)) + data
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + data
