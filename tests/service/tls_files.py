"""A certificate authority for TLS tests: servers on 127.0.0.1, and clients."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class TlsAuthority:
    """Issues; what it signs is good for an hour, or as long as is said."""

    def __init__(self, name: str = "test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key, timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    def write(self, path: Path) -> Path:
        """The authority's certificate in a file."""
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def server(self, folder: Path, *, lifetime: timedelta = timedelta(hours=1)) -> int:
        """Replace ``tls.pem`` and ``tls.key``; the serial number of the new certificate."""
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate, key = self._issue("server", lifetime, x509.SubjectAlternativeName([address]))
        replace(folder / "tls.key", key)
        replace(folder / "tls.pem", certificate.public_bytes(Encoding.PEM))
        return certificate.serial_number

    def client(self, path: Path, name: str = "admin") -> Path:
        """Certificate and key of a client in one file."""
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate, key = self._issue(name, timedelta(hours=1), usage)
        replace(path, key + certificate.public_bytes(Encoding.PEM))
        return path

    def _issue(
        self, name: str, lifetime: timedelta, extension: x509.ExtensionType
    ) -> tuple[x509.Certificate, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key, lifetime).add_extension(extension, critical=False)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return builder.sign(self._key, hashes.SHA256()), pem

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(hours=1),
            not_valid_after=now + lifetime,
        )


def replace(path: Path, data: bytes) -> None:
    """As a careful administrator does it: whole, mode 0600, by a rename."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(data)
    temporary.chmod(0o600)
    temporary.rename(path)
