"""High-water marks of TCB evaluations, in ``intel/evaluation.json``: ``{"tdx": {"00806f050000": 19}}``.

Invariants:

* A mark only rises. It is shared by all processes on the folder, and written whole or not at all.
* A file that cannot be read is an error, never "no mark": who can damage it must not gain by that. Whoever
  means to go back (from ``early`` to ``standard``) removes it.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from common import strict_json
from common.errors import InputError, InvalidSetting
from common.files import read_limited, write_public_together
from verifier.endorsements.locks import Locks

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "intel/evaluation.json"
_MAX_BYTES: Final = 1 << 20
_Number = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
_Tee = Annotated[str, Meta(pattern="^(tdx|sgx)$")]
_Fmspc = Annotated[str, Meta(pattern="^[0-9a-f]{12}$")]
_Marks = dict[_Tee, dict[_Fmspc, _Number]]


class EvaluationMarks:
    """The marks of one store.

    Args:
        folder: of the store; None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        """Read nothing yet."""
        self._path = None if folder is None else folder / FILE
        self._locks = Locks(folder)
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._marks: _Marks = {}

    def floor(self, tee: str, fmspc: bytes) -> int:
        """The mark of a platform; 0: none.

        Raises:
            InvalidSetting: the file cannot be read.
        """
        return self._read().get(tee, {}).get(fmspc.hex(), 0)

    def note(self, tee: str, fmspc: bytes, number: int) -> None:
        """Raise the mark of a platform, if it is lower.

        Raises:
            InvalidSetting: the file cannot be read or written.
        """
        if number <= self.floor(tee, fmspc):
            return
        with self._locks.marks():
            marks = {name: dict(found) for name, found in self._read().items()}
            of_tee = marks.setdefault(tee, {})
            of_tee[fmspc.hex()] = max(number, of_tee.get(fmspc.hex(), 0))
            if self._path is None:
                self._marks = marks
            else:
                data = msgspec.json.format(msgspec.json.encode(marks, order="sorted"), indent=1)
                write_public_together({self._path: data + b"\n"})

    def _read(self) -> _Marks:
        if self._path is None:
            return self._marks
        with self._lock:
            try:
                status = os.stat(self._path)  # noqa: PTH116 (on the hot path)
            except FileNotFoundError:
                return {}
            except OSError as error:
                raise InvalidSetting(f"{self._path} cannot be read ({error.strerror})") from error
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._marks, self._stamp = _parsed(self._path), stamp
            return self._marks


def _parsed(path: Path) -> _Marks:
    try:
        data = read_limited(path, what="evaluation marks", max_bytes=_MAX_BYTES)
        return msgspec.convert(strict_json.loads(data, what=str(path), max_bytes=_MAX_BYTES), _Marks)
    except (InputError, msgspec.MsgspecError) as error:
        raise InvalidSetting(
            f"{path} is damaged",
            advice="Restore it; or remove it, and fetch the collateral anew from Intel, not from a cache.",
        ) from error
