"""CoRIMs, certificates and trust policies for tests; each test changes the one thing that it is about."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
from cbor2 import CBORTag
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from provenance import trust
from provenance.manifests import values
from provenance.pipeline import Pipeline

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIGEST = bytes(range(48))
CLASS = {0: {0: CBORTag(111, bytes.fromhex("2b060104019c780301")), 1: "AMD", 2: "SNP"}}
P256, P384, P521 = ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()
_HASHES = {
    "secp256r1": (hashes.SHA256, 32, -7),
    "secp384r1": (hashes.SHA384, 48, -35),
    "secp521r1": (hashes.SHA512, 66, -36),
}
_NAMES = {
    "secp256r1": "ecdsa-p256-sha256",
    "secp384r1": "ecdsa-p384-sha384",
    "secp521r1": "ecdsa-p521-sha512",
}
KEY = ec.generate_private_key(P256)
OTHER = ec.generate_private_key(P256)


def enc(value: Any) -> bytes:
    return cbor2.dumps(value, canonical=True)


def pem(key: Any) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def spki(key: Any) -> bytes:
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).digest()


def algorithm(key: Any) -> str:
    return "ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else _NAMES[key.curve.name]


def measurement(key: Any = "kernel", **mval: Any) -> dict[int, Any]:
    labels = {"version": 0, "svn": 1, "digests": 2, "flags": 3, "raw": 4, "name": 11}
    found = {labels.get(name, name): value for name, value in mval.items()} or {2: [[7, DIGEST]]}
    return ({} if key is None else {0: key}) | {1: found}


def comid(
    *claims: Any, tag_id: Any = "tag-1", version: int = 0, triples: Any = None, **more: Any
) -> CBORTag:
    if triples is None:
        triples = {0: [[CLASS, list(claims) or [measurement()]]]}
    extra = {int(name.removeprefix("k")): value for name, value in more.items()}
    return CBORTag(506, enc({1: {0: tag_id, 1: version}, 4: triples} | extra))


def cotl(*tags: Any, end: datetime = NOW + timedelta(days=1), tag_id: Any = "list-1") -> CBORTag:
    return CBORTag(
        508, enc({0: {0: tag_id}, 1: [{0: name, 1: version} for name, version in tags], 2: {1: time(end)}})
    )


def time(moment: datetime) -> CBORTag:
    return CBORTag(1, int(moment.timestamp()))


def corim(*tags: Any, **members: Any) -> bytes:
    extra = {int(name.removeprefix("k")): value for name, value in members.items()}
    return enc(CBORTag(501, {0: "corim-1", 1: list(tags) or [comid()]} | extra))


def header(key: Any, **changes: Any) -> dict[int, Any]:
    number = -8 if isinstance(key, ed25519.Ed25519PrivateKey) else _HASHES[key.curve.name][2]
    base = {1: number, 3: "application/rim+cbor", 4: spki(key), 8: enc({0: {0: "ACME"}})}
    merged = base | {int(name.removeprefix("k")): value for name, value in changes.items()}
    return {name: value for name, value in merged.items() if value is not None}


def raw_sign(key: Any, message: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    digest, width, _ = _HASHES[key.curve.name]
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest())))
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def sign(
    payload: bytes | None = None,
    key: Any = KEY,
    *,
    protected: Any = None,
    unprotected: Any = None,
    **changes: Any,
) -> bytes:
    content = corim() if payload is None else payload
    head = protected if isinstance(protected, bytes) else enc(header(key, **changes))
    signature = raw_sign(key, enc(["Signature1", head, b"", content]))
    return enc(CBORTag(18, [head, unprotected or {}, content, signature]))


def key_root(key: Any = KEY, **changes: Any) -> dict[str, Any]:
    return {
        "name": "maker",
        "kind": "manifest-key",
        "algorithm": algorithm(key),
        "key": pem(key),
        "formats": ["corim", "measurement-file"],
    } | changes


def policy(*roots: dict[str, Any], identity: str | None = None, **changes: Any) -> trust.TrustPolicy:
    chosen = list(roots) or [key_root()]
    signers = [{"name": root["name"], "root": root["name"]} for root in chosen]
    for signer, root in zip(signers, chosen, strict=True):
        if root["kind"] == "x509":
            signer["identity"] = identity or "CN=signer*"
    document = {
        "version": 1,
        "name": "manifests",
        "roots": chosen,
        "signers": signers,
        "predicate_types": list(values.FORMATS.values()),
    }
    return trust.parse(json.dumps(document | changes).encode())


def admit(data: bytes, *roots: dict[str, Any], now: datetime = NOW, **changes: Any) -> Any:
    return Pipeline(policy(*roots, **changes)).admit(data, now)


def facts(data: bytes, *roots: dict[str, Any], **changes: Any) -> list[tuple[str, str, Any]]:
    found = admit(data, *roots, **changes).authentic.statement.predicate["facts"]
    return [(item["key"], item["field"], item["value"]) for item in found]


class Authority:
    """A CA, with a certificate for a signer. ``changes`` of ``issue`` are what a test is about."""

    def __init__(self, name: str = "root") -> None:
        self.key = ec.generate_private_key(P384)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.issue(self.key, name, authority=True, own=True)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def root(self, **changes: Any) -> dict[str, Any]:
        return {
            "name": "ca",
            "kind": "x509",
            "certificates": [self.pem],
            "formats": ["corim", "swid"],
        } | changes

    def issue(
        self,
        key: Any,
        name: str = "signer",
        *,
        authority: bool = False,
        own: bool = False,
        start: datetime = NOW - timedelta(days=30),
        end: datetime = NOW + timedelta(days=30),
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        path_length: int | None = None,
        signs: bool = True,
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=signs and not authority,
            content_commitment=False,
            key_encipherment=not signs,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=authority,
            crl_sign=authority,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if own else self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(authority, path_length), critical=True)
            .add_extension(usage, critical=True)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA384())

    def crl(self, *revoked: x509.Certificate, end: datetime = NOW + timedelta(days=1)) -> str:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(NOW - timedelta(days=1)).next_update(end)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(
                entry.revocation_date(NOW - timedelta(hours=1)).build()
            )
        return builder.sign(self.key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM).decode()


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
