"""Files at the edge: private files written whole or not at all, reads with a size limit."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from common.errors import InvalidSetting, NotFound, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read_limited(path: Path, *, what: str, max_bytes: int) -> bytes:
    """Read a file of at most ``max_bytes``.

    Raises:
        NotFound: no such file, or not a readable regular file.
        TooLarge: it is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise NotFound(f"{what}: cannot read {path} ({error.strerror})") from error
    if len(data) > max_bytes:
        raise TooLarge(f"{what}: {path} is larger than {max_bytes} bytes")
    return data


def version_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced: inode, bytes, nanoseconds; None if it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` with mode 0600, atomically and durably: the old file or the new, never half.

    Raises:
        InvalidSetting: the folder cannot be written.
    """
    _write_atomically(path, data, 0o600)


def write_public(path: Path, data: bytes) -> None:
    """Write ``data`` with mode 0644, atomically and durably.

    Raises:
        InvalidSetting: the folder cannot be written.
    """
    _write_atomically(path, data, 0o644)


def read_private(path: Path, *, what: str, max_bytes: int = 1 << 16) -> bytes:
    """Read a key file, refusing one that group or others may read.

    Raises:
        NotFound: no such file.
        InvalidSetting: its mode is wider than 0600.
    """
    data = read_limited(path, what=what, max_bytes=max_bytes)
    if path.stat().st_mode & 0o077:
        raise InvalidSetting(
            f"{what}: {path} can be read by others",
            advice=f"chmod 600 {path}, and replace the key if it may have been read.",
        )
    return data


def write_public_together(files: Mapping[Path, bytes]) -> None:
    """Write several files with mode 0644: all lie beside their places before the first takes its own.

    Raises:
        InvalidSetting: a folder cannot be written; no file was changed then, unless a rename itself failed.
    """
    staged: list[tuple[str, Path]] = []
    try:
        for path, data in files.items():
            _make_folder(path.parent)
            staged.append((_stage(path, data, 0o644), path))
        while staged:
            _rename(*staged[-1])
            staged.pop()
    finally:
        for name, _ in staged:
            os.unlink(name)  # noqa: PTH108
    for folder in {path.parent for path in files}:
        _sync_folder(folder)


def _write_atomically(path: Path, data: bytes, mode: int) -> None:
    name = _stage(path, data, mode)
    try:
        _rename(name, path)
    except InvalidSetting:
        os.unlink(name)  # noqa: PTH108
        raise
    _sync_folder(path.parent)


def _stage(path: Path, data: bytes, mode: int) -> str:
    """Name of a complete file beside ``path``."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    except OSError as error:
        raise InvalidSetting(f"cannot write {path} ({error.strerror})") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        os.unlink(name)  # noqa: PTH108
        raise InvalidSetting(f"cannot write {path} ({error.strerror})") from error
    return name


def _rename(name: str, path: Path) -> None:
    try:
        os.replace(name, path)  # noqa: PTH105 (atomic replace of our own temporary)
    except OSError as error:
        raise InvalidSetting(f"cannot write {path} ({error.strerror})") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(f"cannot make the folder {folder} ({error.strerror})") from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
