"""What the digest of an event covers of its data, and what that part says.

A digest in a replayed log is authentic; the data beside it is authentic only where hashing it gives that
digest. Three outcomes:

* the whole data is covered (``digest_matches_event``): its contents may be read (``details``);
* a known part of it is: of a GRUB line what follows the prefix, of a boot variable its value without its
  name. That part may be read (``measured``), what surrounds it not;
* nothing is (PE images with their device paths, firmware volumes, load options that are only named): there
  is a digest and nothing else.

The *type* of an event is covered by nothing: it is a label, which tells how to read data and proves
nothing.

Sources: PFP 1.05, sections 10.2.6 (UEFI_VARIABLE_DATA) and 10.4.1; GRUB and EDK2 (which part is hashed);
``common.aael``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import aael, strict_json
from common.binary import Reader
from common.encoding import b64_encode
from common.errors import InputError, Malformed
from common.tcg_log import BANK_HASHES
from verifier.tpm.events import measured_data

if TYPE_CHECKING:
    from common.aael import LogicalEvent
    from common.tcg_log import Event

EV_EVENT_TAG: Final = 0x00000006
EV_EFI_VARIABLE_BOOT: Final = 0x80000002
EV_EFI_VARIABLE_BOOT2: Final = 0x8000000C
_VARIABLES: Final = frozenset({0x80000001, EV_EFI_VARIABLE_BOOT, EV_EFI_VARIABLE_BOOT2, 0x800000E0})
# Events whose data is text: POST codes, actions, configuration flags, compact hashes, EV_IPL.
_TEXTS: Final = frozenset({0x01, 0x05, 0x0A, 0x0C, 0x0D, 0x12, 0x80000007})
_GUID_BYTES: Final = 16
_GUID_GROUPS: Final = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 16))
_MAX_NAME: Final = 512  # UTF-16 units; UEFI names are short
_MAX_TEXT: Final = 4096
_MAX_CONTENT: Final = 64 << 10
_CHARACTER_BYTES: Final = 2


class Variable(msgspec.Struct, frozen=True):
    """A parsed UEFI_VARIABLE_DATA.

    Attributes:
        guid: vendor's, 16 bytes as stored.
        name: of the variable.
        value: its contents.
    """

    guid: bytes
    name: str
    value: bytes


def covered(event: Event, bank: str) -> bytes | None:
    """The part of the event's data that its digest covers; None if it covers none of it."""
    found = measured_data(event, bank)
    if found is not None or event.type not in _VARIABLES:
        return found
    # EDK2 measures a boot variable by its value alone.
    variable = parse_variable(event.data)
    if variable is not None and BANK_HASHES[bank](variable.value) == event.digests[bank]:
        return variable.value
    return None


def details(event: Event) -> dict[str, Any]:
    """What the data says, in the words of Confidential Containers; for data that is wholly covered."""
    if event.type in _VARIABLES:
        return _variable_details(event.data)
    if event.type == EV_EVENT_TAG:
        logical = logical_event(event.data)
        return {} if logical is None else _logical_details(logical)
    text = text_of(event.data) if event.type in _TEXTS else None
    return {} if text is None else {"string": text}


def logical_event(data: bytes) -> LogicalEvent | None:
    """The agent's event in a tagged event; None where there is none, or one that breaks its form.

    Whoever may extend a register may log a broken one: it must not cost the rest of the log.
    """
    try:
        return aael.decode(data)
    except InputError:
        return None


def content_of(event: LogicalEvent) -> Any:
    """The event's content: a JSON object where it is one, else its text."""
    if not event.content.startswith("{"):
        return event.content
    try:
        return strict_json.loads(event.content.encode("utf-8"), what="event", max_bytes=_MAX_CONTENT)
    except InputError:
        return event.content


def parse_variable(data: bytes) -> Variable | None:
    """UEFI_VARIABLE_DATA whose lengths add up to its size exactly; None for anything else."""
    reader = Reader(data, "UEFI_VARIABLE_DATA", "little")
    try:
        guid = reader.take(_GUID_BYTES, "VariableName")
        units, size = reader.u64("UnicodeNameLength"), reader.u64("VariableDataLength")
        if units > _MAX_NAME:
            return None
        name = reader.take(units * _CHARACTER_BYTES, "UnicodeName").decode("utf-16-le")
        value = reader.take(size, "VariableData")
        reader.finish()
    except (Malformed, UnicodeDecodeError):
        return None
    return Variable(guid, name, value)


def text_of(data: bytes) -> str | None:
    """Printable text, without zeros at its end; None where it is none, or too long to show."""
    stripped = data.rstrip(b"\x00")
    if not stripped or len(stripped) > _MAX_TEXT:
        return None
    try:
        text = stripped.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\t\n" for character in text) else None


def _variable_details(data: bytes) -> dict[str, Any]:
    variable = parse_variable(data)
    if variable is None:
        return {}
    guid = variable.guid.hex()
    return {
        "unicode_name": variable.name,
        "unicode_name_length": len(variable.name.encode("utf-16-le")) // _CHARACTER_BYTES,
        "variable_data": b64_encode(variable.value),
        "variable_data_length": len(variable.value),
        # The bytes as stored, in groups: this is how Confidential Containers writes it.
        "variable_name": "-".join(guid[2 * start : 2 * end] for start, end in _GUID_GROUPS),
    }


def _logical_details(event: LogicalEvent) -> dict[str, Any]:
    return {
        "string": event.text(),
        "unicode_name": "AAEL",
        "data": {"domain": event.domain, "operation": event.operation, "content": content_of(event)},
    }
