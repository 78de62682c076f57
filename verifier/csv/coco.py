"""CSV evidence and claims as Confidential Containers spells them (attestation-agent, ``attester/src/csv``).

Evidence: ``{"attestation_report": {"magic", "flags", "data"}, "cert_chain": {"hsk_cek"?: {"hsk", "cek"},
"pek"}, "serial_number": [byte], "cc_eventlog"?: base64}``. Magic and flags say the report's version: magic
of zeros, or ``ATTESTATION_EXT`` with flags 0, is version 1; ``ATTESTATION_EXT`` with flags 1 is version 2.
Certificates are JSON of csv-rs; their bytes are rebuilt (``verifier.csv.coco_json``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from common.encoding import b64_decode, b64url_encode
from common.errors import Malformed, TooLarge
from verifier.csv.coco_json import CA_CERTIFICATE, CSV_CERTIFICATE, octets, to_bytes
from verifier.csv.evidence import MAX_LOG_TEXT, CsvEvidence
from verifier.csv.report import PAGE, parse_serial_number

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence

_LEGACY: Final = bytes(16)
_EXTENDED: Final = b"ATTESTATION_EXT\0"
_SERIAL: Final = 64


class _Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    magic: list[Any]
    flags: int
    data: list[Any]


class _HskCek(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hsk: dict[str, Any]
    cek: dict[str, Any]


class _Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pek: dict[str, Any]
    hsk_cek: _HskCek | None = None


class _Evidence(msgspec.Struct, frozen=True):
    attestation_report: _Report
    cert_chain: _Chain
    serial_number: list[Any]
    cc_eventlog: str | None = None


class CsvCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> CsvEvidence:
        """Our document of theirs.

        Raises:
            Malformed, TooLarge: another form.
        """
        try:
            theirs = msgspec.convert(document, _Evidence)
        except msgspec.ValidationError as error:
            raise Malformed(f"the CSV evidence is not of the published form: {error}") from error
        chain = theirs.cert_chain
        return CsvEvidence(
            report=b64url_encode(octets(theirs.attestation_report.data, PAGE, "attestation_report.data")),
            version=_version(theirs.attestation_report),
            hsk_cek=None if chain.hsk_cek is None else b64url_encode(_hsk_cek(chain.hsk_cek)),
            pek=b64url_encode(to_bytes(chain.pek, CSV_CERTIFICATE, "pek")),
            serial_number=_serial_number(theirs.serial_number),
            event_log=None if theirs.cc_eventlog is None else _log(theirs.cc_eventlog),
        )

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """Ours have their names; theirs repeat the report data. Their ``serial_number`` nothing proves."""
        claims = verified.claims
        return claims | {"csv": claims["csv"] | {"report_data": claims["report_data"]}}


def _version(report: _Report) -> Literal[1, 2]:
    magic = octets(report.magic, len(_LEGACY), "attestation_report.magic")
    if magic == _LEGACY or (magic == _EXTENDED and report.flags == 0):
        return 1
    if magic == _EXTENDED and report.flags == 1:
        return 2
    raise Malformed("magic and flags of the CSV report are of no version that is known")


def _hsk_cek(certificates: _HskCek) -> bytes:
    hsk = to_bytes(certificates.hsk, CA_CERTIFICATE, "hsk")
    return hsk + to_bytes(certificates.cek, CSV_CERTIFICATE, "cek")


def _serial_number(value: list[Any]) -> str:
    if len(value) > _SERIAL:
        raise Malformed(f"serial_number has {len(value)} bytes, at most {_SERIAL}")
    return parse_serial_number(octets(value, len(value), "serial_number"))


def _log(text: str) -> str:
    if len(text) > MAX_LOG_TEXT:
        raise TooLarge("cc_eventlog is longer than 4 MiB")
    return b64url_encode(b64_decode(text, what="cc_eventlog"))
