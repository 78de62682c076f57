"""A test authority for NVIDIA devices: roots, the authorities below them, OCSP, revocation lists, RIMs.

Names, extensions and algorithms are those of NVIDIA's chains, except the keys: a verifier trusts it only
where its roots are passed as extra anchors. Every certificate can be issued otherwise, so that each rule
can be broken alone.

Sources: the chains of Hopper, Blackwell and LS10 devices; RFC 5280; RFC 6960; TCG RIM 1.01.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

START: Final = datetime(2025, 1, 1, tzinfo=UTC)
FOREVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_NAMESPACE: Final = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_MODEL: Final = (
    "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/"
)
_CANONICAL: Final = "http://www.w3.org/2006/12/xml-c14n11"


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-384 key."""
    return ec.generate_private_key(ec.SECP384R1())


def name(common: str, organisation: str = "NVIDIA Corporation") -> x509.Name:
    """A distinguished name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def usage(
    *, sign_data: bool = False, sign_certificates: bool = False, sign_lists: bool = False
) -> x509.KeyUsage:
    """A key usage extension."""
    return x509.KeyUsage(
        digital_signature=sign_data,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_lists,
        encipher_only=False,
        decipher_only=False,
    )


class Issuer:
    """An authority: its certificate and key.

    Args:
        subject: its name.
        parent: who issues its certificate; None: itself.
        serial: of its certificate.
        lists: last part of the address of its issuer's revocation list.
        changes: of ``certificate``.
    """

    def __init__(
        self,
        subject: x509.Name,
        parent: Issuer | None = None,
        *,
        serial: int | None = None,
        lists: str | None = None,
        **changes: Any,
    ) -> None:
        """Make the key and the certificate."""
        self.key: Any = changes.pop("key", None) or new_key()
        self.subject = subject
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (usage(sign_certificates=True, sign_lists=True), True),
        ]
        if lists is not None:
            point = x509.DistributionPoint(
                [x509.UniformResourceIdentifier(f"http://crl.test/crl/{lists}")], None, None, None
            )
            extensions.append((x509.CRLDistributionPoints([point]), False))
        # A root asks itself, which by then has name and key.
        self.certificate = (parent or self).certify(
            subject, self.key.public_key(), serial=serial, extensions=extensions, **changes
        )

    def certify(
        self,
        subject: x509.Name,
        public_key: Any,
        *,
        serial: int | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        start: datetime = START,
        end: datetime = FOREVER,
        digest: hashes.SHA256 | hashes.SHA384 | None = None,
    ) -> x509.Certificate:
        """A certificate of somebody's key, whatever it says."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(public_key)
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, digest or hashes.SHA384())

    def crl(
        self,
        revoked: Sequence[x509.Certificate] = (),
        *,
        start: datetime = START,
        end: datetime = START + timedelta(days=3650),
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        key: Any = None,
    ) -> bytes:
        """A revocation list, DER."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.subject)
            .last_update(start)
            .next_update(end)
        )
        for certificate in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(start)
                .build()
            )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(key or self.key, hashes.SHA384()).public_bytes(Encoding.DER)

    def ocsp(
        self,
        certificate: x509.Certificate,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        *,
        at: datetime = START,
        lifetime: timedelta | None = _DAY,
        algorithm: hashes.HashAlgorithm | None = None,
        responder: tuple[x509.Certificate, Any] | None = None,
        embedded: bool = True,
    ) -> bytes:
        """An OCSP response about a certificate of this issuer, DER.

        Args:
            certificate: that it is about.
            status: that it states.
            at: when.
            lifetime: until the next update; None: it names none.
            algorithm: of the certificate's id; SHA-256 otherwise.
            responder: certificate and key of the delegate that signs; the issuer itself otherwise.
            embedded: carry the delegate's certificate.
        """
        signer, key = responder or (self.certificate, self.key)
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=certificate,
            issuer=self.certificate,
            algorithm=algorithm or hashes.SHA256(),
            cert_status=status,
            this_update=at,
            next_update=None if lifetime is None else at + lifetime,
            revocation_time=at if revoked else None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer)
        if responder is not None and embedded:
            builder = builder.certificates([signer])
        return builder.sign(key, hashes.SHA384()).public_bytes(Encoding.DER)

    def responder(
        self, *, eku: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.OCSP_SIGNING,), **changes: Any
    ) -> tuple[x509.Certificate, Any]:
        """A delegate for OCSP: its certificate and key."""
        key = new_key()
        extensions: list[tuple[x509.ExtensionType, bool]] = [(usage(sign_data=True), True)]
        if eku:
            extensions.append((x509.ExtendedKeyUsage(list(eku)), False))
        certificate = self.certify(
            name("Test OCSP Responder"), key.public_key(), extensions=extensions, **changes
        )
        return certificate, key


class NvidiaAuthority:
    """NVIDIA's authorities: those of devices down to the provisioner, and those of manifests."""

    def __init__(self) -> None:
        """Make all keys; P-384 is quick."""
        self.root = Issuer(name("NVIDIA Device Identity CA", "NVIDIA"))
        self.identity = Issuer(name("NVIDIA GH100 Identity"), self.root, lists="l1-root.crl")
        self.provisioner = Issuer(
            name("NVIDIA GH100 Provisioner ICA 1"), self.identity, lists="l2-gh100.crl"
        )
        self.rim_root = Issuer(name("NVIDIA CoRIM signing Root CA", "NVIDIA"))
        self.rim_ca = Issuer(name("NVIDIA Reference Value GH100 CA"), self.rim_root)
        self.rim_key = new_key()
        self.rim_signer = self.rim_certificate()

    def rim_certificate(self, **changes: Any) -> x509.Certificate:
        """A certificate for the manifests' signer."""
        made: dict[str, Any] = {
            "extensions": [
                (x509.BasicConstraints(ca=False, path_length=None), True),
                (usage(sign_data=True), True),
            ],
            "end": START + timedelta(days=730),
        }
        return self.rim_ca.certify(name("HCC RIM L4 Signer"), self.rim_key.public_key(), **(made | changes))

    def rim(
        self,
        version: str,
        golden: Mapping[int, Sequence[bytes]],
        *,
        inactive: Mapping[int, Sequence[bytes]] | None = None,
        chain: Sequence[x509.Certificate] | None = None,
        edit: tuple[str, str] | None = None,
    ) -> bytes:
        """A signed manifest.

        Args:
            version: of the firmware.
            golden: index from 0 to its alternatives, active.
            inactive: likewise, not active.
            chain: certificates that it carries; the signer's to the root otherwise.
            edit: text of the manifest to replace before it is signed, and by what.
        """
        from lxml import etree  # noqa: PLC0415 (heavy import)
        from signxml.signer import XMLSigner  # noqa: PLC0415

        text = _manifest(version, golden, inactive or {})
        if edit is not None:
            assert edit[0] in text
            text = text.replace(*edit)
        signer = XMLSigner(
            signature_algorithm="ecdsa-sha384", digest_algorithm="sha384", c14n_algorithm=_CANONICAL
        )
        carried = chain or (self.rim_signer, self.rim_ca.certificate, self.rim_root.certificate)
        pem = [one.public_bytes(Encoding.PEM).decode("ascii") for one in carried]
        signed = signer.sign(etree.fromstring(text.encode("utf-8")), key=self.rim_key, cert=pem)
        data = etree.tostring(signed)
        assert isinstance(data, bytes)
        return data

    def rim_status(self, at: datetime = START) -> tuple[bytes, ...]:
        """OCSP responses that say good of the manifests' signer and its authority."""
        return (
            self.rim_ca.ocsp(self.rim_signer, at=at, responder=self.rim_ca.responder()),
            self.rim_root.ocsp(self.rim_ca.certificate, at=at),
        )


def _manifest(
    version: str, golden: Mapping[int, Sequence[bytes]], inactive: Mapping[int, Sequence[bytes]]
) -> str:
    resources = "".join(
        f'<Resource type="Measurement" index="{index}" active="{active}" alternatives="{len(values)}" '
        + " ".join(f'n:Hash{number}="{value.hex()}"' for number, value in enumerate(values))
        + f' name="Measurement_{index}" size="48"/>'
        for active, measurements in (("True", golden), ("False", inactive))
        for index, values in measurements.items()
    )
    return (
        f'<SoftwareIdentity xmlns="{_NAMESPACE}" xmlns:n="http://www.w3.org/2001/04/xmlenc#sha384"'
        ' corpus="false" patch="false" supplemental="false" name="GH100" tagId="test" version="1.0">'
        '<Entity name="NVIDIA Corporation" role="softwareCreator tagCreator"/>'
        f'<Meta xmlns:m="{_MODEL}" colloquialVersion="{version}" edition="GPU" PayloadType="direct"'
        f' m:PlatformManufacturerId="5703"/><Payload>{resources}</Payload></SoftwareIdentity>'
    )
