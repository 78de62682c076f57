"""Strict JSON: duplicate keys, NaN, trailing bytes, excess depth and excess size are refused.

``loads`` is for documents whose meaning was signed or that decide something (statements, policies,
tokens). Hot-path request bodies are decoded by ``msgspec`` into typed structs instead, after
``reject_duplicate_keys`` where the document is signed.

``canonical`` is RFC 8785 restricted to what we emit: strings, integers, booleans, null, lists and
objects with string keys. Floats are refused, so that no two implementations can differ.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from common.errors import DuplicateKey, Malformed, TooLarge

MAX_DEPTH = 32
_MAX_SAFE_INTEGER = 2**53 - 1
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_CONTAINERS = frozenset({dict, list, tuple})
_PLAIN_ENCODER = msgspec.json.Encoder(order="deterministic")


def loads(data: bytes, *, what: str = "document", max_bytes: int = 4 << 20) -> Any:
    """Parse UTF-8 JSON strictly.

    Args:
        data: the bytes.
        what: the document's name in messages.
        max_bytes: size limit, checked before parsing.

    Raises:
        TooLarge: more than ``max_bytes`` or deeper than ``MAX_DEPTH``.
        DuplicateKey: an object names a key twice.
        Malformed: not UTF-8, not JSON, NaN or Infinity, a lone surrogate.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"{what} has {len(data)} bytes, the limit is {max_bytes}")
    _bound_depth(data, what)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Malformed(f"{what} is not JSON") from error
    except ValueError as error:  # an integer literal over the interpreter's digit limit
        raise Malformed(f"{what} has a number that is too long") from error
    return value


def canonical(value: object) -> bytes:
    """RFC 8785 (JCS) bytes of ``value``; floats and unsafe integers are refused.

    Raises:
        Malformed: a float, an integer beyond 2**53-1, a non-string key or a foreign type.
        UnicodeEncodeError: a lone surrogate.
    """
    if is_plain(value):
        return canonical_plain(value)
    _check_canonical(value)
    # Sorted by UTF-16 code units (RFC 8785 section 3.2.3), which for the keys' BMP characters is
    # code-point order; the sort key makes it true for all.
    return json.dumps(_sorted(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
        "utf-8"
    )


def is_plain(value: object, depth: int = MAX_DEPTH) -> bool:
    """Whether ``canonical_plain`` may write ``value``: no floats, integers within 2**53-1, ASCII keys.

    Exactly the types that JSON is read into, nested no deeper than ``depth``; other values may have a
    canonical form too.
    """
    kind = type(value)
    if kind is int:
        return -_MAX_SAFE_INTEGER <= value <= _MAX_SAFE_INTEGER  # type: ignore[operator]
    if depth == 0 or kind not in _CONTAINERS:
        return value is None or kind is str or kind is bool
    if kind is dict:
        for key in value:  # type: ignore[attr-defined]
            if type(key) is not str or not key.isascii():
                return False
        value = value.values()  # type: ignore[attr-defined]
    for item in value:  # type: ignore[attr-defined]  # noqa: SIM110 (a generator would cost as much again)
        if not is_plain(item, depth - 1):
            return False
    return True


def canonical_plain(value: object) -> bytes:
    """RFC 8785 bytes of a plain value: a tenth of the time of any code that sorts and writes in Python.

    ASCII keys sort alike by bytes and by UTF-16 code units (section 3.2.3); strings are escaped as section
    3.2.2.2 demands, which tests hold against another implementation for every character.

    Raises:
        UnicodeEncodeError: a lone surrogate.
    """
    return _PLAIN_ENCODER.encode(value)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise DuplicateKey("an object has a member twice")
    return result


def _no_constant(name: str) -> Any:
    raise Malformed(f"{name} is not a JSON number")


def _bound_depth(data: bytes, what: str) -> None:
    # Counts brackets outside strings, before the recursive parser sees them.
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise TooLarge(f"{what} is nested deeper than {MAX_DEPTH}")


def _check_canonical(value: object) -> None:
    if value is None or isinstance(value, (str, bool)):
        return
    if isinstance(value, int):
        if abs(value) > _MAX_SAFE_INTEGER:
            raise Malformed("an integer is beyond 2**53-1")
        return
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_canonical(item)
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise Malformed("an object key is not a string")
            _check_canonical(item)
        return
    raise Malformed(f"{type(value).__name__} has no canonical form")


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return {key: _sorted(value[key]) for key in keys}
    if isinstance(value, (list, tuple)):
        return [_sorted(item) for item in value]
    return value
