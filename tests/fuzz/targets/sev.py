"""Parsers of SEV: any bytes give a value or one of our errors."""

from __future__ import annotations

import struct
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import TouchstoneError
from verifier import vendor_roots
from verifier.sev.amd_certificate import parse_amd_certificate
from verifier.sev.certificate import parse_point, parse_sev_certificate, point_bytes
from verifier.sev.report import parse_report
from verifier.sev.session import owner_certificate


def _swallowing(parse: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        try:
            parse(data)
        except TouchstoneError:
            return

    return target


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sev-report": _swallowing(parse_report),
    "sev-certificate": _swallowing(parse_sev_certificate),
    "sev-amd-certificate": _swallowing(parse_amd_certificate),
    "sev-point": _swallowing(parse_point),
}

_AMD = [f"amd-sev/{kind}-{name}.cert" for kind in ("ark", "ask") for name in ("naples", "rome")]
_KEY = ec.derive_private_key(7, ec.SECP384R1())
SEEDS: dict[str, tuple[bytes, ...]] = {
    "sev-report": (struct.pack("<16s32sIII4x144x", b"", b"", 0xF, 0x1002, 2),),
    "sev-certificate": (owner_certificate(_KEY),),
    "sev-amd-certificate": tuple(vendor_roots.load_raw(file) for file in _AMD),
    "sev-point": (point_bytes(_KEY.public_key()),),
}
