"""Parsers of SEV: any bytes give a value or one of our errors."""

from __future__ import annotations

from collections.abc import Callable

from common.errors import TouchstoneError
from verifier.sev.amd_certificate import parse_amd_certificate
from verifier.sev.certificate import parse_point, parse_sev_certificate
from verifier.sev.report import parse_report


def _swallowing(parse: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        try:
            parse(data)
        except TouchstoneError:
            return

    return target


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sev_report": _swallowing(parse_report),
    "sev_certificate": _swallowing(parse_sev_certificate),
    "sev_amd_certificate": _swallowing(parse_amd_certificate),
    "sev_point": _swallowing(parse_point),
}
