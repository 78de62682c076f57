"""Hygon CSV: reports, certificates and the evidence of Confidential Containers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

from common.errors import TouchstoneError
from testkit.csv_platform import CsvPlatform
from verifier.csv.certificates import parse_ca_certificate, parse_csv_certificate
from verifier.csv.coco import CsvCocoForm
from verifier.csv.report import parse_report
from verifier.csv.tee import contents, recognise

_FORM = CsvCocoForm()


def _report(data: bytes) -> None:
    """The first byte says the version; a recognised report must also give contents."""
    with contextlib.suppress(TouchstoneError):
        parse_report(data[1:], data[0] if data else 0)
    found = recognise(data)
    if found is not None:
        contents(found)


def _certificates(data: bytes) -> None:
    for parse in (parse_ca_certificate, parse_csv_certificate):
        with contextlib.suppress(TouchstoneError):
            parse(data, "certificate")


def _coco(data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    with contextlib.suppress(TouchstoneError):
        _FORM.evidence_of(document)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "csv-report": _report,
    "csv-certificates": _certificates,
    "csv-coco": _coco,
}
_PLATFORM = CsvPlatform()
SEEDS = {
    "csv-report": [
        b"\1" + _PLATFORM.report(1, masked=True),
        b"\2" + _PLATFORM.report(2),
        _PLATFORM.report(1),
    ],
    "csv-certificates": [_PLATFORM.hrk, _PLATFORM.hsk, _PLATFORM.cek, _PLATFORM.pek],
    "csv-coco": [
        b'{"attestation_report":{"magic":[0],"flags":0,"data":[0]},"cert_chain":{"pek":{}},"serial_number":[65]}'
    ],
}
