"""TCG PC Client event log: parsing and replay, for whoever reads one (evidence) or predicts from one.

Little endian. Sources: TCG PC Client Platform Firmware Profile (PFP) 1.05, sections 10.2.1
(TCG_PCClientPCREvent), 10.2.2 (TCG_PCR_EVENT2), 10.4 (EV_NO_ACTION: TCG_EfiSpecIdEvent and
StartupLocality), 3.3.4 (PCR usage and first values); TCG Algorithm Registry (TPM_ALG_ID).

Two forms: *crypto agile* (the first record carries "Spec ID Event03") and *legacy* (SHA-1 alone).

Rules, all of them strict:

* at most 4 MiB and 20,000 events; every length is checked against what remains before it is read;
* the digest size of each algorithm in the header is the algorithm's true one, no algorithm stands
  there twice, and every event has exactly one digest of each;
* the log ends at the last byte, or at a tail that is 0xFF to the last byte. "Type 0, register 0" is a
  legal event (EV_PREBOOT_CERT) and ends nothing. For an area of fixed size that a firmware may fill with
  zeros (CCEL of td-shim) the caller may allow a zero tail too, with 0xFF before it or without, after a
  crypto-agile log only: there an event of zeros would lack its digests;
* EV_NO_ACTION is never extended; a StartupLocality event sets the first value of PCR 0, once, and only
  before PCR 0 is extended.

Not done: the contents of events are not interpreted.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives import hashes

from common.binary import Reader
from common.errors import InputError, Malformed, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_LOG_BYTES: Final = 4 << 20
MAX_EVENTS: Final = 20_000
EV_NO_ACTION: Final = 0x00000003
PCR_COUNT: Final = 24  # PC Client Platform TPM Profile: registers 0 to 23

# TPM_ALG_ID of a hash to its name and true digest size in bytes.
HASHES: Final[Mapping[int, tuple[str, int]]] = {
    0x0004: ("sha1", 20),
    0x000B: ("sha256", 32),
    0x000C: ("sha384", 48),
    0x000D: ("sha512", 64),
    0x0012: ("sm3_256", 32),
    0x0027: ("sha3_256", 32),
    0x0028: ("sha3_384", 48),
    0x0029: ("sha3_512", 64),
}
HASH_SIZES: Final[Mapping[str, int]] = dict(HASHES.values())


def _sm3(data: bytes) -> bytes:
    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize()


# Hashes that a PCR bank may have here. SHA-1 stands in the table because logs and opted-in banks use
# it; whether it may be *relied on* is its user's decision.
BANK_HASHES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha384": lambda data: hashlib.sha384(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
    "sm3_256": _sm3,
}

_SPEC_ID_03: Final = b"Spec ID Event03\x00"
_STARTUP_LOCALITY: Final = b"StartupLocality\x00"
_LOCALITIES: Final = frozenset({0, 3, 4})  # PFP, StartupLocality event: 0, 3, or 4 (H-CRTM)
_MAX_ALGORITHMS: Final = 8
_SHA1_BYTES: Final = 20
_PADDING_BYTES: Final = 4  # a register index of 0xFFFFFFFF at least
# PC Client Platform TPM Profile, PCR initial values: registers of the dynamic root of trust start at -1.
_DYNAMIC_PCRS: Final = frozenset(range(17, 23))


class HashUnknown(InputError):
    """A log or a replay names a hash that is not known here."""

    code = "input.hash"
    advice = "Use a log with SHA-256 or SHA-384 digests."


class LogContradiction(InputError):
    """An event log lacks the bank that is asked for, or contradicts itself."""

    code = "input.event_log"
    advice = "Take the log of one boot, whole and unchanged, from the machine that measured it."


class Event(msgspec.Struct, frozen=True):
    """One measured (or EV_NO_ACTION) event.

    Attributes:
        pcr: register index; anything for EV_NO_ACTION.
        type: event type.
        digests: bank to digest, one per bank of the log.
        data: event data; only what a digest covers may be believed.
    """

    pcr: int
    type: int
    digests: dict[str, bytes]
    data: bytes


class EventLog(msgspec.Struct, frozen=True):
    """A parsed log.

    Attributes:
        banks: hash names, in the order of the header (``("sha1",)`` for a legacy log).
        events: in order, without the header record.
        records: number of records, the header record included.
        end: offset after the last record, where padding begins and further records belong.
    """

    banks: tuple[str, ...]
    events: tuple[Event, ...]
    records: int
    end: int = 0


def parse_event_log(data: bytes, *, zero_tail: bool = False) -> EventLog:
    """Parse a crypto-agile or legacy log.

    Args:
        data: the log.
        zero_tail: whether a crypto-agile log may be followed by zeros.

    Raises:
        TooLarge: over 4 MiB or 20,000 events.
        Malformed: empty, cut short, or a record that breaks the rules above.
        HashUnknown: an algorithm whose true digest size is not known here.
    """
    if len(data) > MAX_LOG_BYTES:
        raise TooLarge(f"event log of {len(data)} bytes, the limit is {MAX_LOG_BYTES}")
    reader = Reader(data, "event log", "little")
    first = _legacy_event(reader)
    end = len(data.rstrip(b"\xff"))
    if first.type == EV_NO_ACTION and first.data.startswith(_SPEC_ID_03):
        sizes = _spec_id(first.data)
        if zero_tail:
            end = min(end, len(data.rstrip(b"\x00").rstrip(b"\xff")))
        events = _events(reader, sizes, [], end)
        banks = tuple(name for name, _ in sizes.values())
        return EventLog(banks, events, len(events) + 1, reader.position)
    events = _events(reader, None, [first], end)
    return EventLog(("sha1",), events, len(events), reader.position)


def replay(log: EventLog, bank: str) -> dict[int, bytes]:
    """Values of all 24 registers of a bank after the log, starting from a TPM reset.

    Raises:
        LogContradiction: the log has no digests for the bank, or its StartupLocality events
            contradict the order or each other.
        HashUnknown: no implementation of the bank's hash.
    """
    _require_bank(log, bank)
    return replay_from(log, bank, _initial(log, HASH_SIZES[bank]))


def replay_from(log: EventLog, bank: str, initial: Mapping[int, bytes]) -> dict[int, bytes]:
    """Values of given registers after the log, starting from given values.

    Args:
        log: the log.
        bank: its hash.
        initial: every register that there is, as the log numbers them, with its first value.

    Raises:
        LogContradiction: the log has no digests for the bank, or extends a register that is not given.
        HashUnknown: no implementation of the bank's hash.
    """
    hash_of = _require_bank(log, bank)
    registers = dict(initial)
    for event in log.events:
        if event.type == EV_NO_ACTION:
            continue
        if event.pcr not in registers:
            raise LogContradiction(f"the event log extends register {event.pcr}, which is not among these")
        registers[event.pcr] = hash_of(registers[event.pcr] + event.digests[bank])
    return registers


def _require_bank(log: EventLog, bank: str) -> Callable[[bytes], bytes]:
    if bank not in log.banks:
        raise LogContradiction(f"the event log has no {bank} digests, only {', '.join(log.banks)}")
    hash_of = BANK_HASHES.get(bank)
    if hash_of is None:
        raise HashUnknown(f"no replay of {bank} banks")
    return hash_of


def extended_registers(log: EventLog) -> frozenset[int]:
    """Registers that at least one event extends."""
    return frozenset(event.pcr for event in log.events if event.type != EV_NO_ACTION)


def _initial(log: EventLog, size: int) -> dict[int, bytes]:
    registers = {
        index: (b"\xff" if index in _DYNAMIC_PCRS else b"\x00") * size for index in range(PCR_COUNT)
    }
    locality = _startup_locality(log)
    if locality is not None:
        registers[0] = bytes(size - 1) + bytes([locality])
    return registers


def _startup_locality(log: EventLog) -> int | None:
    """The locality that started the TPM (PFP section 3.3.4: PCR 0 starts at its number)."""
    locality: int | None = None
    extended = False
    for event in log.events:
        if event.type != EV_NO_ACTION:
            extended = extended or event.pcr == 0
            continue
        if not event.data.startswith(_STARTUP_LOCALITY):
            continue
        if locality is not None or extended:
            raise LogContradiction("a StartupLocality event stands after PCR 0 was set or extended")
        value = event.data[len(_STARTUP_LOCALITY) :]
        if len(value) != 1 or value[0] not in _LOCALITIES:
            raise LogContradiction("a StartupLocality event names no locality that starts a TPM")
        locality = value[0]
    return locality


def _events(
    reader: Reader, sizes: dict[int, tuple[str, int]] | None, events: list[Event], end: int
) -> tuple[Event, ...]:
    # From ``end`` on every byte is padding, unless less than a register index is left of it. (An
    # EV_NO_ACTION event may name register 0xFFFFFFFF: four bytes alone do not end a log.)
    while reader.remaining and (reader.position < end or reader.remaining < _PADDING_BYTES):
        if len(events) >= MAX_EVENTS:
            raise TooLarge(f"event log of more than {MAX_EVENTS} events")
        events.append(_legacy_event(reader) if sizes is None else _agile_event(reader, sizes))
    for event in events:
        if event.type != EV_NO_ACTION and event.pcr >= PCR_COUNT:
            raise Malformed(f"event log: an event extends register {event.pcr}, there are {PCR_COUNT}")
    return tuple(events)


def _legacy_event(reader: Reader) -> Event:
    pcr = reader.u32("pcrIndex")
    kind = reader.u32("eventType")
    digest = reader.take(_SHA1_BYTES, "digest")
    return Event(pcr, kind, {"sha1": digest}, reader.take(reader.u32("eventDataSize"), "eventData"))


def _agile_event(reader: Reader, sizes: dict[int, tuple[str, int]]) -> Event:
    pcr = reader.u32("pcrIndex")
    kind = reader.u32("eventType")
    count = reader.u32("digest count")
    if count != len(sizes):
        raise Malformed(
            f"event log: an event has {count} digests, the header names {len(sizes)} algorithms"
        )
    digests: dict[str, bytes] = {}
    for _ in range(count):
        algorithm = reader.u16("digest algorithm")
        if algorithm not in sizes:
            raise Malformed(f"event log: digest algorithm {algorithm:#06x} is not in the header")
        name, size = sizes[algorithm]
        if name in digests:
            raise Malformed(f"event log: an event has two {name} digests")
        digests[name] = reader.take(size, "digest")
    return Event(pcr, kind, digests, reader.take(reader.u32("eventSize"), "event"))


def _spec_id(data: bytes) -> dict[int, tuple[str, int]]:
    """TCG_EfiSpecIdEvent: TPM_ALG_ID to name and digest size, in order."""
    reader = Reader(data, "TCG_EfiSpecIdEvent", "little")
    reader.take(len(_SPEC_ID_03), "signature")
    reader.u32("platformClass")
    reader.take(3, "specVersion and specErrata")
    reader.u8("uintnSize")
    count = reader.u32("numberOfAlgorithms")
    if not 1 <= count <= _MAX_ALGORITHMS:
        raise Malformed(f"event log: header with {count} algorithms, 1 to {_MAX_ALGORITHMS} are accepted")
    sizes: dict[int, tuple[str, int]] = {}
    for _ in range(count):
        algorithm, size = reader.u16("algorithmId"), reader.u16("digestSize")
        if algorithm not in HASHES:
            raise HashUnknown(f"event log: digest algorithm {algorithm:#06x} is not known")
        if algorithm in sizes:
            raise Malformed(f"event log: the header names algorithm {algorithm:#06x} twice")
        if size != HASHES[algorithm][1]:
            raise Malformed(
                f"event log: the header says {size} bytes for {HASHES[algorithm][0]}, "
                f"it has {HASHES[algorithm][1]}"
            )
        sizes[algorithm] = HASHES[algorithm]
    reader.take(reader.u8("vendorInfoSize"), "vendorInfo")
    reader.finish()
    return sizes
