"""A test authority in the shape of IBM's, and a test Ultravisor that answers attestation requests.

The authority certifies host keys as s390-tools' own tests do: root, intermediate, a host-key signing key
whose certificate is no authority's, host-key documents, a revocation list of each issuer. The Ultravisor
opens a request with its host key and makes the measurement; it is written after the published layout,
independently of ``verifier.se`` where the two could agree on a mistake: it parses by offsets of its own.

No answer of a real Ultravisor is public; what these tests show is that both sides of the published layout
fit, that the published test values of the measurement are met, and that everything else is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
END: Final = datetime(2034, 1, 1, tzinfo=UTC)
IBM: Final = "International Business Machines Corporation"
TAGS: Final = bytes([1]) * 64 + bytes([2]) * 64 + bytes([3]) * 64 + bytes([4]) * 16


def ibm_name(unit: str, *, locality: str = "Armonk", backwards: bool = False) -> x509.Name:
    """A name as IBM writes it; ``backwards`` in another order of attributes."""
    values = [
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.ORGANIZATION_NAME, IBM),
        (NameOID.COMMON_NAME, IBM),
        (NameOID.STATE_OR_PROVINCE_NAME, "New York"),
        (NameOID.LOCALITY_NAME, locality),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
    ]
    attributes = [x509.NameAttribute(oid, value) for oid, value in values]
    return x509.Name(reversed(attributes) if backwards else attributes)


@dataclass(frozen=True)
class Party:
    """A name, its key and its certificate."""

    name: x509.Name
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True)
class Host:
    """A machine: its host key and the document that certifies it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def document(self) -> bytes:
        """The host-key document."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def phkh(self) -> bytes:
        """SHA-256 of the public key's coordinates."""
        numbers = self.key.public_key().public_numbers()
        return hashlib.sha256(numbers.x.to_bytes(80, "big") + numbers.y.to_bytes(80, "big")).digest()


def usage(*names: str) -> x509.KeyUsage:
    """A key usage extension with these bits."""
    bits = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{bit: bit in names for bit in bits})


def certify(  # one builder for every certificate of this authority
    subject: x509.Name,
    key: Any,
    issuer: x509.Name,
    issuer_key: rsa.RSAPrivateKey,
    *,
    ca: bool | None,
    bits: tuple[str, ...],
    start: datetime = START,
    end: datetime = END,
    digest: hashes.SHA256 | hashes.SHA512 | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """One certificate."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(usage(*bits), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, digest or hashes.SHA256())


class SeAuthority:
    """Root, intermediate and host-key signing key.

    Args:
        signing_subject: of the signing key's certificate.
        signing_locality: in that subject.
    """

    def __init__(
        self, *, signing_subject: x509.Name | None = None, signing_locality: str = "Poughkeepsie"
    ) -> None:
        """Make the keys."""
        self.root = self._authority("IBM Z Root CA", None)
        self.intermediate = self._authority("IBM Z Intermediate CA", self.root)
        name = signing_subject or ibm_name("IBM Z Host Key Signing Service", locality=signing_locality)
        self.signing = self.signing_key(name)

    def _authority(self, unit: str, parent: Party | None) -> Party:
        key, name = rsa.generate_private_key(65537, 2048), ibm_name(unit)
        issuer, issuer_key = (name, key) if parent is None else (parent.name, parent.key)
        bits = ("key_cert_sign", "crl_sign")
        certificate = certify(name, key.public_key(), issuer, issuer_key, ca=True, bits=bits)
        return Party(name, key, certificate)

    def signing_key(self, name: x509.Name, **changes: Any) -> Party:
        """A certificate of a host-key signing key."""
        key = rsa.generate_private_key(65537, 2048)
        purpose = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
        options: dict[str, Any] = {
            "ca": False,
            "bits": ("digital_signature",),
            "extensions": (purpose,),
        } | changes
        parent = self.intermediate
        certificate = certify(name, key.public_key(), parent.name, parent.key, **options)
        return Party(name, key, certificate)

    def host(
        self,
        *,
        issuer: x509.Name | None = None,
        curve: ec.EllipticCurve | None = None,
        signer: Party | None = None,
        **changes: Any,
    ) -> Host:
        """A machine with a document of the signing key."""
        signer = signer or self.signing
        key = ec.generate_private_key(curve or ec.SECP521R1())
        options: dict[str, Any] = {
            "ca": None,
            "bits": ("key_agreement",),
            "digest": hashes.SHA512(),
        } | changes
        name = ibm_name("IBM Z Host Key")
        return Host(key, certify(name, key.public_key(), issuer or signer.name, signer.key, **options))

    def crl(
        self,
        issuer: Party,
        revoked: Iterable[x509.Certificate] = (),
        *,
        name: x509.Name | None = None,
        start: datetime = START,
        end: datetime = END,
        delta: bool = False,
    ) -> bytes:
        """A revocation list of one issuer."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name or issuer.name)
            .last_update(start)
            .next_update(end)
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(start).build())
        if delta:
            builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
        return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def lists(self) -> tuple[bytes, ...]:
        """A list of each issuer, with nothing on it."""
        return tuple(self.crl(issuer) for issuer in (self.signing, self.intermediate, self.root))


@dataclass(frozen=True)
class Ultravisor:
    """The firmware of one machine, running one guest.

    Attributes:
        host: the machine.
        tags: of the guest's image header.
        cuid: configuration unique id of the guest.
        image_phkh: hash of the host key that opened the image; the machine's own if not given.
    """

    host: Host
    tags: bytes = TAGS
    cuid: bytes = bytes([5]) * 16
    image_phkh: bytes | None = None
    firmware: bytes = field(default=bytes([6]) * 320)

    def attest(self, request: bytes, user_data: bytes) -> tuple[bytes, bytes]:
        """Answer a request: measurement and additional data.

        Raises:
            ValueError: the request is for other host keys, or was altered.
        """
        slots, flags = request[0x27], int.from_bytes(request[0x30:0x38], "big")
        key, nonce = self._open(request, slots)
        additional = b""
        if flags >> 61 & 1:
            additional += self.host.phkh if self.image_phkh is None else self.image_phkh
        if flags >> 60 & 1:
            additional += self.host.phkh
        if flags >> 59 & 1:
            additional += hashlib.sha512(b"\x00").digest()
        if flags >> 58 & 1:
            additional += self.firmware
        message = self.tags + self.cuid + len(user_data).to_bytes(2, "big") + b"\x00\x00"
        message += len(additional).to_bytes(4, "big") + user_data + nonce + additional
        return hmac.new(key, message, hashlib.sha512).digest(), additional

    def _open(self, request: bytes, slots: int) -> tuple[bytes, bytes]:
        x, y = (int.from_bytes(request[0x40 + 80 * i : 0x90 + 80 * i], "big") for i in (0, 1))
        customer = ec.EllipticCurvePublicNumbers(x, y, ec.SECP521R1()).public_key()
        shared = self.host.key.exchange(ec.ECDH(), customer)
        wrapping = AESGCM(hashlib.sha256(shared + (1).to_bytes(4, "big")).digest())
        for index in range(slots):
            slot = request[0xE0 + 80 * index : 0xE0 + 80 * (index + 1)]
            if slot[:32] == self.host.phkh:
                protection = AESGCM(wrapping.decrypt(bytes(12), slot[32:], b""))
                end = 0xE0 + 80 * slots
                plain = protection.decrypt(request[0x10:0x1C], request[end:], request[:end])
                return plain[:64], plain[64:]
        raise ValueError("the request is for other host keys")

    def evidence(self, challenge: str, user_data: bytes) -> dict[str, str]:
        """What Confidential Containers' attester makes of a challenge: its seven members."""
        document = json.loads(challenge)
        measurement, additional = self.attest(base64.b64decode(document["request_blob"]), user_data)
        assert len(measurement) == document["measurement_size"]
        assert len(additional) == document["additional_size"]
        made = {
            "measurement": measurement,
            "additional_data": additional,
            "user_data": user_data,
            "cuid": self.cuid,
        }
        return {name: base64.b64encode(data).decode() for name, data in made.items()} | {
            name: document[name]
            for name in ("encr_measurement_key", "encr_request_nonce", "image_hdr_tags")
        }


def image_header(tags: bytes = TAGS, *, dumps: bool = False, version: int = 0x100) -> bytes:
    """The header file of an image with these tags."""
    flags = (1 << (63 - 34)) * dumps | 0xE0
    body = b"IBMSecEx" + version.to_bytes(4, "big")
    tail = bytes(12 + 4 + 8 + 8 + 8) + flags.to_bytes(8, "big") + bytes(160) + tags[:192]
    tail += bytes(80) + bytes(128)  # one key slot and the encrypted part
    size = len(body) + 4 + len(tail) + 16
    return body + size.to_bytes(4, "big") + tail + tags[192:]
