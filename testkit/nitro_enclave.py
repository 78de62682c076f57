"""A test authority for AWS Nitro Enclaves: its own PKI in AWS's shape, and documents signed by its leaf.

Any member of a document can be set, sensible or not, and any certificate of the chain changed, so that each
rule can be broken alone. A verifier trusts it only where its root is passed as an extra anchor.

Source: AWS Nitro Enclaves User Guide, "Verifying the root of trust".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from common import cbor
from common.encoding import b64url_encode
from testkit.cose import sign1
from verifier.nitro.evidence import NitroEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence

ABSENT: Final = object()
NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
_LEAF: Final = -1


class Profile(msgspec.Struct, frozen=True):
    """How one certificate of the chain is made.

    Attributes:
        name: common name.
        path_length: of a CA; None states none.
        ca: whether it is one.
        usage: names of the key usages that are set.
        start: before ``NOW``.
        life: from its start.
        curve: of its key.
        hash: it is signed with.
        critical: put in a critical extension that nobody knows.
    """

    name: str
    path_length: int | None = None
    ca: bool = True
    usage: frozenset[str] = frozenset({"key_cert_sign", "crl_sign"})
    start: timedelta = timedelta(hours=1)
    life: timedelta = timedelta(days=20)
    curve: ec.EllipticCurve = ec.SECP384R1()
    hash: hashes.SHA256 | hashes.SHA384 = hashes.SHA384()
    critical: bool = False


PROFILES: Final = (
    Profile("aws.nitro-enclaves", life=timedelta(days=10_000), start=timedelta(days=1)),
    Profile("region.aws.nitro-enclaves", path_length=2),
    Profile("zonal.region.aws.nitro-enclaves", path_length=1),
    Profile("i-0.region.aws.nitro-enclaves", path_length=0),
    Profile(
        "i-0-enc0.region.aws",
        ca=False,
        usage=frozenset({"digital_signature", "content_commitment"}),
        life=timedelta(hours=3),
    ),
)


class NitroAuthority:
    """A root, its intermediates and the leaf of one enclave.

    Args:
        profiles: root first, leaf last.
        root: another authority, whose root is used.
    """

    def __init__(self, profiles: Sequence[Profile] = PROFILES, root: NitroAuthority | None = None) -> None:
        """Make the chain."""
        self.keys = [ec.generate_private_key(profile.curve) for profile in profiles]
        self.certificates: list[x509.Certificate] = []
        if root is not None:
            self.keys[0] = root.keys[0]
            self.certificates.append(root.root)
        for index in range(len(self.certificates), len(profiles)):
            self.certificates.append(self._issue(index, profiles))

    @property
    def root(self) -> x509.Certificate:
        """The root."""
        return self.certificates[0]

    def members(self, *, user_data: object = bytes(64), **changes: Any) -> dict[str, Any]:
        """Members of a document; ``ABSENT`` removes one."""
        chain = [certificate.public_bytes(Encoding.DER) for certificate in self.certificates]
        members: dict[str, Any] = {
            "module_id": "i-0-enc0",
            "digest": "SHA384",
            "timestamp": int(NOW.timestamp() * 1000),
            "pcrs": {index: register(index) for index in range(16)},
            "certificate": chain[_LEAF],
            "cabundle": chain[:_LEAF],
            "public_key": None,
            "user_data": user_data,
            "nonce": None,
        }
        members |= changes
        return {name: value for name, value in members.items() if value is not ABSENT}

    def document(self, *, indefinite: bool = True, tagged: bool = False, **changes: Any) -> bytes:
        """A signed document, its payload an endless map as AWS's module makes it unless said otherwise."""
        members = self.members(**changes)
        payload = endless(members) if indefinite else cbor.encode(members)
        return sign1(payload, self.keys[_LEAF], tagged=tagged)

    def evidence(self, **changes: Any) -> NitroEvidence:
        """The evidence document of ``document``."""
        return wrapped(self.document(**changes))

    def _issue(self, index: int, profiles: Sequence[Profile]) -> x509.Certificate:
        profile, issuer = profiles[index], max(index - 1, 0)
        start = NOW - profile.start
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(profile.name))
            .issuer_name(_name(profiles[issuer].name))
            .public_key(self.keys[index].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + profile.life)
            .add_extension(x509.BasicConstraints(profile.ca, profile.path_length), critical=True)
            .add_extension(_usage(profile.usage), critical=True)
        )
        if profile.critical:
            oid = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"\x05\x00"), critical=True)
        return builder.sign(self.keys[issuer], profile.hash)


def register(index: int) -> bytes:
    """The value of a register: of its index where enclaves have one, zero elsewhere."""
    return bytes([index + 1]) * 48 if index in (0, 1, 2, 3, 4, 8) else bytes(48)


def endless(members: dict[str, Any]) -> bytes:
    """A map of indefinite length."""
    return b"\xbf" + b"".join(cbor.encode(part) for item in members.items() for part in item) + b"\xff"


def wrapped(document: bytes) -> NitroEvidence:
    """The evidence document of an attestation document."""
    return NitroEvidence(document=b64url_encode(document))


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Amazon"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "AWS"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(names: frozenset[str]) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in names for name in every})
