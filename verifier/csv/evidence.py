"""The evidence document of Hygon CSV."""

from __future__ import annotations

from typing import Final, Literal

from wire.evidence import EvidenceDocument

MAX_REPORT_TEXT: Final = 5462  # a page is 5462 characters of base64url
MAX_CERTIFICATES_TEXT: Final = 4096  # HSK and CEK are 3888
MAX_PEK_TEXT: Final = 2779  # 2084 bytes
MAX_LOG_TEXT: Final = 5_592_408  # 4 MiB


class CsvEvidence(EvidenceDocument, frozen=True, tag="csv"):
    """Hygon CSV evidence.

    Attributes:
        report: the report as the firmware or the guest's library gives it, with or without the zeros to
            its page, base64url.
        version: 1 (legacy) or 2 (extended); the report does not say it itself.
        hsk_cek: HSK and CEK certificate one after the other (2916 bytes), base64url; may be absent when the
            verifier's store has them.
        pek: the PEK certificate beside the report (2084 bytes), base64url; it must be the one in it.
        serial_number: the chip's, beside the report; it must be the one in the report.
        event_log: CC event log, base64url.
    """

    report: str
    version: Literal[1, 2] = 1
    hsk_cek: str | None = None
    pek: str | None = None
    serial_number: str | None = None
    event_log: str | None = None
