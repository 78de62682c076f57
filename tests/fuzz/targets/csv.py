"""Hygon CSV: reports, certificates and the evidence of Confidential Containers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

from common.errors import TouchstoneError
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
    "csv_report": _report,
    "csv_certificates": _certificates,
    "csv_coco": _coco,
}
