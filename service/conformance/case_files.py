"""The files of a case by role, with the case's mutation applied in memory.

A mutation is an operation of the evidence manifest's schema: ``flip_bit``, ``set_bytes``,
``append_bytes``, ``truncate``, ``delete_range`` on a file; ``json_flip_bit``, ``json_set`` and
``edit_json_string`` inside a JSON file; ``replace_file`` by another; ``set_expected`` and ``set_time`` on
the case itself.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from common import strict_json
from common.errors import Malformed
from common.files import read_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_MAX_FILE_BYTES = 64 << 20


class UnknownOperation(Malformed):
    """A mutation that is not in the schema known here: the case cannot be run."""

    code = "input.mutation"
    advice = "Update the runner: the manifest's schema lists its operations."


class CaseFiles:
    """Reads a case's files.

    Args:
        case: the case, with ``mutation`` if it is one.
        folder: the manifest's folder.

    Raises:
        Malformed: the case has no files.
        UnknownOperation: its mutation is not known here.
    """

    def __init__(self, case: Mapping[str, Any], folder: Path) -> None:
        """Keep the case; apply what changes the case itself."""
        files = case.get("files")
        if not isinstance(files, dict):
            raise Malformed("the case has no files")
        self._files: dict[str, Any] = files
        self._folder = folder
        self._base = str(case.get("base", case.get("id")))
        self._mutation: dict[str, Any] = case.get("mutation") or {}
        operation = self._mutation.get("op")
        if operation is not None and operation not in _CASE_OPERATIONS | set(_FILE_OPERATIONS):
            raise UnknownOperation(f"the mutation {operation!r} is not known")
        self.case = _with_expectation(case, self._mutation)

    def has(self, role: str) -> bool:
        """Whether the case has a file of this role."""
        return role in self._files

    def read(self, role: str) -> bytes:
        """A file's bytes, mutated if the mutation is about it.

        Raises:
            Malformed: no such role. NotFound: no such file.
        """
        if role not in self._files:
            raise Malformed(f"the case has no file {role!r}")
        if self._mutation.get("file") != role:
            return self._open(str(self._files[role]))
        if self._mutation["op"] == "replace_file":
            return self._open(self._replacement())
        data = self._open(str(self._files[role]))
        return _FILE_OPERATIONS[self._mutation["op"]](data, self._mutation)

    def _open(self, name: str) -> bytes:
        return read_limited(self._folder / name, what="case file", max_bytes=_MAX_FILE_BYTES)

    def _replacement(self) -> str:
        other, role = self._mutation.get("with_case"), str(self._mutation.get("with_file"))
        if other == self._base:
            return str(self._files[role])
        manifest = strict_json.loads(
            self._open("manifest.json"), what="manifest", max_bytes=_MAX_FILE_BYTES
        )
        files = next(case["files"] for case in manifest["cases"] if case["id"] == other)
        return str(files[role])


def lenient_base64(text: str) -> bytes:
    """Decode base64 in either alphabet, padded or not: vectors of other projects use all four forms.

    Raises:
        Malformed: it is none of them.
    """
    normal = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(normal + "=" * (-len(normal) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("a field is not base64") from error


def _with_expectation(case: Mapping[str, Any], mutation: dict[str, Any]) -> dict[str, Any]:
    changed = dict(case)
    if mutation.get("op") == "set_expected":
        changed[str(mutation["field"])] = mutation["value"]
    if mutation.get("op") == "set_time":
        changed["verification_time"] = mutation["value"]
    return changed


def _flip_bit(data: bytes, mutation: dict[str, Any]) -> bytes:
    changed = bytearray(data)
    changed[mutation["offset"]] ^= 1 << mutation["bit"]
    return bytes(changed)


def _set_bytes(data: bytes, mutation: dict[str, Any]) -> bytes:
    new = bytes.fromhex(mutation["hex"])
    return data[: mutation["offset"]] + new + data[mutation["offset"] + len(new) :]


def _append_bytes(data: bytes, mutation: dict[str, Any]) -> bytes:
    return data + bytes.fromhex(mutation["hex"])


def _truncate(data: bytes, mutation: dict[str, Any]) -> bytes:
    return data[: mutation["length"]]


def _delete_range(data: bytes, mutation: dict[str, Any]) -> bytes:
    return data[: mutation["start"]] + data[mutation["end"] :]


def _json_set(data: bytes, mutation: dict[str, Any]) -> bytes:
    document = json.loads(data)
    _parent(document, mutation["path"])[mutation["path"][-1]] = mutation["value"]
    return json.dumps(document).encode()


def _json_flip_bit(data: bytes, mutation: dict[str, Any]) -> bytes:
    document = json.loads(data)
    parent, last = _parent(document, mutation["path"]), mutation["path"][-1]
    encoding = mutation["encoding"]
    if encoding == "intlist":
        parent[last][mutation["byte"]] ^= 1 << mutation["bit"]
    else:
        raw = bytearray(bytes.fromhex(parent[last]) if encoding == "hex" else lenient_base64(parent[last]))
        raw[mutation["byte"]] ^= 1 << mutation["bit"]
        parent[last] = raw.hex() if encoding == "hex" else base64.b64encode(raw).decode("ascii")
    return json.dumps(document).encode()


def _edit_json_string(data: bytes, mutation: dict[str, Any]) -> bytes:
    """Change a text inside a JSON file as its signer did not: a status made better, or one more space."""
    document = json.loads(data)
    text = document[mutation["field"]]
    changed = text.replace("OutOfDate", "UpToDate", 1)
    document[mutation["field"]] = text.replace("{", "{ ", 1) if changed == text else changed
    return json.dumps(document).encode()


def _parent(document: Any, path: list[Any]) -> Any:
    for step in path[:-1]:
        document = document[step]
    return document


_CASE_OPERATIONS = frozenset({"set_expected", "set_time", "replace_file"})
_FILE_OPERATIONS: dict[str, Callable[[bytes, dict[str, Any]], bytes]] = {
    "flip_bit": _flip_bit,
    "set_bytes": _set_bytes,
    "append_bytes": _append_bytes,
    "truncate": _truncate,
    "delete_range": _delete_range,
    "json_set": _json_set,
    "edit_json_string": _edit_json_string,
    "json_flip_bit": _json_flip_bit,
}
