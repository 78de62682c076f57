"""Key files that are made once: of two processes that start together, one wins for both."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from common.files import write_private

if TYPE_CHECKING:
    from pathlib import Path


def create_once(path: Path, data: bytes) -> None:
    """Create ``path`` whole and durably, mode 0600, unless it is there: then it stays as it is.

    Raises:
        InvalidSetting: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_private(temporary, data)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
