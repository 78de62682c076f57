"""A test platform with SEV: AMD's two keys, a chip, an owner, firmware that attests and launches.

Everything is written by offsets of its own after the published layout, so that the verifier's parsers and
this do not share a mistake. The roots are made here: a verifier trusts them only where a test says so.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from collections.abc import Sequence

CEK, OCA, PEK, PDH, NONE = 0x1004, 0x1001, 0x1002, 0x1003, 0x1000
ASK: Final = 0x13
ECDSA, ECDH, RSA = 0x2, 0x3, 0x101
POLICY: Final = 0xF  # no debugging, no key sharing, encrypted state, no sending


def scalar(number: int, size: int = 72) -> bytes:
    """A number in little endian."""
    return number.to_bytes(size, "little")


def ecdsa(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """A signature with SHA-256: r and s."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return scalar(r) + scalar(s)


def amd_certificate(
    subject: rsa.RSAPrivateKey, issuer: rsa.RSAPrivateKey, ids: tuple[bytes, bytes], usage: int
) -> bytes:
    """A certificate in AMD's own format."""
    bits, numbers = subject.key_size, subject.public_key().public_numbers()
    head = struct.pack("<I16s16sI16sII", 1, *ids, usage, bytes(16), bits, bits)
    body = head + scalar(numbers.e, bits // 8) + scalar(numbers.n, bits // 8)
    return body + pss(issuer, body)


def pss(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    """A signature of an ARK or ASK, little endian."""
    digest = hashes.SHA256() if key.key_size == 2048 else hashes.SHA384()
    return key.sign(data, padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH), digest)[::-1]


def sev_certificate(
    key: ec.EllipticCurvePrivateKey,
    usage: int,
    algorithm: int,
    signers: Sequence[tuple[int, int, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]],
    *,
    api: tuple[int, int] = (0, 22),
) -> bytes:
    """A certificate of a platform's key."""
    numbers, curve = key.public_key().public_numbers(), {"secp256r1": 1, "secp384r1": 2}[key.curve.name]
    body = struct.pack("<IBBHII", 1, *api, 0, usage, algorithm)
    body += (struct.pack("<I", curve) + scalar(numbers.x) + scalar(numbers.y)).ljust(0x404, b"\0")
    slots = b""
    for signer_usage, signer_algorithm, signer in signers:
        made = ecdsa(signer, body) if isinstance(signer, ec.EllipticCurvePrivateKey) else pss(signer, body)
        slots += struct.pack("<II", signer_usage, signer_algorithm) + made.ljust(512, b"\0")
    for _ in range(2 - len(signers)):
        slots += struct.pack("<II", NONE, 0) + bytes(512)
    return body + slots


def _curve_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


class SevAuthority:
    """AMD's root and signing key of a product.

    Args:
        bits: 2048 (Naples) or 4096.
    """

    def __init__(self, bits: int = 4096) -> None:
        """Make both."""
        self.ark_key, self.ask_key = (rsa.generate_private_key(65537, bits) for _ in range(2))
        root, signing = bytes([1]) * 16, bytes([2]) * 16
        self.ark = amd_certificate(self.ark_key, self.ark_key, (root, root), 0)
        self.ask = amd_certificate(self.ask_key, self.ark_key, (signing, root), ASK)


@dataclass
class SevPlatform:
    """A machine: keys and certificates of its chip and owner."""

    authority: SevAuthority
    api: tuple[int, int, int] = (0, 22, 7)
    cek_key: ec.EllipticCurvePrivateKey = field(default_factory=_curve_key)
    oca_key: ec.EllipticCurvePrivateKey = field(default_factory=_curve_key)
    pek_key: ec.EllipticCurvePrivateKey = field(default_factory=_curve_key)
    pdh_key: ec.EllipticCurvePrivateKey = field(default_factory=_curve_key)

    def __post_init__(self) -> None:
        """Make the certificates."""
        rsa_algorithm = 0x1 if self.authority.ask_key.key_size == 2048 else RSA
        self.cek = sev_certificate(self.cek_key, CEK, ECDSA, [(ASK, rsa_algorithm, self.authority.ask_key)])
        self.oca = sev_certificate(self.oca_key, OCA, ECDSA, [(OCA, ECDSA, self.oca_key)])
        signers = [(OCA, ECDSA, self.oca_key), (CEK, ECDSA, self.cek_key)]
        self.pek = sev_certificate(self.pek_key, PEK, ECDSA, signers, api=self.api[:2])
        self.pdh = sev_certificate(self.pdh_key, PDH, ECDH, [(PEK, ECDSA, self.pek_key)])

    def report(
        self, digest: bytes, policy: int = POLICY, nonce: bytes = bytes(16), *, usage: int = PEK
    ) -> bytes:
        """The answer to ATTESTATION."""
        body = nonce + digest + struct.pack("<I", policy)
        return body + struct.pack("<II4x", usage, ECDSA) + ecdsa(self.pek_key, body)

    def launch(self, session: bytes, owner: bytes, policy: int) -> SevLaunch:
        """LAUNCH_START.

        Raises:
            ValueError: a MAC does not hold.
        """
        x, y = (int.from_bytes(owner[0x14 + 72 * i : 0x5C + 72 * i], "little") for i in (0, 1))
        peer = ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
        nonce, wrapped, iv, wrapped_mac, policy_mac = struct.unpack("<16s32s16s32s32s", session)
        master = _kdf(self.pdh_key.exchange(ec.ECDH(), peer), b"sev-master-secret", nonce)
        kek, kik = _kdf(master, b"sev-kek", b""), _kdf(master, b"sev-kik", b"")
        if hmac.new(kik, wrapped, hashlib.sha256).digest() != wrapped_mac:
            raise ValueError("the session's keys are not for this platform")
        keys = _ctr(kek, iv, wrapped)
        if hmac.new(keys[16:], struct.pack("<I", policy), hashlib.sha256).digest() != policy_mac:
            raise ValueError("the session is for another policy")
        return SevLaunch(self.api, policy, keys[:16], keys[16:])


@dataclass
class SevLaunch:
    """A guest that is being launched."""

    api: tuple[int, int, int]
    policy: int
    tek: bytes
    tik: bytes
    measure: bytes = b""

    def measured(self, digest: bytes, nonce: bytes = bytes([7]) * 16) -> bytes:
        """LAUNCH_MEASURE: HMAC and nonce."""
        message = bytes([4, *self.api]) + struct.pack("<I", self.policy) + digest + nonce
        self.measure = hmac.new(self.tik, message, hashlib.sha256).digest()
        return self.measure + nonce

    def opened(self, header: bytes, data: bytes) -> bytes:
        """LAUNCH_SECRET: what the guest will find.

        Raises:
            ValueError: the MAC does not hold.
        """
        flags, iv, mac = struct.unpack("<4s16s32s", header)
        message = b"\x01" + flags + iv + struct.pack("<II", len(data), len(data)) + data + self.measure
        if hmac.new(self.tik, message, hashlib.sha256).digest() != mac:
            raise ValueError("the packet is not for this launch")
        return _ctr(self.tek, iv, data)


def _kdf(key: bytes, label: bytes, context: bytes) -> bytes:
    message = struct.pack("<I", 1) + label + b"\0" + context + struct.pack("<I", 128)
    return hmac.new(key, message, hashlib.sha256).digest()[:16]


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(iv)).decryptor().update(data)
