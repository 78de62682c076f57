"""The launch protocol: the measurement under the session's key, and secrets wrapped for this launch alone.

The firmware answers LAUNCH_MEASURE with HMAC-SHA-256 under TIK over::

    04 | firmware API major (1) | minor (1) | build (1) | policy (4) | launch digest (32) | nonce (16)

Only firmware that could unwrap TIK makes it: so a measurement that holds proves launch digest, policy and
firmware to the owner of the session. Then, and only then, a secret may be wrapped (LAUNCH_SECRET):
encrypted with TEK, with a header whose HMAC under TIK covers it *and* the measurement, so that it opens in
this launch and no other::

    01 | flags (4) | IV (16) | guest length (4) | transport length (4) | data | measurement

That is why ``wrap_secret`` takes a ``VerifiedLaunch``, which ``verify_launch`` alone makes.

Firmware before API 0.17 measured without context and version: it is refused.

Source: AMD SEV API (publication 55766), sections 6.5 (LAUNCH_MEASURE), 6.6 (LAUNCH_SECRET); OVMF, SEV
secret table (``OvmfPkg/Include/Guid/ConfidentialComputingSecret.h``).
"""

from __future__ import annotations

import hmac
import uuid
from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import InvalidSetting, Malformed
from verifier.errors import SignatureInvalid, UnsupportedEvidence
from verifier.sev.session import KEY_BYTES, POLICY_BYTES, crypt, mac

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verifier.sev.session import SessionKeys

MEASUREMENT_BYTES: Final = 48  # HMAC and nonce, as LAUNCH_MEASURE returns them
MAX_SECRET: Final = 16 << 10
_MEASURE: Final = b"\x04"
_SECRET: Final = b"\x01"
_DIGEST: Final = 32
_MINIMUM_API: Final = (0, 17)
_BYTE: Final = 256
_BLOCK: Final = 16
_TABLE_GUID: Final = uuid.UUID("1e74f542-71dd-4d66-963e-ef4287ff173b")
_ENTRY_HEADER: Final = 16 + 4


class Firmware(msgspec.Struct, frozen=True):
    """Version of the platform's firmware, as PLATFORM_STATUS says it; the measurement covers it."""

    major: int
    minor: int
    build: int

    def __post_init__(self) -> None:
        """Refuse what has no place in a byte.

        Raises:
            InvalidSetting: a number is none of 0 to 255.
        """
        if not all(0 <= number < _BYTE for number in (self.major, self.minor, self.build)):
            raise InvalidSetting("firmware version numbers are 0 to 255")


class VerifiedLaunch(msgspec.Struct, frozen=True):
    """A launch whose measurement held.

    Attributes:
        keys: of the session.
        measure: the HMAC.
        launch_digest: what was launched.
        policy: under which policy.
        firmware: on which firmware.
    """

    keys: SessionKeys
    measure: bytes
    launch_digest: bytes
    policy: int
    firmware: Firmware


class SecretPacket(msgspec.Struct, frozen=True):
    """What LAUNCH_SECRET takes.

    Attributes:
        header: flags, initialisation vector, HMAC (52 bytes).
        data: the encrypted secret.
    """

    header: bytes
    data: bytes


def measure(tik: bytes, firmware: Firmware, policy: int, launch_digest: bytes, nonce: bytes) -> bytes:
    """The HMAC that firmware makes of a launch."""
    message = _MEASURE + bytes((firmware.major, firmware.minor, firmware.build))
    return mac(tik, message + policy.to_bytes(POLICY_BYTES, "little") + launch_digest + nonce)


def verify_launch(
    measurement: bytes, keys: SessionKeys, *, firmware: Firmware, policy: int, launch_digest: bytes
) -> VerifiedLaunch:
    """Verify what LAUNCH_MEASURE returned.

    Args:
        measurement: HMAC (32) and the firmware's nonce (16).
        keys: of the session that the launch was started with.
        firmware: that the platform says it runs.
        policy: that the session was made for.
        launch_digest: that is expected.

    Raises:
        Malformed: another length. UnsupportedEvidence: firmware before API 0.17.
        SignatureInvalid: digest, policy, firmware or session is another.
    """
    if len(measurement) != MEASUREMENT_BYTES or len(launch_digest) != _DIGEST:
        raise Malformed(f"a launch measurement has {MEASUREMENT_BYTES} bytes and a digest {_DIGEST}")
    if (firmware.major, firmware.minor) < _MINIMUM_API:
        raise UnsupportedEvidence("firmware before API 0.17 measures without its version")
    received, nonce = measurement[:_DIGEST], measurement[_DIGEST:]
    if not hmac.compare_digest(measure(keys.tik, firmware, policy, launch_digest, nonce), received):
        raise SignatureInvalid(
            "the launch measurement is not that of this digest, policy, firmware, session"
        )
    return VerifiedLaunch(keys, received, launch_digest, policy, firmware)


def wrap_secret(launch: VerifiedLaunch, secret: bytes, iv: bytes) -> SecretPacket:
    """Wrap a secret so that it opens in this launch alone.

    Args:
        launch: whose measurement held.
        secret: a multiple of 16 bytes, as the firmware demands (``secret_table`` gives such).
        iv: 16 random bytes, another for every packet.

    Raises:
        InvalidSetting: another size of the secret, or of the initialisation vector.
    """
    if not 0 < len(secret) <= MAX_SECRET or len(secret) % _BLOCK or len(iv) != KEY_BYTES:
        raise InvalidSetting(
            f"a secret has up to {MAX_SECRET} bytes, a multiple of {_BLOCK}; its IV has 16"
        )
    flags = bytes(4)  # not compressed
    data = crypt(launch.keys.tek, iv, secret)
    size = len(data).to_bytes(4, "little")
    covered = _SECRET + flags + iv + size + size + data + launch.measure
    return SecretPacket(flags + iv + mac(launch.keys.tik, covered), data)


def secret_table(secrets: Mapping[uuid.UUID, bytes]) -> bytes:
    """The table of secrets that OVMF hands to the guest, padded to whole blocks.

    Raises:
        InvalidSetting: no secret, or more than fits a packet.
    """
    entries = b"".join(
        name.bytes_le + (_ENTRY_HEADER + len(data)).to_bytes(4, "little") + data
        for name, data in secrets.items()
    )
    table = _TABLE_GUID.bytes_le + (_ENTRY_HEADER + len(entries)).to_bytes(4, "little") + entries
    padded = table + bytes(-len(table) % _BLOCK)
    if not secrets or len(padded) > MAX_SECRET:
        raise InvalidSetting(f"a secret table has at least one secret and at most {MAX_SECRET} bytes")
    return padded
