"""CSV evidence of a platform of ours as a guest of Confidential Containers sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testkit.csv_platform import SERIAL_NUMBER
from verifier.csv.coco_json import CA_CERTIFICATE, CSV_CERTIFICATE, Number, Octets, Pair

if TYPE_CHECKING:
    from testkit.csv_platform import CsvPlatform, ReportFields


def coco_document(
    platform: CsvPlatform, version: int, fields: ReportFields | None = None
) -> dict[str, Any]:
    """The evidence, HSK and CEK in it."""
    magic = bytes(16) if version == 1 else b"ATTESTATION_EXT\0"
    report = platform.report(version, fields)
    return {
        "attestation_report": {"magic": list(magic), "flags": version - 1, "data": list(report)},
        "cert_chain": {
            "hsk_cek": {
                "hsk": _json(platform.hsk, CA_CERTIFICATE),
                "cek": _json(platform.cek, CSV_CERTIFICATE),
            },
            "pek": _json(platform.pek, CSV_CERTIFICATE),
        },
        "serial_number": list(SERIAL_NUMBER.encode().ljust(64, b"\0")),
        "cc_eventlog": None,
    }


def _json(data: bytes, layout: Any) -> Any:
    """A structure as serde writes it: the inverse of ``coco_json.to_bytes``."""
    value, rest = _taken(data, layout)
    assert rest == b""
    return value


def _taken(data: bytes, layout: Any) -> tuple[Any, bytes]:
    if isinstance(layout, Octets):
        return list(data[: layout.size]), data[layout.size :]
    if isinstance(layout, Number):
        return int.from_bytes(data[: layout.size], "little"), data[layout.size :]
    if isinstance(layout, Pair):
        first, data = _taken(data, layout.layout)
        second, data = _taken(data, layout.layout)
        return [first, second], data
    members = {}
    for name, part in layout:
        members[name], data = _taken(data, part)
    return members, data
