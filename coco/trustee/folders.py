r"""Trustee's stores in files: LocalFs, LocalJson, the repository folder and the lists of older releases.

Nothing outside the folder is read: it is opened once, everything in it relative to that and without
following symbolic links, and only regular files of bounded size.

* LocalFs: a folder a namespace, a file an entry; ``/`` in a key is ``\x2F`` in the file's name.
* LocalJson: a file a namespace (older: with ``.json``), an object of key to base64url text with padding.
* Repository (before the key-value store): ``<repository>/<type>/<tag>``.
* A list of reference values (older RVPS): one JSON array of records.

Source: Trustee deps/key-value-storage src/local_fs, src/local_json; rvps src/storage/local_json.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from coco.trustee.entries import (
    KBS,
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    NAMESPACES,
    REFERENCE_VALUE,
    REPOSITORY,
    Entry,
)
from common import strict_json
from common.encoding import b64url_decode
from common.errors import InputError, InvalidSetting, Malformed, NotFound, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SLASH: Final = "\\x2F"
_MAX_FILE_BYTES: Final = 256 << 20
_DEPTH: Final = 3
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Folder:
    """What the layouts of folders share.

    Args:
        folder: ``dir_path`` of the configuration.
        namespaces: those to read, where the layout has them.
    """

    def __init__(self, folder: Path, namespaces: tuple[str, ...] = NAMESPACES) -> None:
        """Read nothing yet."""
        self._folder = folder
        self._namespaces = namespaces

    @property
    def where(self) -> str:
        """The folder."""
        return str(self._folder)


class LocalFs(_Folder):
    """A LocalFs folder."""

    def entries(self) -> Iterator[Entry]:
        """See ``Store``."""
        with _opened(self._folder) as root:
            for namespace in self._namespaces:
                yield from self._namespace(root, namespace)

    def _namespace(self, root: int, namespace: str) -> Iterator[Entry]:
        try:
            folder = os.open(namespace, _FOLDER, dir_fd=root)
        except FileNotFoundError:
            return
        except OSError:
            yield Entry(namespace, "", None, "it is a symbolic link or not a folder, and is not followed")
            return
        try:
            for name in _names(folder):
                key = name.replace(_SLASH, "/")
                yield _file_entry(folder, name, namespace, key)
        finally:
            os.close(folder)


class LocalJson(_Folder):
    """A LocalJson folder."""

    def entries(self) -> Iterator[Entry]:
        """See ``Store``."""
        with _opened(self._folder) as root:
            for namespace in self._namespaces:
                for name in (namespace, f"{namespace}.json"):
                    try:
                        data = _read(root, name, _MAX_FILE_BYTES)
                    except FileNotFoundError:
                        continue
                    except (OSError, TooLarge, Malformed) as error:
                        yield Entry(namespace, "", None, _reason(error))
                        break
                    yield from _json_entries(namespace, data)
                    break


class Repository(_Folder):
    """The repository folder of releases before the key-value store."""

    def entries(self) -> Iterator[Entry]:
        """See ``Store``."""
        with _opened(self._folder) as root:
            yield from self._below(root, ())

    def _below(self, folder: int, path: tuple[str, ...]) -> Iterator[Entry]:
        for name in _names(folder):
            key = "/".join((*path, name))
            if len(path) == _DEPTH - 1:
                yield _file_entry(folder, name, REPOSITORY, key)
                continue
            try:
                inner = os.open(name, _FOLDER, dir_fd=folder)
            except OSError:
                yield Entry(REPOSITORY, key, None, "it is a symbolic link or not a folder of resources")
                continue
            try:
                yield from self._below(inner, (*path, name))
            finally:
                os.close(inner)


class PolicyFile:
    """A single policy file that a configuration names.

    Args:
        path: of the file.
        namespace: that its content belongs to.
        key: under which a key-value store would have it.
    """

    def __init__(self, path: Path, namespace: str = KBS, key: str = "resource-policy.rego") -> None:
        """Read nothing yet."""
        self._path = path
        self._namespace = namespace
        self._key = key

    @property
    def where(self) -> str:
        """The file."""
        return str(self._path)

    def entries(self) -> Iterator[Entry]:
        """See ``Store``."""
        with _opened(self._path.parent) as root:
            yield _file_entry(root, self._path.name, self._namespace, self._key)


class PolicyFolder:
    """A folder of ``<id>.rego``, as older attestation services keep it.

    Args:
        folder: the folder.
        namespace: that the policies belong to.
    """

    def __init__(self, folder: Path, namespace: str) -> None:
        """Read nothing yet."""
        self._folder = folder
        self._namespace = namespace

    @property
    def where(self) -> str:
        """The folder."""
        return str(self._folder)

    def entries(self) -> Iterator[Entry]:
        """See ``Store``."""
        with _opened(self._folder) as root:
            for name in _names(root):
                if name.endswith(".rego"):
                    yield _file_entry(root, name, self._namespace, name)


class ValueList:
    """A JSON array of reference-value records, as older RVPS keep it."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self._path = path

    @property
    def where(self) -> str:
        """The file."""
        return str(self._path)

    def entries(self) -> Iterator[Entry]:
        """See ``Store``."""
        with _opened(self._path.parent) as root:
            try:
                data = _read(root, self._path.name, _MAX_FILE_BYTES)
                records = strict_json.loads(data, what="reference values", max_bytes=_MAX_FILE_BYTES)
            except (OSError, InputError) as error:
                yield Entry(REFERENCE_VALUE, "", None, _reason(error))
                return
        for record in records if isinstance(records, list) else [records]:
            key = record.get("name") if isinstance(record, dict) else None
            yield Entry(REFERENCE_VALUE, str(key or ""), json.dumps(record).encode())


def _json_entries(namespace: str, data: bytes) -> Iterator[Entry]:
    try:
        items = strict_json.loads(data, what="LocalJson file", max_bytes=_MAX_FILE_BYTES)
    except InputError as error:
        yield Entry(namespace, "", None, error.message)
        return
    if not isinstance(items, dict):
        yield Entry(namespace, "", None, "the file is not a JSON object")
        return
    for key, text in sorted(items.items())[:MAX_ENTRIES]:
        try:
            if not isinstance(text, str):
                raise Malformed("the value is not text")
            value = b64url_decode(text.rstrip("="), what="value")
        except InputError as error:
            yield Entry(namespace, key, None, error.message)
            continue
        yield Entry(namespace, key, value)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """The folder that the operator named; what it is a link to, if it is one, is what they meant."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"cannot read the folder {folder} ({error.strerror})") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _names(folder: int) -> list[str]:
    names = sorted(os.listdir(folder))
    if len(names) > MAX_ENTRIES:
        raise InvalidSetting(f"a folder holds more than {MAX_ENTRIES} entries")
    return names


def _file_entry(folder: int, name: str, namespace: str, key: str) -> Entry:
    try:
        return Entry(namespace, key, _read(folder, name, MAX_ENTRY_BYTES))
    except (OSError, TooLarge, Malformed) as error:
        return Entry(namespace, key, None, _reason(error))


def _read(folder: int, name: str, limit: int) -> bytes:
    descriptor = os.open(name, _FILE, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Malformed("it is not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"it is larger than {limit} bytes")
    return data


def _reason(error: OSError | InputError) -> str:
    if isinstance(error, InputError):
        return error.message
    return f"it is a symbolic link or cannot be read ({error.strerror})"
