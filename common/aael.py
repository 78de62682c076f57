"""Entries of the attestation agent's event log (AAEL): what was measured at run time, and in which words.

A logical event is ``<domain> <operation> <content>``, one space between: so neither domain nor operation
may hold a space, and none of the three a line break. Its record is a TCG_PCR_EVENT2 (little endian)::

    u32 register | u32 6 (EV_EVENT_TAG) | u32 1 | u16 TPM_ALG_ID | digest | u32 size | TaggedEvent

    TaggedEvent: u32 0x4141454C ("AAEL") | u32 size | the logical event, UTF-8

The digest is over the whole TaggedEvent. What is extended is that digest, so the words are covered by it.
``register`` is the number that the platform's log uses: a CC measurement register on TDX and CSV, a PCR
on TPMs.

Sources: guest-components, attestation-agent documentation of AAEL; TCG PC Client Platform Firmware
Profile 1.05, sections 10.2.2 and 10.4.2.2 (TCG_PCClientTaggedEvent).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from common.binary import Reader
from common.errors import Malformed, TooLarge
from common.runtime_data import hash_bytes
from common.tcg_log import HASHES, Event

if TYPE_CHECKING:
    from collections.abc import Mapping

EV_EVENT_TAG: Final = 0x00000006
AAEL_ID: Final = 0x4141454C
MAX_EVENT_BYTES: Final = 64 << 10
MAX_LOG_BYTES: Final = 4 << 20
MAX_EVENTS: Final = 20_000
_SIZES: Final = {"sha256": 32, "sha384": 48, "sha512": 64, "sm3": 32}
# Names of hashes here and in TCG logs, to TPM_ALG_ID.
_ALGORITHMS: Final[Mapping[str, int]] = {
    "sha256": 0x000B,
    "sha384": 0x000C,
    "sha512": 0x000D,
    "sm3": 0x0012,
}
_NAMES: Final = {number: name for name, number in _ALGORITHMS.items()}
_PARTS: Final = 3


class LogicalEvent(msgspec.Struct, frozen=True):
    """What happened, in words.

    Attributes:
        domain: whose vocabulary it is (``github.com/confidential-containers``).
        operation: what was done (``PullImage``).
        content: to what; often JSON. May be empty.
    """

    domain: str
    operation: str
    content: str

    def text(self) -> str:
        """The three parts, one space between.

        Raises:
            Malformed: a part is empty that may not be, or has a character that would end or split it.
            TooLarge: over ``MAX_EVENT_BYTES``.
        """
        for name, part in (("domain", self.domain), ("operation", self.operation)):
            if not part or not part.isprintable() or " " in part:
                raise Malformed(f"the event's {name} is empty, or has a space or a control character")
        if any(line_break in self.content for line_break in "\n\r\0"):
            raise Malformed("the event's content has a line break or a zero byte")
        text = f"{self.domain} {self.operation} {self.content}"
        try:
            size = len(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise Malformed("the event has a lone surrogate") from error
        if size > MAX_EVENT_BYTES:
            raise TooLarge(f"the event has {size} bytes, the limit is {MAX_EVENT_BYTES}")
        return text


def tagged(event: LogicalEvent) -> bytes:
    """The TaggedEvent, which the digest covers.

    Raises:
        Malformed, TooLarge: as ``LogicalEvent.text``.
    """
    data = event.text().encode("utf-8")
    return AAEL_ID.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


def digest(event: LogicalEvent, algorithm: str) -> bytes:
    """What is extended for an event: the hash of its TaggedEvent.

    Raises:
        Malformed, TooLarge: as ``tagged``; or no such hash.
    """
    return hash_bytes(tagged(event), algorithm)


def encode(event: LogicalEvent, *, register: int, algorithm: str) -> bytes:
    """The event's record in the log.

    Args:
        event: the event.
        register: as the platform's log numbers it.
        algorithm: ``sha256``, ``sha384``, ``sha512`` or ``sm3``.

    Raises:
        Malformed, TooLarge: as ``digest``.
    """
    data = tagged(event)
    record = register.to_bytes(4, "little") + EV_EVENT_TAG.to_bytes(4, "little")
    record += (1).to_bytes(4, "little") + _ALGORITHMS[algorithm].to_bytes(2, "little")
    return record + hash_bytes(data, algorithm) + len(data).to_bytes(4, "little") + data


def decode(data: bytes) -> LogicalEvent | None:
    """The logical event of a record's data; None where the data are no AAEL event.

    An event's words are to be believed only after the record's digest was found to be the hash of ``data``.

    Raises:
        Malformed: it says that it is one, and is none.
    """
    if data[:4] != AAEL_ID.to_bytes(4, "little"):
        return None
    reader = Reader(data, "AAEL event", "little")
    reader.u32("id")
    body = reader.take(reader.u32("size"), "event")
    reader.finish()
    try:
        parts = body.decode("utf-8").split(" ", _PARTS - 1)
    except UnicodeDecodeError as error:
        raise Malformed("the AAEL event is not UTF-8") from error
    if len(parts) != _PARTS:
        raise Malformed("the AAEL event has no domain, operation and content")
    event = LogicalEvent(*parts)
    event.text()
    return event


def parse_log(data: bytes, algorithm: str) -> tuple[Event, ...]:
    """Records of an agent's own log file: AAEL records alone, one digest each.

    Raises:
        TooLarge: over 4 MiB or 20,000 records.
        Malformed: cut short, or a record that is not of ``encode``'s form, or whose digest is not its
            data's.
    """
    if len(data) > MAX_LOG_BYTES:
        raise TooLarge(f"agent's event log of {len(data)} bytes, the limit is {MAX_LOG_BYTES}")
    reader = Reader(data, "agent's event log", "little")
    events: list[Event] = []
    while reader.remaining:
        if len(events) == MAX_EVENTS:
            raise TooLarge(f"agent's event log of more than {MAX_EVENTS} records")
        events.append(_record(reader, algorithm))
    return tuple(events)


def replay(events: tuple[Event, ...], algorithm: str, initial: Mapping[int, bytes]) -> dict[int, bytes]:
    """Values of registers after the events, from given first values (zeros where none is given)."""
    name = HASHES[_ALGORITHMS[algorithm]][0]
    registers = dict(initial)
    for event in events:
        before = registers.get(event.pcr, bytes(_SIZES[algorithm]))
        registers[event.pcr] = hash_bytes(before + event.digests[name], algorithm)
    return registers


def _record(reader: Reader, algorithm: str) -> Event:
    register, kind, count = reader.u32("register"), reader.u32("type"), reader.u32("digest count")
    if kind != EV_EVENT_TAG or count != 1 or _NAMES.get(reader.u16("digest algorithm")) != algorithm:
        raise Malformed("agent's event log: a record of another type or hash")
    recorded = reader.take(_SIZES[algorithm], "digest")
    data = reader.take(reader.u32("size"), "event")
    if hash_bytes(data, algorithm) != recorded or decode(data) is None:
        raise Malformed("agent's event log: a record's digest is not the hash of an AAEL event")
    return Event(register, kind, {HASHES[_ALGORITHMS[algorithm]][0]: recorded}, data)
