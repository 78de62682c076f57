"""An authority, and certificates of servers and clients that it issues."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass
class TestAuthority:
    """Issues certificates for 127.0.0.1 and for clients by name."""

    __test__ = False
    name: str = "test authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.certificate = self._issue(self.name, self.key, ca=True)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def pair(self, name: str) -> tuple[bytes, bytes]:
        """PEM certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue(name, key, ca=False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM), private

    def write(self, folder: Path, name: str = "server") -> dict[str, str]:
        """Files of a server; settings of ``[grpc]`` that name them."""
        certificate, private = self.pair(name)
        paths = {"tls_certificate": folder / "grpc.pem", "tls_key": folder / "grpc.key"}
        paths["tls_key"].write_bytes(private)
        paths["tls_key"].chmod(0o600)
        paths["tls_certificate"].write_bytes(certificate)
        return {key: str(path) for key, path in paths.items()}

    def credentials(self, client: tuple[bytes, bytes] | None = None) -> grpc.ChannelCredentials:
        """Of a client that trusts this authority, with its own certificate where one is given."""
        certificate, private = client or (None, None)
        return grpc.ssl_channel_credentials(self.pem, private, certificate)

    def _issue(self, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            names: list[x509.GeneralName] = [x509.DNSName(name)]
            if name.startswith("server"):
                names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())
