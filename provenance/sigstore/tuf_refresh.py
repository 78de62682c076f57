"""The public-good Sigstore root by TUF: refreshed when an operator asks, checked again whenever it is read.

``refresh`` runs the TUF client workflow (root -> timestamp -> snapshot -> targets -> target) against a
repository, over the ``common.fetch`` interface. ``load`` runs the same workflow over what was stored,
without a network. TUF itself refuses what is expired, rolled back, mixed, or signed by too few keys of its
root.

Invariants:

* Trust begins at root metadata that comes with the installed package and is pinned here by digest, or at a
  file that the operator names; what is in the data folder is never its own anchor.
* A refresh is whole or leaves everything as it was: it works on a copy, and one ``rename`` of a link makes
  it the state in use. The copy begins with the last state, whose versions are the floor of the next.
* A trusted root that this project cannot read is not stored.
* Where nothing is stored the pinned root is used; where what is stored does not hold (any more), too, and a
  warning says so.

Not done here: deciding when to refresh. TUF judges expiry by this machine's clock.

Sources: TUF specification 1.0.33, section 5; sigstore/root-signing (target ``trusted_root.json``).
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.errors import FetchFailed, InputError, InvalidSetting, StatementError, TouchstoneError
from common.files import read_limited
from provenance import instants
from provenance.errors import RootRefreshRefused, TrustPolicyInvalid
from provenance.sigstore import trust_root
from provenance.sigstore.trust_root import PublicGood, SigstoreRoot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.fetch import Fetcher

_LOG = logging.getLogger("touchstone.sigstore")
PUBLIC_GOOD_URL: Final = "https://tuf-repo-cdn.sigstore.dev"
TARGET: Final = "trusted_root.json"
# SHA-256 of the TUF root metadata that sigstore 4.5.1 ships beside the trusted root
# (file sigstore/_store/https%3A%2F%2Ftuf-repo-cdn.sigstore.dev/root.json).
PINNED_TUF_ROOT_SHA256: Final = "73747011d0857ada15479a16c4cae0f3ed03aac698b523b97e1de314ac9d9ca8"
MAX_METADATA_BYTES: Final = 5_000_000  # python-tuf's own limit of targets metadata
_CURRENT: Final = "current"
_TARGETS: Final = "targets"
_STORED: Final = ("timestamp.json", "snapshot.json", "targets.json")
_FOLDER_MODE: Final = 0o700
_NOT_THERE: Final = 404
_SHOWN: Final = 200


class Refreshed(msgspec.Struct, frozen=True):
    """A root that TUF delivered.

    Attributes:
        root: the trusted root.
        document: its bytes, as delivered.
        version: of the targets metadata that names it.
        root_version: of the TUF root metadata in force.
        expires: of the timestamp metadata; after it the state no longer holds.
        changed: it is not what was stored before; always true of ``load``.
    """

    root: SigstoreRoot
    document: bytes
    version: int
    root_version: int
    expires: datetime
    changed: bool = True


def pinned_tuf_root() -> bytes:
    """The TUF root metadata at which trust begins for the public-good repository.

    Raises:
        TrustPolicyInvalid: the installed ``sigstore`` package carries other metadata than the pinned one.
    """
    folder = resources.files("sigstore._store").joinpath(trust_root.PUBLIC_GOOD_FOLDER)
    data = folder.joinpath("root.json").read_bytes()
    if hashlib.sha256(data).hexdigest() != PINNED_TUF_ROOT_SHA256:
        raise TrustPolicyInvalid(
            "the installed sigstore package carries other TUF root metadata than the pinned one",
            advice="Install the locked version of sigstore, or name [sigstore] tuf_root.",
        )
    return data


def refresh(folder: Path, fetcher: Fetcher, *, url: str, tuf_root: bytes) -> Refreshed:
    """Ask a TUF repository for the newest trusted root and store it.

    Args:
        folder: where the state is kept; made if missing.
        fetcher: asks the repository.
        url: its base: metadata there, targets under ``targets/``.
        tuf_root: root metadata at which trust begins.

    Raises:
        RootRefreshRefused: metadata or target do not hold; nothing was changed.
        FetchFailed, FetchForbidden: the repository cannot be asked; nothing was changed.
        InvalidSetting: the folder cannot be written.
    """
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder, prefix=".refresh-"))
        try:
            before = _copy_state(folder, work)
            found = _run(work, _Remote.over(fetcher), url.rstrip("/"), tuf_root)
            _store(folder, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise InvalidSetting(f"cannot write {folder} ({error.strerror})") from error
    return msgspec.structs.replace(found, changed=before != found.document)


def load(folder: Path, *, tuf_root: bytes) -> Refreshed | None:
    """The stored root, verified again from ``tuf_root`` on; None where none was ever stored. No network.

    Raises:
        RootRefreshRefused: what is stored does not hold: expired, changed, or of another root.
    """
    if not (folder / _CURRENT).is_dir():
        return None
    with tempfile.TemporaryDirectory(prefix="touchstone-tuf-") as name:
        work = Path(name)
        try:
            _copy_state(folder, work)
            return _run(work, _Remote.over_stored(work), "https://stored.invalid", tuf_root)
        except (OSError, FetchFailed) as error:
            raise RootRefreshRefused("the stored TUF metadata is not complete") from error


def in_use(folder: Path, *, tuf_root: bytes) -> PublicGood | None:
    """What stands for the public-good root: the stored one if it holds, otherwise the pinned one.

    Returns:
        None where nothing was ever stored: the pinned root, and nothing to say about it.

    Raises:
        TrustPolicyInvalid: the pinned root cannot be read (another ``sigstore`` package).
    """
    try:
        found = load(folder, tuf_root=tuf_root)
    except StatementError as error:
        warning = f"the refreshed public-good root does not hold, the pinned one is used: {error.message}"
        _LOG.warning("%s", warning)
        return PublicGood(root=trust_root.public_good(), warning=warning)
    if found is None:
        return None
    return PublicGood(root=found.root, refreshed=True, version=found.version)


class _Remote:
    """Makes a TUF fetcher of ours; built on use, since python-tuf is not imported before."""

    @staticmethod
    def over(fetcher: Fetcher) -> Any:
        """One that asks the repository."""

        def ask(url: str) -> bytes:
            return fetcher.fetch(url)

        return _fetcher_of(ask)

    @staticmethod
    def over_stored(folder: Path) -> Any:
        """One that gives what is stored again, and knows no newer root."""

        def ask(url: str) -> bytes:
            # Stored without the version in front; asked for only where the stored one was found wanting.
            name = url.rpartition("/")[2]
            role = name.lstrip("0123456789").removeprefix(".")
            if role in _STORED:
                return read_limited(folder / role, what="TUF metadata", max_bytes=MAX_METADATA_BYTES)
            if name.endswith(f".{TARGET}") or name == TARGET:
                return read_limited(
                    folder / _TARGETS / TARGET, what="target", max_bytes=trust_root.MAX_ROOT_BYTES
                )
            raise FetchFailed("not stored", details={"status": _NOT_THERE})

        return _fetcher_of(ask)


def _fetcher_of(ask: Any) -> Any:
    from tuf.api.exceptions import DownloadHTTPError  # noqa: PLC0415 (heavy import)
    from tuf.ngclient.fetcher import FetcherInterface  # noqa: PLC0415

    class Adapter(FetcherInterface):
        def _fetch(self, url: str) -> Iterator[bytes]:
            try:
                return iter((ask(url),))
            except FetchFailed as error:
                status = error.details.get("status")
                if isinstance(status, int):
                    raise DownloadHTTPError(error.message, status) from error
                raise

    return Adapter()


def _run(work: Path, fetcher: Any, url: str, tuf_root: bytes) -> Refreshed:
    from tuf.api.exceptions import (  # noqa: PLC0415 (heavy import)
        DownloadError,
        DownloadLengthMismatchError,
        RepositoryError,
    )

    try:
        return _workflow(work, fetcher, url, tuf_root)
    except (RepositoryError, DownloadLengthMismatchError) as error:
        raise _refusal(error) from error
    except DownloadError as error:
        cause = error.__cause__
        if isinstance(cause, TouchstoneError):
            raise type(cause)(cause.message, advice=cause.advice, details=cause.details) from error
        raise FetchFailed(f"the TUF repository gave no answer: {str(error)[:_SHOWN]}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # Metadata is foreign bytes; python-tuf means to raise RepositoryError for all of it.
        raise _refusal(error) from error


def _workflow(work: Path, fetcher: Any, url: str, tuf_root: bytes) -> Refreshed:
    from tuf.ngclient.config import UpdaterConfig  # noqa: PLC0415 (heavy import)
    from tuf.ngclient.updater import Updater  # noqa: PLC0415

    target = work / _TARGETS / TARGET
    updater = Updater(
        metadata_dir=str(work),
        metadata_base_url=url,
        target_base_url=f"{url}/{_TARGETS}",
        fetcher=fetcher,
        config=UpdaterConfig(targets_max_length=MAX_METADATA_BYTES),
        bootstrap=tuf_root,
    )
    updater.refresh()
    info = updater.get_targetinfo(TARGET)
    if info is None:
        raise RootRefreshRefused(f"the TUF repository has no target {TARGET}")
    if info.length > trust_root.MAX_ROOT_BYTES:
        raise RootRefreshRefused(f"the target {TARGET} is larger than {trust_root.MAX_ROOT_BYTES} bytes")
    if updater.find_cached_target(info, str(target)) is None:
        updater.download_target(info, str(target))
    document = target.read_bytes()
    timestamp = _signed(work / "timestamp.json")
    expires = instants.rfc3339(str(timestamp.get("expires")))
    if expires is None:
        raise RootRefreshRefused("the timestamp metadata's end is not RFC 3339")
    return Refreshed(
        root=_parse(document),
        document=document,
        version=int(_signed(work / "targets.json")["version"]),
        root_version=int(_signed(work / "root.json")["version"]),
        expires=expires,
    )


def _parse(document: bytes) -> SigstoreRoot:
    try:
        value = strict_json.loads(document, what="trusted root", max_bytes=trust_root.MAX_ROOT_BYTES)
        if not isinstance(value, dict):
            raise RootRefreshRefused("the delivered trusted root is not an object")
        return trust_root.parse_document(value)
    except (InputError, TrustPolicyInvalid) as error:
        raise RootRefreshRefused(f"the delivered trusted root cannot be read: {error.message}") from error


def _signed(path: Path) -> dict[str, Any]:
    """The signed part of metadata that was verified a moment ago."""
    value = strict_json.loads(path.read_bytes(), what="TUF metadata", max_bytes=MAX_METADATA_BYTES)
    signed: dict[str, Any] = value["signed"]
    return signed


def _copy_state(folder: Path, work: Path) -> bytes | None:
    """Begin with the last state; the trusted root in it."""
    current = folder / _CURRENT
    if not current.is_dir():
        return None
    shutil.copytree(current, work, symlinks=True, dirs_exist_ok=True)
    target = work / _TARGETS / TARGET
    return target.read_bytes() if target.is_file() else None


def _store(folder: Path, work: Path) -> None:
    name = f"state-{hashlib.sha256((work / 'timestamp.json').read_bytes()).hexdigest()[:16]}"
    if not (folder / name).is_dir():
        work.rename(folder / name)
    previous = (folder / _CURRENT).resolve().name
    link = folder / f".{_CURRENT}-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    link.replace(folder / _CURRENT)
    for other in folder.glob("state-*"):
        if other.name not in (name, previous):  # somebody may be reading the previous one
            shutil.rmtree(other, ignore_errors=True)


def _refusal(error: Exception) -> RootRefreshRefused:
    text = "".join(character if character.isprintable() else " " for character in str(error)[:_SHOWN])
    return RootRefreshRefused(f"TUF refuses: {text} ({type(error).__name__})")
