"""The guest owner's session with a platform: keys that only the platform's firmware can read.

Before the launch the owner agrees a secret with the platform's PDH (whose chain is verified first),
derives a key from it, and wraps with that the two keys of the session: TEK (encryption) and TIK
(integrity). The firmware then measures the launch under TIK (``verifier.sev.launch``).

All functions are pure: random values come in as ``SessionKeys``.

Source: AMD SEV API (publication 55766), sections 2.2.2 (trusted channel), 6.2 (LAUNCH_START), appendix A.
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256

from common.errors import InvalidSetting
from verifier.sev.certificate import (
    CERTIFICATE_BYTES,
    COMPONENT_BYTES,
    ECDH_SHA256,
    ECDSA_SHA256,
    USAGE_NONE,
    USAGE_PDH,
    USAGE_PEK,
    parse_sev_certificate,
    point_bytes,
)

KEY_BYTES: Final = 16
POLICY_BYTES: Final = 4
_MASTER: Final = b"sev-master-secret"
_KEK: Final = b"sev-kek"
_KIK: Final = b"sev-kik"
_BITS: Final = 8
_DIGEST: Final = 32
_SECOND_SIGNATURE: Final = 0x61C
_SIGNATURE_BYTES: Final = 512


class SessionKeys(msgspec.Struct, frozen=True):
    """What a session is made of; none of it may be used twice.

    Attributes:
        tek: transport encryption key, 16 bytes.
        tik: transport integrity key, 16 bytes.
        nonce: 16 bytes.
        iv: 16 bytes.
        private_key: Diffie-Hellman key on the PDH's curve.
    """

    tek: bytes
    tik: bytes
    nonce: bytes
    iv: bytes
    private_key: ec.EllipticCurvePrivateKey

    def __post_init__(self) -> None:
        """Refuse values of another size.

        Raises:
            InvalidSetting: one has not 16 bytes.
        """
        if {len(self.tek), len(self.tik), len(self.nonce), len(self.iv)} != {KEY_BYTES}:
            raise InvalidSetting(f"keys, nonce and initialisation vector have {KEY_BYTES} bytes each")


class Session(msgspec.Struct, frozen=True):
    """The session buffer of LAUNCH_START.

    Attributes:
        nonce: of the key derivation.
        wrapped: TEK and TIK, encrypted.
        iv: of that encryption.
        wrapped_mac: over ``wrapped``.
        policy_mac: over the guest policy, by TIK.
    """

    nonce: bytes
    wrapped: bytes
    iv: bytes
    wrapped_mac: bytes
    policy_mac: bytes

    @property
    def raw(self) -> bytes:
        """The 128 bytes that the firmware reads."""
        return self.nonce + self.wrapped + self.iv + self.wrapped_mac + self.policy_mac


def derive(key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """Key derivation: SP 800-108 in counter mode with HMAC-SHA-256; integers little endian."""
    bits = (size * _BITS).to_bytes(4, "little")
    blocks = (
        hmac.digest(key, counter.to_bytes(4, "little") + label + b"\0" + context + bits, "sha256")
        for counter in range(1, -(-size // _DIGEST) + 1)
    )
    return b"".join(blocks)[:size]


def mac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(key, data, "sha256")


def crypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-128 in counter mode, which is its own inverse."""
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


def start_session(pdh: ec.EllipticCurvePublicKey, policy: int, keys: SessionKeys) -> Session:
    """The session buffer for the platform whose verified PDH this is.

    Raises:
        InvalidSetting: keys on two curves, a policy of more than 32 bits.
    """
    if keys.private_key.curve.name != pdh.curve.name or not 0 <= policy < 1 << POLICY_BYTES * _BITS:
        raise InvalidSetting("the session's key is on the PDH's curve, and a policy has 32 bits")
    return wrap_keys(keys.private_key.exchange(ec.ECDH(), pdh), policy, keys)


def wrap_keys(shared: bytes, policy: int, keys: SessionKeys) -> Session:
    """The session buffer from the agreed secret (x-coordinate, big endian)."""
    master = derive(shared, _MASTER, keys.nonce, KEY_BYTES)
    kek, kik = derive(master, _KEK, b"", KEY_BYTES), derive(master, _KIK, b"", KEY_BYTES)
    wrapped = crypt(kek, keys.iv, keys.tek + keys.tik)
    policy_mac = mac(keys.tik, policy.to_bytes(POLICY_BYTES, "little"))
    return Session(keys.nonce, wrapped, keys.iv, mac(kik, wrapped), policy_mac)


def owner_certificate(private_key: ec.EllipticCurvePrivateKey) -> bytes:
    """The owner's Diffie-Hellman certificate (GODH), signed by its own key: nothing vouches for owners."""
    head = (1).to_bytes(4, "little") + bytes(4)
    head += USAGE_PDH.to_bytes(4, "little") + ECDH_SHA256.to_bytes(4, "little")
    body = head + point_bytes(private_key.public_key())
    r, s = decode_dss_signature(private_key.sign(body, ec.ECDSA(SHA256())))
    signature = r.to_bytes(COMPONENT_BYTES, "little") + s.to_bytes(COMPONENT_BYTES, "little")
    body += USAGE_PEK.to_bytes(4, "little") + ECDSA_SHA256.to_bytes(4, "little")
    body += signature.ljust(_SIGNATURE_BYTES, b"\0")
    assert len(body) == _SECOND_SIGNATURE
    whole = (body + USAGE_NONE.to_bytes(4, "little")).ljust(CERTIFICATE_BYTES, b"\0")
    return parse_sev_certificate(whole).raw
