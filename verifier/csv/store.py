"""HSK and CEK on disk, with optional fetching from Hygon's certificate service.

Folder (names as CoCo's offline store has them, so that one folder serves both)::

    csv/hsk_cek/<serial number>/hsk_cek.cert       HSK (832 bytes), then CEK (2084 bytes)

Order of a look-up: memory, folder, fetch (if there is a fetcher).

Invariants:

* The serial number is unauthenticated. It is of letters, digits and hyphens before it becomes part of a
  path or a URL, whoever calls; the URL is otherwise made of constants.
* What is fetched must lead to an anchor before it is written or used, so that a bad answer replaces
  nothing. It is verified again when it is used: this folder is a cache, not a root of trust.
* A file that does not lead to an anchor counts as absent. A failed fetch raises.
* Certificates of a chip have no dates: what is known is kept without end, the oldest given up first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from common.errors import FetchFailed, InputError, InvalidSetting
from common.files import read_limited, write_public
from verifier.csv.certificates import HSK_CEK_BYTES
from verifier.csv.chain import Anchors, verify_hsk_cek
from verifier.csv.report import parse_serial_number
from verifier.csv.verifier import split_hsk_cek
from verifier.errors import CertificateInvalid, EndorsementMissing, RootUntrusted

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from common.fetch import Fetcher

KDS: Final = "https://cert.hygon.cn/hsk_cek?snumber="
_FILE: Final = "hsk_cek.cert"
_MAX_KNOWN: Final = 1024
_NOT_FOUND: Final = 404


class HskCekStore:
    """Implements ``verifier.csv.endorsements.CsvEndorsements``.

    Args:
        folder: the endorsement store, with the folder ``csv`` in it; None keeps everything in memory.
        fetcher: asks Hygon for what is missing; None stays offline.
        anchors: what certificates must lead to; Hygon's pinned root by default.
    """

    def __init__(
        self, folder: Path | None, fetcher: Fetcher | None = None, *, anchors: Anchors | None = None
    ) -> None:
        """Read nothing yet."""
        self._folder = None if folder is None else folder / "csv" / "hsk_cek"
        self._fetcher = fetcher
        self._anchors = Anchors() if anchors is None else anchors
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()

    def hsk_cek(self, serial_number: str, now: datetime) -> tuple[bytes, bytes] | None:  # noqa: ARG002 (CsvEndorsements)
        """HSK and CEK of a chip; None where there are none and nothing may be fetched.

        Raises:
            Malformed: no serial number; nothing was looked up.
            FetchFailed, FetchForbidden: they had to be fetched and could not be.
            EndorsementMissing: Hygon knows no such chip, or what it gave leads to no anchor.
            InvalidSetting: they cannot be written.
        """
        name = _checked(serial_number)
        with self._lock:
            if (known := self._known.get(name)) is not None:
                self._known.move_to_end(name)
                return known
        found = self._from_folder(name)
        if found is None and self._fetcher is not None:
            found = self._fetched(self._fetcher, name)
        if found is None:
            return None
        with self._lock:
            self._known[name] = found
            while len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return found

    def _from_folder(self, name: str) -> tuple[bytes, bytes] | None:
        if self._folder is None:
            return None
        try:
            data = read_limited(self._folder / name / _FILE, what="HSK and CEK", max_bytes=HSK_CEK_BYTES)
        except InputError:
            return None
        return self._fitting(data)

    def _fetched(self, fetcher: Fetcher, name: str) -> tuple[bytes, bytes]:
        try:
            data = fetcher.fetch(KDS + name)
        except FetchFailed as error:
            if error.details.get("status") == _NOT_FOUND:
                raise EndorsementMissing("Hygon has no HSK and CEK for this serial number") from error
            raise
        found = self._fitting(data)
        if found is None:
            raise EndorsementMissing("what was fetched are no HSK and CEK that lead to a trusted root")
        if self._folder is not None:
            path = self._folder / name / _FILE
            _make_folder(path.parent)
            write_public(path, data)
        return found

    def _fitting(self, data: bytes) -> tuple[bytes, bytes] | None:
        """HSK and CEK of a file or an answer, if they lead to an anchor."""
        try:
            hsk, cek = split_hsk_cek(data)
            verify_hsk_cek(hsk, cek, self._anchors)
        except (InputError, CertificateInvalid, RootUntrusted):
            return None
        return hsk, cek


def _checked(serial_number: str) -> str:
    try:
        data = serial_number.encode("ascii")
    except UnicodeEncodeError:
        data = b""
    return parse_serial_number(data)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(f"cannot make the collateral folder {folder} ({error.strerror})") from error
