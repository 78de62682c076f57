"""Fuzz targets of documents: attestations of every envelope, evidence files, init-data, tokens."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

from common import init_data, strict_json
from common.errors import TouchstoneError
from provenance import dsse
from provenance.layout.bundle import parse as parse_layout_bundle
from provenance.reader import receive
from provenance.sigstore import bundle_format
from provenance.statement import parse as parse_statement
from service import inspection

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def envelope(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        received = receive(data)
        if received.document is not None:
            with contextlib.suppress(TouchstoneError):
                dsse.parse(received.document)
            with contextlib.suppress(TouchstoneError):
                bundle_format.parse(received.document)
            with contextlib.suppress(TouchstoneError):
                parse_layout_bundle(received.document)


def statement(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        parse_statement(data)


def evidence_file(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        evidence = inspection.recognise(data)
        inspection.unverified_contents(evidence)
        inspection.verify(evidence, inspection.Inspection(now=_NOW))


def launch_data(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        init_data.parse(data)


def json_document(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        strict_json.loads(data)


TARGETS = {
    "envelope": envelope,
    "statement": statement,
    "evidence-file": evidence_file,
    "init-data": launch_data,
    "strict-json": json_document,
}
