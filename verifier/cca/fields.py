"""Reading one claims map: by label, of one type and size, or refused with the claim's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common import cbor
from common.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Collection

# SHA-256, SHA-384, SHA-512 (``cca-hash-type``).
DIGEST_SIZES: Final = (32, 48, 64)
_MAX_TEXT: Final = 1024


class Fields:
    """The members of a CBOR map.

    Args:
        members: label to value.
        what: the map's name in messages.
    """

    def __init__(self, members: object, what: str) -> None:
        """Keep the map.

        Raises:
            Malformed: not a map.
        """
        if not isinstance(members, dict):
            raise Malformed(f"{what} is not a map")
        self._members: dict[Any, Any] = members
        self._what = what

    @classmethod
    def decode(cls, data: bytes, what: str) -> Fields:
        """Of an encoded map.

        Raises:
            InputError: not strict CBOR, or not a map.
        """
        return cls(cbor.decode(data, what=what), what)

    def has(self, label: int) -> bool:
        """Whether there is such a member."""
        return label in self._members

    def octets(self, label: int, name: str, sizes: Collection[int] | None = None) -> bytes:
        """A byte string; of one of ``sizes``, of any but 0 where none are given.

        Raises:
            Malformed: absent, or something else.
        """
        return self._octets(self._get(label, name), name, sizes)

    def octets_list(self, label: int, name: str, count: int, sizes: Collection[int]) -> tuple[bytes, ...]:
        """``count`` byte strings.

        Raises:
            Malformed: absent, or something else.
        """
        value = self._get(label, name)
        if not isinstance(value, list) or len(value) != count:
            raise Malformed(f"{self._what}: {name} is not a list of {count}")
        return tuple(self._octets(item, name, sizes) for item in value)

    def maps(self, label: int, name: str, most: int) -> tuple[Fields, ...]:
        """One to ``most`` maps.

        Raises:
            Malformed: absent, or something else.
        """
        value = self._get(label, name)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise Malformed(f"{self._what}: {name} is not a list of 1 to {most}")
        return tuple(Fields(item, f"{self._what}: {name}") for item in value)

    def text(self, label: int, name: str) -> str:
        """A text that is not empty.

        Raises:
            Malformed: absent, or something else.
        """
        value = self._get(label, name)
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
            raise Malformed(f"{self._what}: {name} is not a text of 1 to {_MAX_TEXT} characters")
        return value

    def optional_text(self, label: int, name: str) -> str | None:
        """A text, or None where there is no such member.

        Raises:
            Malformed: something else.
        """
        return self.text(label, name) if label in self._members else None

    def unsigned(self, label: int, name: str, most: int) -> int:
        """An unsigned integer up to ``most``.

        Raises:
            Malformed: absent, or something else.
        """
        value = self._get(label, name)
        if type(value) is not int or not 0 <= value <= most:
            raise Malformed(f"{self._what}: {name} is not an integer in 0..{most}")
        return value

    def others(self, known: Collection[int]) -> tuple[str, ...]:
        """Labels that are not in ``known``, as text, sorted."""
        return tuple(sorted(str(label)[:64] for label in self._members if label not in known))

    def _get(self, label: int, name: str) -> Any:
        if label not in self._members:
            raise Malformed(f"{self._what} has no {name} (claim {label})")
        return self._members[label]

    def _octets(self, value: object, name: str, sizes: Collection[int] | None) -> bytes:
        if not isinstance(value, bytes) or not value or (sizes is not None and len(value) not in sizes):
            wanted = "some" if sizes is None else " or ".join(map(str, sizes))
            raise Malformed(f"{self._what}: {name} is not a byte string of {wanted} bytes")
        return value
