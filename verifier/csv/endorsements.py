"""Where the CSV verifier gets HSK and CEK that evidence lacks (on disk: ``verifier.csv.store``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class CsvEndorsements(Protocol):
    """HSK and CEK of a chip, as bytes; nothing from here is trusted before it is verified."""

    def hsk_cek(self, serial_number: str, now: datetime) -> tuple[bytes, bytes] | None:
        """HSK (832 bytes) and CEK (2084 bytes) of a chip; None: none at hand.

        Args:
            serial_number: of the form of ``report.parse_serial_number``; unauthenticated.
            now: time of the verification.
        """


class FixedEndorsements:
    """Endorsements that are given once, in memory.

    Args:
        certificates: serial number to HSK and CEK.
    """

    def __init__(self, certificates: Mapping[str, tuple[bytes, bytes]] | None = None) -> None:
        """Keep what is given."""
        self._certificates = dict(certificates or {})

    def hsk_cek(self, serial_number: str, now: datetime) -> tuple[bytes, bytes] | None:  # noqa: ARG002 (CsvEndorsements)
        """Those of a chip."""
        return self._certificates.get(serial_number)
