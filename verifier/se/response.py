"""What the Ultravisor answers: a measurement, over everything that it says of the guest.

The measurement is an HMAC-SHA-512, keyed by the request's measurement key, over (big endian)::

    page list digest (64) | address list digest (64) | tweak list digest (64) | header tag (16)
    configuration unique id (16) | length of user data (2) | zero (2) | length of additional data (4)
    user data (0 to 256) | nonce (16) | additional data

Additional data is the concatenation of what the request's flags asked for, in the order of the flags.

Source: s390-tools, ``rust/pv/src/uvattest/attest.rs`` and ``additional.rs``.
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from common.binary import Reader
from common.errors import Malformed
from verifier.se.header import HeaderTags  # noqa: TC001 (msgspec resolves it at run time)
from verifier.se.request import (
    FLAG_ATTESTATION_PHKH,
    FLAG_FIRMWARE,
    FLAG_IMAGE_PHKH,
    FLAG_SECRET_STORE,
    MEASUREMENT_BYTES,
)

CUID_BYTES: Final = 16
MAX_USER_DATA: Final = 256
MAX_ADDITIONAL: Final = 8 * 4096  # pages that the kernel's interface has for it
_PHKH: Final = 32
_SECRET_STORE: Final = 64
_FIRMWARE: Final = 320


class Response(msgspec.Struct, frozen=True):
    """An answer, as received; its sizes are known to be possible.

    Attributes:
        measurement: HMAC, 64 bytes.
        tags: of the image's header.
        cuid: configuration unique id, 16 bytes: another at every start of a guest.
        user_data: what the guest gave, at most 256 bytes.
        additional: what the Ultravisor added.
    """

    measurement: bytes
    tags: HeaderTags
    cuid: bytes
    user_data: bytes
    additional: bytes

    def __post_init__(self) -> None:
        """Refuse impossible sizes.

        Raises:
            Malformed: one is.
        """
        if len(self.measurement) != MEASUREMENT_BYTES or len(self.cuid) != CUID_BYTES:
            raise Malformed(
                f"a measurement has {MEASUREMENT_BYTES} bytes and a configuration id {CUID_BYTES}, "
                f"not {len(self.measurement)} and {len(self.cuid)}"
            )
        if len(self.user_data) > MAX_USER_DATA or len(self.additional) > MAX_ADDITIONAL:
            raise Malformed(
                f"user data has at most {MAX_USER_DATA} bytes and additional data {MAX_ADDITIONAL}, "
                f"not {len(self.user_data)} and {len(self.additional)}"
            )


class AdditionalData(msgspec.Struct, frozen=True):
    """What was asked for, and answered.

    Attributes:
        image_phkh: hash of the host key that opened the image; None: not asked for.
        attestation_phkh: hash of the host key that opened the request.
        secret_store: SHA-512 over the tags of the secrets that were added, and whether the store is locked.
        firmware: state of the firmware, for IBM to read.
    """

    image_phkh: bytes | None
    attestation_phkh: bytes | None
    secret_store: bytes | None
    firmware: bytes | None


def measured_items(response: Response, nonce: bytes) -> bytes:
    """Everything that the measurement covers, in its order."""
    return b"".join(
        (
            response.tags.raw,
            response.cuid,
            len(response.user_data).to_bytes(2, "big"),
            bytes(2),
            len(response.additional).to_bytes(4, "big"),
            response.user_data,
            nonce,
            response.additional,
        )
    )


def measurement_of(response: Response, key: bytes, nonce: bytes) -> bytes:
    """The measurement that an Ultravisor makes of this under a key and nonce (empty: no nonce)."""
    return hmac.digest(key, measured_items(response, nonce), "sha512")


def parse_additional(data: bytes, flags: int) -> AdditionalData:
    """Take additional data apart as ``flags`` asked for it.

    Raises:
        Malformed: shorter or longer than that.
    """
    reader = Reader(data, "additional data", "big")

    def field(flag: int, size: int, name: str) -> bytes | None:
        return reader.take(size, name) if flags & flag else None

    found = AdditionalData(
        field(FLAG_IMAGE_PHKH, _PHKH, "host-key hash of the image"),
        field(FLAG_ATTESTATION_PHKH, _PHKH, "host-key hash of the request"),
        field(FLAG_SECRET_STORE, _SECRET_STORE, "state of the secret store"),
        field(FLAG_FIRMWARE, _FIRMWARE, "state of the firmware"),
    )
    if reader.remaining:
        raise Malformed(f"additional data has {reader.remaining} bytes that were not asked for")
    return found


def additional_size(flags: int) -> int:
    """Bytes of additional data that an answer to these flags has."""
    sizes = {
        FLAG_IMAGE_PHKH: _PHKH,
        FLAG_ATTESTATION_PHKH: _PHKH,
        FLAG_SECRET_STORE: _SECRET_STORE,
        FLAG_FIRMWARE: _FIRMWARE,
    }
    return sum(size for flag, size in sizes.items() if flags & flag)
