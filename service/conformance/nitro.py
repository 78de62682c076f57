"""Runs ``nitro`` cases, and mutations of them, on the Nitro verifier.

Verification is at the case's time, with the root that the product pins: the case's own file of it must be
the same certificate. A document may be as old as its certificate allows. ``user_data`` must be the case's
``report_data`` where it states one.

A case with a ``cose_offset`` wraps its document in an envelope of dstack (SCALE): version 0, the variant of
Nitro quotes, the document, no events, 64 bytes, a text. Nothing of it is signed, but a broken one is a
broken case.

How an outcome is judged: ``service.conformance.evidence``.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

from common.binary import Reader
from common.encoding import b64url_encode, hex_decode
from common.errors import DuplicateKey, Malformed
from service.conformance.case_files import CaseFiles
from service.conformance.evidence import judged, raise_failed
from verifier import vendor_roots
from verifier.errors import ReportDataMismatch, RootUntrusted
from verifier.model import ReportDataBinding, Unbound
from verifier.nitro import BINDING_SIZE, NitroSettings, NitroVerifier
from verifier.nitro.chain import ROOT_FILE
from verifier.nitro.evidence import NitroEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome
    from verifier.model import Expectation

KINDS: Final = ("nitro",)
_MORE_CLASSES: Final = {DuplicateKey.code: frozenset({"parse_error"})}
_ENVELOPE: Final = b"\x00\x02"  # version 0; Nitro is the third kind of quote
_REPORT_DATA: Final = 64
# SCALE compact integers: the low two bits say how many bytes the number has; 3 is not read here.
_COMPACT_WIDTHS: Final = {0: 1, 1: 2, 2: 4}


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""

    def body(differing: list[str]) -> str:
        files = CaseFiles(case, folder)
        if files.has("root"):
            _require_pinned(files.read("root"))
        document = _document(files.read("evidence"), wrapped=bool(case.get("cose_offset")))
        evidence = NitroEvidence(document=b64url_encode(document))
        at = datetime.fromisoformat(str(files.case["verification_time"]))
        verifier = NitroVerifier(NitroSettings(max_age=None))
        verified = verifier.verify(evidence, _expectation(files.case), None, at)
        differing += _differing(files.case.get("expect", {}).get("claims", {}), verified.claims["nitro"])
        raise_failed(verified)
        return ""

    return judged(case, body, _MORE_CLASSES)


def _require_pinned(pem: bytes) -> None:
    try:
        root = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise Malformed("the root file holds no certificate") from error
    if root != vendor_roots.load(ROOT_FILE):
        raise RootUntrusted("the case's root is not the one that is pinned")


def _document(data: bytes, *, wrapped: bool) -> bytes:
    if not wrapped:
        return data
    reader = Reader(data, "the envelope", "little")
    if reader.take(len(_ENVELOPE), "version and kind") != _ENVELOPE:
        raise Malformed("the envelope is of another version or kind")
    document = reader.take(_compact(reader), "the document")
    if _compact(reader) != 0:
        raise Malformed("the envelope has events, which enclaves have none of")
    reader.take(_REPORT_DATA, "the report data")
    reader.take(_compact(reader), "the configuration")
    reader.finish()
    return document


def _compact(reader: Reader) -> int:
    first = reader.take(1, "a length")
    width = _COMPACT_WIDTHS.get(first[0] & 3)
    if width is None:
        raise Malformed("the envelope has a length beyond four bytes")
    return int.from_bytes(first + reader.take(width - 1, "a length"), "little") >> 2


def _expectation(case: Mapping[str, Any]) -> Expectation:
    if case.get("report_data") is None:
        return Unbound()
    data = hex_decode(str(case["report_data"]), what="report_data")
    if len(data) != BINDING_SIZE:
        raise ReportDataMismatch(f"{len(data)} bytes are expected, and a binding has {BINDING_SIZE}")
    return ReportDataBinding(data)


def _differing(stated: Mapping[str, Any], claims: Mapping[str, Any]) -> list[str]:
    """Claims that the manifest states otherwise; it leaves out registers that are zero."""
    read = dict(_read(claims))
    return [name for name, value in stated.items() if read.get(name) != value]


def _read(claims: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "module_id", claims["module_id"]
    yield "timestamp", claims["timestamp"]
    yield "digest", claims["digest"]
    yield "pcrs", {index: value for index, value in claims["pcrs"].items() if value.strip("0")}
    yield "user_data", claims.get("user_data", "")
    yield "nonce", claims.get("nonce", "")
    yield "public_key", "public_key" in claims
