"""IBM Secure Execution evidence: an attestation measurement of the ultravisor, through ``/dev/uv``.

The KBS's nonce is an attestation request (JSON); the client adds ``runtime_data_digest`` to it. What the
ultravisor measures is bound to request, user data (that digest, 64 bytes) and the guest.

Structs, in the machine's byte order::

    uvio_ioctl_cb  u32 flags, u16 uv_rc, u16 uv_rrc, u64 argument, u32 length, 44 bytes            64 bytes
    uvio_attest    u64 request, u64 measurement, u64 additional data, u8 user_data[256], u8 uid[16],
                   u32 and u32 and u32 their lengths, u16 user data's length, 2 bytes             312 bytes

Sources: Linux, arch/s390/include/uapi/asm/uvdevice.h; guest-components, attester ``se``.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.encoding import b64_decode, b64_encode
from common.errors import InputError, Malformed
from common.runtime_data import fitted
from guest_agent.attesters.ioctl import Buffer, Device, iowr
from guest_agent.errors import EvidenceNotMade

if TYPE_CHECKING:
    from guest_agent.coco.protocol import Registers

DEVICE: Final = Path("/dev/uv")
_CONTROL: Final = struct.Struct("=IHHQI44x")
_ATTEST: Final = struct.Struct("=QQQ256s16sIIIHH")
UVIO_IOCTL_ATT: Final = iowr("u", 1, _CONTROL.size)
_EXECUTED: Final = 0x0001
_USER_DATA: Final = 64
_USER_DATA_FIELD: Final = 256
_MAX_REQUEST: Final = 0x100000
_MAX_ANSWER: Final = 0x8000
_PASSED_ON: Final = ("encr_measurement_key", "encr_request_nonce", "image_hdr_tags")


class _Request(msgspec.Struct, frozen=True):
    request_blob: str
    measurement_size: int
    additional_size: int
    encr_measurement_key: str
    encr_request_nonce: str
    image_hdr_tags: str
    runtime_data_digest: str


class SeAttester:
    """Makes Secure Execution evidence.

    Args:
        device: ``/dev/uv``.
    """

    def __init__(self, device: Device | None = None) -> None:
        """Keep it; nothing is opened yet."""
        self._device = device or Device(DEVICE)

    @property
    def tee(self) -> str:
        """``se``."""
        return "se"

    @property
    def registers(self) -> Registers | None:
        """None."""
        return None

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """The ultravisor's answer to a KBS's attestation request.

        Args:
            report_data: the request as JSON, with ``runtime_data_digest`` (base64).

        Raises:
            Malformed: not such a request.
            TeeUnavailable: no such device.
            EvidenceNotMade: the ultravisor refuses.
        """
        try:
            request = msgspec.json.decode(report_data, type=_Request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Malformed("evidence of IBM SE answers a KBS's attestation request alone") from error
        blob = b64_decode(request.request_blob, what="request_blob")
        digest = b64_decode(request.runtime_data_digest, what="runtime_data_digest")
        sizes = (request.measurement_size, request.additional_size)
        if not 0 < len(blob) <= _MAX_REQUEST or len(digest) > _USER_DATA:
            raise Malformed("the attestation request has an empty or oversized member")
        if not all(0 <= size <= _MAX_ANSWER for size in sizes):
            raise Malformed("the attestation request asks for more than an ultravisor gives")
        user_data = fitted(digest, _USER_DATA)
        measurement, additional, uid = self._attest(blob, user_data, sizes)
        answer = {
            "measurement": b64_encode(measurement),
            "additional_data": b64_encode(additional),
            "user_data": b64_encode(user_data),
            "cuid": b64_encode(uid),
        }
        return answer | {name: _canonical(getattr(request, name)) for name in _PASSED_ON}

    def init_data_digest(self) -> bytes | None:
        """None: evidence of IBM SE carries no init-data."""
        return None

    def _attest(self, blob: bytes, user_data: bytes, sizes: tuple[int, int]) -> tuple[bytes, bytes, bytes]:
        request, measurement, additional = Buffer(blob), Buffer(b"", sizes[0]), Buffer(b"", sizes[1])
        asked = Buffer(
            _ATTEST.pack(
                request.address,
                measurement.address,
                additional.address,
                user_data.ljust(_USER_DATA_FIELD, b"\0"),
                bytes(16),
                len(blob),
                *sizes,
                len(user_data),
                0,
            )
        )
        argument = bytearray(_CONTROL.pack(0, 0, 0, asked.address, _ATTEST.size))
        self._device.call(UVIO_IOCTL_ATT, argument, failure="get an attestation measurement")
        _, code, reason, _, _ = _CONTROL.unpack(argument)
        if code != _EXECUTED:
            raise EvidenceNotMade(f"the ultravisor refuses ({code:#06x}, {reason:#06x})")
        answer = _ATTEST.unpack(asked.data)
        if answer[6] > sizes[0] or answer[7] > sizes[1]:
            raise EvidenceNotMade("the ultravisor says that it gave more than there was room for")
        return measurement.data[: answer[6]], additional.data[: answer[7]], answer[4]


def _canonical(text: str) -> str:
    try:
        return b64_encode(b64_decode(text, what="attestation request"))
    except InputError as error:
        raise Malformed("the attestation request has a member that is not base64") from error
