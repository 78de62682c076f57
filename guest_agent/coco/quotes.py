"""Where Intel quotes carry init-data. Nothing is verified: the guest looks at its own quote.

Sources: Intel TDX DCAP quote format, versions 4 and 5; Intel SGX DCAP quote format, version 3.
"""

from __future__ import annotations

from typing import Final

from guest_agent.errors import EvidenceNotMade

_HEADER: Final = 48
_DESCRIPTOR: Final = 6  # of version 5: u16 type, u32 size
_MR_CONFIG_ID: Final = 0x0B8
_MR_CONFIG_ID_BYTES: Final = 48
_CONFIG_ID: Final = 0x0C0
_CONFIG_ID_BYTES: Final = 64
_TDX_BODIES: Final = {4: _HEADER, 5: _HEADER + _DESCRIPTOR}
_SGX_VERSION: Final = 3


def mr_config_id(quote: bytes) -> bytes:
    """MRCONFIGID of a TDX quote, 48 bytes.

    Raises:
        EvidenceNotMade: not a TDX quote of version 4 or 5.
    """
    body = _TDX_BODIES.get(int.from_bytes(quote[:2], "little"))
    if body is None:
        raise EvidenceNotMade("the TDX module gave a quote of an unknown version")
    return _field(quote, body + _MR_CONFIG_ID, _MR_CONFIG_ID_BYTES)


def config_id(quote: bytes) -> bytes:
    """CONFIGID of an SGX quote, 64 bytes.

    Raises:
        EvidenceNotMade: not an SGX quote of version 3.
    """
    if int.from_bytes(quote[:2], "little") != _SGX_VERSION:
        raise EvidenceNotMade("the enclave gave a quote of an unknown version")
    return _field(quote, _HEADER + _CONFIG_ID, _CONFIG_ID_BYTES)


def _field(quote: bytes, offset: int, size: int) -> bytes:
    field = quote[offset : offset + size]
    if len(field) != size:
        raise EvidenceNotMade("the quote is cut short")
    return field
