"""Fuzz targets of the CC event log and its ACPI table."""

from __future__ import annotations

from common.checks import Checks
from common.errors import TouchstoneError
from testkit.swtpm import spec_id_record
from verifier.ccel import check_event_log
from verifier.ccel.table import parse_table

_HEADER = spec_id_record(["sha384"])
_REGISTERS = {index: bytes(48) for index in (1, 2, 3, 4)}


def log(data: bytes) -> None:
    """A whole log."""
    try:
        check_event_log(data, _REGISTERS, algorithm="sha384", checks=Checks(), name="fuzz")
    except TouchstoneError:
        pass


def records(data: bytes) -> None:
    """Records after a valid header."""
    log(_HEADER + data)


def table(data: bytes) -> None:
    """The ACPI table."""
    try:
        parse_table(data)
    except TouchstoneError:
        pass


TARGETS = {"ccel-log": log, "ccel-records": records, "ccel-table": table}
