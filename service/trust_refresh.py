"""The public-good Sigstore root on the server's machine: refreshed by a command, used at start.

The server opens no connection for it: ``touchstone trust refresh`` does, when an operator or a timer runs
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from common.errors import InvalidSetting
from common.fetch import FetchLimits, HttpFetcher
from common.files import read_limited
from provenance.sigstore import tuf_refresh

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.sigstore.trust_root import PublicGood
    from service.settings import Settings

_TIMEOUT_S = 30.0


def tuf_root_of(path: Path | None) -> bytes:
    """TUF root metadata at which trust begins: the operator's file, or the pinned one.

    Raises:
        NotFound, TooLarge: the file cannot be read.
        TrustPolicyInvalid: the installed package is not the pinned one.
    """
    if path is None:
        return tuf_refresh.pinned_tuf_root()
    return read_limited(path, what="TUF root", max_bytes=tuf_refresh.MAX_METADATA_BYTES)


def root_in_use(settings: Settings) -> PublicGood | None:
    """What stands for the public-good root; None: the pinned one, since nothing was ever refreshed."""
    if not settings.sigstore_dir.is_dir():
        return None
    return tuf_refresh.in_use(settings.sigstore_dir, tuf_root=tuf_root_of(settings.sigstore.tuf_root))


def refresh(settings: Settings) -> tuf_refresh.Refreshed:
    """Ask the configured TUF repository, and store what it gives.

    Raises:
        RootRefreshRefused: it does not hold; nothing was changed.
        FetchFailed, FetchForbidden: the repository cannot be asked; nothing was changed.
        InvalidSetting: the URL is none, or the folder cannot be written.
    """
    section = settings.sigstore
    host = _host(section.tuf_url)
    limits = FetchLimits(
        timeout_s=_TIMEOUT_S, max_bytes=tuf_refresh.MAX_METADATA_BYTES, keep_s=0.0, keep_failure_s=0.0
    )
    fetcher = HttpFetcher(
        [host], limits=limits, ca_file=section.ca_file, allow_private=section.allow_private
    )
    return tuf_refresh.refresh(
        settings.sigstore_dir, fetcher, url=section.tuf_url, tuf_root=tuf_root_of(section.tuf_root)
    )


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidSetting("[sigstore] tuf_url is not a URL") from error
    if parts.scheme != "https" or not parts.hostname:
        raise InvalidSetting("[sigstore] tuf_url is not https://host/path")
    return parts.hostname if port is None else f"{parts.hostname}:{port}"
