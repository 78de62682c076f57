"""A test firmware for SEV-SNP: its own AMD-like PKI, and genuine 1184-byte reports signed by its keys.

Everything about it is as with AMD's (names, extensions, RSASSA-PSS, leaves with serial number 0, TCB
layouts), except the keys: a verifier trusts it only where its ARK is passed as an extra anchor.

Any field of a report can be set, sensible or not; ``patch_report`` changes bytes and signs again, and
``reissue`` does the same to a certificate, so that each rule can be broken alone.

Sources: AMD SEV-SNP ABI specification (pub. 56860) table ATTESTATION_REPORT; AMD VCEK specification
(pub. 57230) section 3.
"""

from __future__ import annotations

import hashlib
import os
import struct
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from common.encoding import b64url_encode
from common.snp_certificate_table import encode_certificate_table
from verifier.snp.collateral import FixedCollateral
from verifier.snp.products import HWID_BYTES, Product, SigningKey, Tcb, encode_tcb
from verifier.snp.report import KEY_SIGNING_SHIFT, REPORT_BYTES, SIGNED_BYTES
from wire.evidence import SnpCertificate, SnpEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
_ARC: Final = "1.3.6.1.4.1.3704.1."
_START: Final = datetime(2025, 1, 1, tzinfo=UTC)
_CA_LIFE: Final = timedelta(days=25 * 365)
_LEAF_LIFE: Final = {SigningKey.VCEK: timedelta(days=7 * 365), SigningKey.VLEK: timedelta(days=365)}
_CRL_LIFE: Final = timedelta(days=365)
_SIGNATURE_BYTES: Final = 512  # RSA-4096
_COMPONENT: Final = 72
_P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)
_SERIALS: Final = {Product.MILAN: 0x10000, Product.GENOA: 0x20000, Product.TURIN: 0x30000}
_CPUID: Final = {
    Product.MILAN: (0x19, 0x01, 0x01),
    Product.GENOA: (0x19, 0x11, 0x01),
    Product.TURIN: (0x1A, 0x02, 0x01),
}
_TCBS: Final = {
    Product.MILAN: Tcb(bootloader=4, tee=0, snp=24, microcode=219),
    Product.GENOA: Tcb(bootloader=10, tee=0, snp=23, microcode=84),
    Product.TURIN: Tcb(bootloader=3, tee=2, snp=5, microcode=97, fmc=1),
}
_COMPONENTS: Final = (("3.1", "bootloader"), ("3.2", "tee"), ("3.3", "snp"), ("3.8", "microcode"))
_RESERVED_COMPONENTS: Final = {Product.TURIN: ("3.5", "3.6", "3.7")}
_LAYOUT: Final = struct.Struct("<IIQ16s16sII8sQI4s64s48s32s48s48s32s32s8s3s21s64s8s4s4s8sQQ152s")
assert _LAYOUT.size == SIGNED_BYTES


class AuthorityKeys:
    """RSA-4096 keys of ARK, ASK and ASVK, made when first needed; may be shared by several firmwares."""

    @cached_property
    def ark(self) -> rsa.RSAPrivateKey:
        """Of the root."""
        return rsa.generate_private_key(65537, 4096)

    @cached_property
    def ask(self) -> rsa.RSAPrivateKey:
        """Of the VCEKs' issuer."""
        return rsa.generate_private_key(65537, 4096)

    @cached_property
    def asvk(self) -> rsa.RSAPrivateKey:
        """Of the VLEKs' issuer."""
        return rsa.generate_private_key(65537, 4096)


class SnpFirmware:
    """One chip of one product, with its PKI.

    Args:
        product: product line.
        keys: authority keys to share (making RSA keys takes seconds).
        seed: makes chip id, report ids, leaf keys and report signatures (RFC 6979) the same every time;
            authority keys and the salts of their signatures stay random.
        start: when the certificates become valid.
        csp_id: of the VLEKs.
    """

    def __init__(
        self,
        product: Product = Product.MILAN,
        *,
        keys: AuthorityKeys | None = None,
        seed: bytes | None = None,
        start: datetime = _START,
        csp_id: str = "CN=test-cloud",
    ) -> None:
        """Draw the chip's id; keys and certificates are made when first needed."""
        self.product = product
        self.keys = keys or AuthorityKeys()
        self.start = start
        self.csp_id = csp_id
        self.tcb = _TCBS[product]
        self._seed = seed
        self._leaf_keys: dict[SigningKey, ec.EllipticCurvePrivateKey] = {}
        self._leaves: dict[tuple[SigningKey, Tcb], bytes] = {}
        self._reports = 0
        self.hardware_id = self._random(b"hardware-id", HWID_BYTES[product])

    @cached_property
    def ark(self) -> x509.Certificate:
        """The root: pass it to ``SnpVerifier`` as an extra anchor to trust this firmware."""
        serial = _SERIALS[self.product]
        return self.authority(f"ARK-{self.product}", self.keys.ark, self.keys.ark, serial=serial)

    @cached_property
    def ask(self) -> x509.Certificate:
        """Issuer of VCEKs."""
        serial = _SERIALS[self.product] + 1
        return self.authority(f"SEV-{self.product}", self.keys.ask, self.keys.ark, serial=serial)

    @cached_property
    def asvk(self) -> x509.Certificate:
        """Issuer of VLEKs."""
        serial = _SERIALS[self.product] + 0x101
        return self.authority(f"SEV-VLEK-{self.product}", self.keys.asvk, self.keys.ark, serial=serial)

    def authority(
        self,
        name: str,
        key: rsa.RSAPrivateKey,
        issuer_key: rsa.RSAPrivateKey,
        *,
        serial: int,
        issuer_name: str | None = None,
        ca: bool = True,
    ) -> x509.Certificate:
        """A certificate with the profile of an ARK, ASK or ASVK."""
        return (
            x509.CertificateBuilder()
            .subject_name(amd_name(name))
            .issuer_name(amd_name(issuer_name or f"ARK-{self.product}"))
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(self.start)
            .not_valid_after(self.start + _CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_CA_USAGE, critical=True)
            .sign(issuer_key, hashes.SHA384(), rsa_padding=_PSS)
        )

    def leaf(
        self,
        kind: SigningKey = SigningKey.VCEK,
        *,
        tcb: Tcb | None = None,
        extensions: Mapping[str, bytes | None] | None = None,
        name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> bytes:
        """A VCEK or VLEK (DER, serial number 0).

        Args:
            kind: which.
            tcb: the TCB it is for; the firmware's own by default.
            extensions: AMD extensions by the end of their OID (``3.1``, ``4``) to change or leave out.
            name: another common name.
            not_before: start of validity.
            not_after: end of validity.
        """
        issuer, issuer_key = self._issuer(kind)
        values = self._extensions(kind, tcb or self.tcb) | dict(extensions or {})
        builder = (
            x509.CertificateBuilder()
            .subject_name(amd_name(name or f"SEV-{kind}"))
            .issuer_name(issuer.subject)
            .public_key(self.leaf_key(kind).public_key())
            .serial_number(1)
            .not_valid_before(not_before or self.start)
            .not_valid_after(not_after or self.start + _LEAF_LIFE[kind])
        )
        for suffix, value in values.items():
            if value is not None:
                oid = x509.ObjectIdentifier(_ARC + suffix)
                builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        der = builder.sign(issuer_key, hashes.SHA384(), rsa_padding=_PSS).public_bytes(Encoding.DER)
        return self.reissue(der, kind, _zero_serial)

    def reissue(self, der: bytes, kind: SigningKey, edit: Callable[[bytes], bytes]) -> bytes:
        """A leaf with its TBS bytes edited (same length) and signed again by the right issuer."""
        tbs = x509.load_der_x509_certificate(der).tbs_certificate_bytes
        edited = edit(tbs)
        assert len(edited) == len(tbs), "the edit must keep the length"
        signature = self._issuer(kind)[1].sign(edited, _PSS, hashes.SHA384())
        return der[:-_SIGNATURE_BYTES].replace(tbs, edited, 1) + signature

    def leaf_key(self, kind: SigningKey) -> ec.EllipticCurvePrivateKey:
        """The P-384 key that signs reports."""
        if kind not in self._leaf_keys:
            number = int.from_bytes(self._random(f"key-{kind}".encode(), 64), "big")
            self._leaf_keys[kind] = ec.derive_private_key(number % (_P384_ORDER - 1) + 1, ec.SECP384R1())
        return self._leaf_keys[kind]

    def report(self, report_data: bytes, *, kind: SigningKey = SigningKey.VCEK, **fields: Any) -> bytes:
        """A signed report.

        Args:
            report_data: 64 bytes.
            kind: the key that signs.
            fields: any field of ``verifier.snp.report.Report`` by name, as bytes or number; the TCBs also
                as ``Tcb``; ``tcb`` sets all four at once.
        """
        return self.sign(self._body(report_data, kind, fields), kind)

    def sign(self, body: bytes, kind: SigningKey = SigningKey.VCEK) -> bytes:
        """A report of ``body`` ([0, 0x2A0)) and its signature by the key of ``kind``."""
        algorithm = ec.ECDSA(hashes.SHA384(), deterministic_signing=self._seed is not None)
        r, s = decode_dss_signature(self.leaf_key(kind).sign(body, algorithm))
        signature = r.to_bytes(_COMPONENT, "little") + s.to_bytes(_COMPONENT, "little")
        return (body + signature).ljust(REPORT_BYTES, b"\0")

    def patch_report(
        self, report: bytes, offset: int, data: bytes, kind: SigningKey = SigningKey.VCEK
    ) -> bytes:
        """``report`` with ``data`` at ``offset`` of its signed part, signed again."""
        body = report[:offset] + data + report[offset + len(data) : SIGNED_BYTES]
        return self.sign(body[:SIGNED_BYTES], kind)

    def certificates(self, kind: SigningKey = SigningKey.VCEK, tcb: Tcb | None = None) -> dict[str, bytes]:
        """Leaf, intermediate and root by type, DER."""
        key = (kind, tcb or self.tcb)
        if key not in self._leaves:
            self._leaves[key] = self.leaf(kind, tcb=key[1])
        issuer, _ = self._issuer(kind)
        return {
            str(kind): self._leaves[key],
            "ASK": issuer.public_bytes(Encoding.DER),
            "ARK": self.ark.public_bytes(Encoding.DER),
        }

    def evidence(
        self,
        report_data: bytes,
        *,
        kind: SigningKey = SigningKey.VCEK,
        auxblob: bool = False,
        certificates: Mapping[str, bytes] | None = None,
        **fields: Any,
    ) -> SnpEvidence:
        """A report with its certificates, as a list or as the raw table.

        Args:
            report_data: 64 bytes.
            kind: the key that signs.
            auxblob: send the certificate table.
            certificates: others than the right ones.
            fields: see ``report``.
        """
        reported = fields.get("reported_tcb", fields.get("tcb"))
        tcb = reported if isinstance(reported, Tcb) else None
        found = dict(self.certificates(kind, tcb) if certificates is None else certificates)
        return evidence_of(self.report(report_data, kind=kind, **fields), found, auxblob=auxblob)

    def crl(
        self,
        *,
        revoked: Iterable[x509.Certificate] = (),
        this_update: datetime | None = None,
        next_update: datetime | None = None,
        issuer_name: str | None = None,
        key: rsa.RSAPrivateKey | None = None,
    ) -> bytes:
        """A revocation list (DER) of the ARK, or of another issuer or key."""
        start = this_update or self.start
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(amd_name(issuer_name or f"ARK-{self.product}"))
            .last_update(start)
            .next_update(next_update or start + _CRL_LIFE)
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(start).build())
        signed = builder.sign(key or self.keys.ark, hashes.SHA384(), rsa_padding=_PSS)
        return signed.public_bytes(Encoding.DER)

    def collateral(self, crl: bytes | None = None) -> FixedCollateral:
        """Collateral with this firmware's revocation list (an empty one by default)."""
        return FixedCollateral(crls={self.ark.fingerprint(hashes.SHA256()).hex(): crl or self.crl()})

    def _issuer(self, kind: SigningKey) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
        return (self.ask, self.keys.ask) if kind is SigningKey.VCEK else (self.asvk, self.keys.asvk)

    def _extensions(self, kind: SigningKey, tcb: Tcb) -> dict[str, bytes | None]:
        turin = self.product is Product.TURIN
        stepping = "-B0" if kind is SigningKey.VCEK and self.product is Product.MILAN else ""
        values: dict[str, bytes | None] = {
            "1": der_integer(1 if turin else 0),
            "2": der_ia5_string(f"{self.product}{stepping}"),
        }
        values |= {suffix: der_integer(getattr(tcb, name)) for suffix, name in _COMPONENTS}
        for suffix in _RESERVED_COMPONENTS.get(self.product, ("3.4", "3.5", "3.6", "3.7")):
            values[suffix] = der_integer(0)
        if turin:
            values["3.9"] = der_integer(tcb.fmc or 0)
        if kind is SigningKey.VCEK:
            return values | {"4": self.hardware_id}
        return values | {"5": der_ia5_string(self.csp_id)}

    def _body(self, report_data: bytes, kind: SigningKey, fields: dict[str, Any]) -> bytes:
        values = self._defaults(kind) | {"report_data": report_data}
        if "tcb" in fields:
            tcb = fields.pop("tcb")
            values |= dict.fromkeys(("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"), tcb)
        if fields.get("version", values["version"]) < 3:
            values["cpuid"] = (0, 0, 0)
        unknown = fields.keys() - values.keys()
        assert not unknown, f"a report has no field {sorted(unknown)}"
        values |= fields
        packed = [self._packed(name, value) for name, value in values.items()]
        return _LAYOUT.pack(*packed)

    def _packed(self, name: str, value: Any) -> Any:
        if isinstance(value, Tcb):
            return encode_tcb(value, self.product)
        if name in ("current_version", "committed_version"):
            major, minor, build = value
            return bytes((build, minor, major, 0))
        return bytes(value) if isinstance(value, tuple) else value

    def _defaults(self, kind: SigningKey) -> dict[str, Any]:
        """Every field in the order of the layout."""
        self._reports += 1
        masked = kind is SigningKey.VLEK
        return {
            "version": 3,
            "guest_svn": 0,
            "policy": 0x30000,  # SMT allowed, bit 17
            "family_id": bytes(16),
            "image_id": bytes(16),
            "vmpl": 0,
            "signature_algorithm": 1,
            "current_tcb": self.tcb,
            "platform_info": 0x25,  # SMT, ECC, alias check complete
            "key_info": (1 if masked else 0) << KEY_SIGNING_SHIFT,
            "reserved_04c": bytes(4),
            "report_data": b"",
            "measurement": bytes(48),
            "host_data": bytes(32),
            "id_key_digest": bytes(48),
            "author_key_digest": bytes(48),
            "report_id": self._random(b"report-%d" % self._reports, 32),
            "report_id_ma": b"\xff" * 32,
            "reported_tcb": self.tcb,
            "cpuid": _CPUID[self.product],
            "reserved_18b": bytes(21),
            "chip_id": bytes(64) if masked else self.hardware_id.ljust(64, b"\0"),
            "committed_tcb": self.tcb,
            "current_version": (1, 55, 29),
            "committed_version": (1, 55, 29),
            "launch_tcb": self.tcb,
            "launch_mitigations": 0,
            "current_mitigations": 0,
            "reserved_208": bytes(152),
        }

    def _random(self, label: bytes, size: int) -> bytes:
        if self._seed is None:
            return os.urandom(size)
        return hashlib.shake_256(self._seed + b"\0" + label).digest(size)


def evidence_of(report: bytes, certificates: Mapping[str, bytes], *, auxblob: bool = False) -> SnpEvidence:
    """An evidence document of raw parts."""
    if auxblob:
        table = b64url_encode(encode_certificate_table(certificates))
        return SnpEvidence(report=b64url_encode(report), auxblob=table)
    entries = tuple(SnpCertificate(kind, b64url_encode(der)) for kind, der in certificates.items())
    return SnpEvidence(report=b64url_encode(report), certificates=entries)


def amd_name(common_name: str) -> x509.Name:
    """AMD's distinguished name with a common name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Santa Clara"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "CA"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def der_integer(value: int) -> bytes:
    """A non-negative DER INTEGER of a byte."""
    content = value.to_bytes(2 if value > 0x7F else 1, "big")
    return bytes((2, len(content))) + content


def der_ia5_string(text: str) -> bytes:
    """A short DER IA5String."""
    return bytes((0x16, len(text))) + text.encode("ascii")


def _zero_serial(tbs: bytes) -> bytes:
    # version [0] EXPLICIT 2, then serialNumber.
    version = bytes.fromhex("a003020102")
    return tbs.replace(version + b"\x02\x01\x01", version + b"\x02\x01\x00", 1)


_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
