"""Host-key documents, certificates of signing keys and authorities, revocation lists: where they come from.

On disk, below the endorsement store::

    se/hkds/    one host-key document per file
    se/certs/   the host-key signing key's certificate and the authorities above it
    se/crls/    revocation lists of the signing key and of every authority, the root included

The names are those of Confidential Containers' verifier, so that one folder serves both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from common.errors import TooLarge
from common.files import read_limited
from verifier.se.pki import MAX_CERTIFICATE_FILE, MAX_CRL_FILE

if TYPE_CHECKING:
    from pathlib import Path

_MAX_FILES: Final = 512


class HostKeyFiles(msgspec.Struct, frozen=True):
    """Files as they are; nothing from here is trusted before it is verified.

    Attributes:
        host_keys: host-key documents.
        certificates: signing keys and authorities.
        lists: revocation lists.
    """

    host_keys: tuple[bytes, ...] = ()
    certificates: tuple[bytes, ...] = ()
    lists: tuple[bytes, ...] = ()


class SeCollateral(Protocol):
    """Gives the files that a verification rests on."""

    def files(self) -> HostKeyFiles:
        """All of them, as they are now."""


class FixedCollateral:
    """Files that are given once, in memory."""

    def __init__(self, files: HostKeyFiles) -> None:
        """Keep what is given."""
        self._files = files

    def files(self) -> HostKeyFiles:
        """What was given."""
        return self._files


class FolderCollateral:
    """The endorsement store on disk. Read anew whenever a file came, went or changed.

    Args:
        folder: the endorsement store.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the folder."""
        self._folder = folder / "se"
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._files = HostKeyFiles()

    def files(self) -> HostKeyFiles:
        """What lies there.

        Raises:
            TooLarge: more than 512 files, or one that is larger than its kind.
            NotFound: a file went while it was read.
        """
        paths = sorted(path for path in self._folder.glob("*/*") if path.is_file())
        if len(paths) > _MAX_FILES:
            raise TooLarge(f"the store holds more than {_MAX_FILES} files for Secure Execution")
        seen = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths)
        if seen != self._seen:
            self._files = HostKeyFiles(
                host_keys=_read(paths, "hkds", MAX_CERTIFICATE_FILE),
                certificates=_read(paths, "certs", MAX_CERTIFICATE_FILE),
                lists=_read(paths, "crls", MAX_CRL_FILE),
            )
            self._seen = seen
        return self._files


def _read(paths: list[Path], folder: str, limit: int) -> tuple[bytes, ...]:
    return tuple(
        read_limited(path, what=f"se/{folder}", max_bytes=limit)
        for path in paths
        if path.parent.name == folder
    )
