"""Intel SGX evidence: a DCAP quote, from Gramine's ``/dev/attestation`` or Occlum's ``/dev/sgx``.

Gramine: 64 bytes go to ``user_report_data``, then ``quote`` is read. Occlum: one call tells the quote's
size, another makes it; the struct is three addresses (report data, length in and out, quote).

Sources: Gramine documentation, "Attestation and secret provisioning"; Occlum,
``tools/toolchains/dcap_lib``.
"""

from __future__ import annotations

import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64_encode
from common.runtime_data import fitted
from guest_agent.attesters.ioctl import Buffer, Device, ior, iowr
from guest_agent.coco.quotes import config_id
from guest_agent.errors import EvidenceNotMade, TeeUnavailable

if TYPE_CHECKING:
    from guest_agent.coco.protocol import Registers

GRAMINE: Final = "dev/attestation"
OCCLUM: Final = "dev/sgx"
_REPORT_DATA: Final = 64
_MAX_QUOTE: Final = 64 << 10
_SIZE: Final = struct.Struct("<I")
_GENERATE: Final = struct.Struct("<QQQ")
SGXIOC_GET_DCAP_QUOTE_SIZE: Final = ior("s", 7, _SIZE.size)
SGXIOC_GEN_DCAP_QUOTE: Final = iowr("s", 8, _GENERATE.size)


class SgxAttester:
    """Makes SGX evidence inside an enclave.

    Args:
        root: of the enclave's file system.
        device: Occlum's ``/dev/sgx``.
    """

    def __init__(self, root: Path = Path("/"), *, device: Device | None = None) -> None:
        """Keep the paths; nothing is opened yet."""
        self._gramine = root / GRAMINE
        self._device = device or Device(root / OCCLUM)
        self._lock = threading.Lock()

    @property
    def tee(self) -> str:
        """``sgx``."""
        return "sgx"

    @property
    def registers(self) -> Registers | None:
        """None: an enclave has no runtime registers."""
        return None

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """A quote over ``report_data``.

        Raises:
            TeeUnavailable: neither library OS shows its interface.
            EvidenceNotMade: no quote.
        """
        return {"quote": b64_encode(self._quote(fitted(report_data, _REPORT_DATA)))}

    def init_data_digest(self) -> bytes | None:
        """CONFIGID, 64 bytes; errors as ``evidence``."""
        return config_id(self._quote(bytes(_REPORT_DATA)))

    def _quote(self, report_data: bytes) -> bytes:
        with self._lock:  # two writers would read each other's quote
            if self._gramine.is_dir():
                quote = self._gramine_quote(report_data)
            else:
                quote = self._occlum_quote(report_data)
        if not 0 < len(quote) <= _MAX_QUOTE:
            raise EvidenceNotMade(f"the enclave gave a quote of {len(quote)} bytes")
        return quote

    def _gramine_quote(self, report_data: bytes) -> bytes:
        try:
            (self._gramine / "user_report_data").write_bytes(report_data)
            with (self._gramine / "quote").open("rb") as file:
                return file.read(_MAX_QUOTE + 1)
        except OSError as error:
            raise TeeUnavailable(
                f"Gramine gives no quote ({error.strerror})",
                advice='The manifest needs sgx.remote_attestation = "dcap".',
            ) from error

    def _occlum_quote(self, report_data: bytes) -> bytes:
        size = bytearray(_SIZE.size)
        self._device.call(SGXIOC_GET_DCAP_QUOTE_SIZE, size, failure="ask for a quote's size")
        (room,) = _SIZE.unpack(size)
        if not 0 < room <= _MAX_QUOTE:
            raise EvidenceNotMade(f"Occlum says that a quote has {room} bytes")
        data, length, quote = Buffer(report_data), Buffer(bytes(size)), Buffer(b"", room)
        argument = bytearray(_GENERATE.pack(data.address, length.address, quote.address))
        self._device.call(SGXIOC_GEN_DCAP_QUOTE, argument, failure="make a quote")
        return quote.data[: _SIZE.unpack(length.data)[0]]
