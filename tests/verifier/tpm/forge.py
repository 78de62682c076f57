"""Makes TPM structures with an ordinary key: what anybody without a TPM can make, and what a TPM makes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from common.binding import binding_digest
from common.encoding import b64url_encode
from verifier.model import SessionBinding
from verifier.tpm.names import name_of
from verifier.tpm.public import parse_public
from verifier.tpm.settings import TpmSettings
from wire.evidence import TpmEvidence

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AK_ATTRIBUTES = 0x00050072
BANKS = {"sha1": (0x0004, 20), "sha256": (0x000B, 32), "sha384": (0x000C, 48)}
NONCE = bytes(range(32))
JWK = {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "BBBB"}
AUDIENCE = "https://verifier.example"


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def sized(data: bytes) -> bytes:
    return u16(len(data)) + data


def selection_entry(bank: str, indexes, *, size: int = 3) -> bytes:
    bitmap = sum(1 << index for index in indexes)
    return u16(BANKS[bank][0]) + bytes([size]) + bitmap.to_bytes(size, "little")


def attest(
    *,
    extra_data: bytes,
    entries: list[bytes],
    digest: bytes,
    magic: int = 0xFF544347,
    kind: int = 0x8018,
    firmware: int = 0x2019102300163636,
    safe: int = 1,
    tail: bytes = b"",
) -> bytes:
    return (
        magic.to_bytes(4, "big")
        + u16(kind)
        + sized(u16(0x000B) + bytes(32))
        + sized(extra_data)
        + (12345).to_bytes(8, "big")
        + (2).to_bytes(4, "big")
        + (1).to_bytes(4, "big")
        + bytes([safe])
        + firmware.to_bytes(8, "big")
        + len(entries).to_bytes(4, "big")
        + b"".join(entries)
        + sized(digest)
        + tail
    )


class EccKey:
    """An ECC attestation key that lives in this process."""

    def __init__(self, attributes: int = AK_ATTRIBUTES) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        self.public = (
            u16(0x0023)
            + u16(0x000B)
            + attributes.to_bytes(4, "big")
            + sized(b"")
            + u16(0x0010)
            + u16(0x0018)
            + u16(0x000B)
            + u16(0x0003)
            + u16(0x0010)
            + sized(numbers.x.to_bytes(32, "big"))
            + sized(numbers.y.to_bytes(32, "big"))
        )

    @property
    def name(self) -> bytes:
        return name_of(parse_public(self.public))

    def sign(self, message: bytes) -> bytes:
        r, s = utils.decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
        return u16(0x0018) + u16(0x000B) + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))


class RsaKey:
    """An RSA attestation key that lives in this process."""

    def __init__(self, scheme: int = 0x0014) -> None:
        self.scheme = scheme
        self.private = rsa.generate_private_key(65537, 2048)
        modulus = self.private.public_key().public_numbers().n.to_bytes(256, "big")
        self.public = (
            u16(0x0001)
            + u16(0x000B)
            + AK_ATTRIBUTES.to_bytes(4, "big")
            + sized(b"")
            + u16(0x0010)
            + u16(scheme)
            + u16(0x000B)
            + u16(2048)
            + bytes(4)
            + sized(modulus)
        )

    @property
    def name(self) -> bytes:
        return name_of(parse_public(self.public))

    def sign(self, message: bytes) -> bytes:
        if self.scheme == 0x0014:
            how: padding.AsymmetricPadding = padding.PKCS1v15()
        else:
            how = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
        return u16(self.scheme) + u16(0x000B) + sized(self.private.sign(message, how, hashes.SHA256()))


def registers(bank: str = "sha256", count: int = 16) -> dict[int, bytes]:
    return {index: bytes(BANKS[bank][1]) for index in range(count)}


def pcr_digest(*banks: dict[int, bytes]) -> bytes:
    return hashlib.sha256(b"".join(values[i] for values in banks for i in sorted(values))).digest()


def texts(values: dict[int, bytes]) -> dict[str, str]:
    return {str(index): value.hex() for index, value in values.items()}


def session(selection=None, **changes) -> SessionBinding:
    chosen = {"sha256": tuple(range(16))} if selection is None else selection
    members = {"nonce": NONCE, "tee_pubkey": JWK, "audience": AUDIENCE, "pcr_selection": chosen}
    return SessionBinding(**(members | changes))


def bound() -> bytes:
    return binding_digest(nonce=NONCE, tee_pubkey=JWK, audience=AUDIENCE, size=32)


def evidence(key, *, values=None, extra_data=None, quote=None, signature=None, **members) -> TpmEvidence:
    """Evidence by ``key`` over SHA-256 registers 0 to 15, unless told otherwise."""
    values = registers() if values is None else values
    if quote is None:
        quote = attest(
            extra_data=bound() if extra_data is None else extra_data,
            entries=[selection_entry("sha256", values)],
            digest=pcr_digest(values),
        )
    return TpmEvidence(
        quote=b64url_encode(quote),
        signature=b64url_encode(key.sign(quote) if signature is None else signature),
        ak_public=b64url_encode(key.public),
        pcrs=members.pop("pcrs", {"sha256": texts(values)}),
        **members,
    )


def trusting(key, **changes) -> TpmSettings:
    return TpmSettings(ak_names=frozenset({key.name}), **changes)
