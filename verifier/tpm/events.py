"""What an event log tells beyond its digests: events whose *data* the extended digest covers.

A digest in a replayed log is authentic; the data beside it is authentic only where hashing it gives
that digest. Events of PE images (EV_EFI_BOOT_SERVICES_APPLICATION and its kin) carry a device path that
nothing covers ("File(kernel)" is a name that anybody may write), so they have a digest here and no text.
An event's *type* is covered by nothing either: it is a label, and policies decide on register and digest.

Sources: TCG PC Client Platform Firmware Profile (PFP) 1.05, section 10.4.1 (event types); for EV_IPL the
layouts of GRUB (``grub_cmd: ...``, digest over the part after the prefix) and of shim and systemd-stub
(whole data).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from verifier.tpm.algorithms import BANK_HASHES
from verifier.tpm.eventlog import EV_NO_ACTION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from verifier.tpm.eventlog import Event, EventLog

EV_SEPARATOR: Final = 0x00000004
EV_IPL: Final = 0x0000000D

EVENT_TYPES: Final[Mapping[int, str]] = {
    0x00000000: "EV_PREBOOT_CERT",
    0x00000001: "EV_POST_CODE",
    0x00000003: "EV_NO_ACTION",
    EV_SEPARATOR: "EV_SEPARATOR",
    0x00000005: "EV_ACTION",
    0x00000006: "EV_EVENT_TAG",
    0x00000007: "EV_S_CRTM_CONTENTS",
    0x00000008: "EV_S_CRTM_VERSION",
    0x00000009: "EV_CPU_MICROCODE",
    0x0000000A: "EV_PLATFORM_CONFIG_FLAGS",
    0x0000000B: "EV_TABLE_OF_DEVICES",
    0x0000000C: "EV_COMPACT_HASH",
    EV_IPL: "EV_IPL",
    0x0000000E: "EV_IPL_PARTITION_DATA",
    0x0000000F: "EV_NONHOST_CODE",
    0x00000010: "EV_NONHOST_CONFIG",
    0x00000011: "EV_NONHOST_INFO",
    0x00000012: "EV_OMIT_BOOT_DEVICE_EVENTS",
    0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    0x80000002: "EV_EFI_VARIABLE_BOOT",
    0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER",
    0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER",
    0x80000006: "EV_EFI_GPT_EVENT",
    0x80000007: "EV_EFI_ACTION",
    0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    0x80000009: "EV_EFI_HANDOFF_TABLES",
    0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
    0x8000000B: "EV_EFI_HANDOFF_TABLES2",
    0x8000000C: "EV_EFI_VARIABLE_BOOT2",
    0x80000010: "EV_EFI_HCRTM_EVENT",
    0x800000E0: "EV_EFI_VARIABLE_AUTHORITY",
    0x800000E1: "EV_EFI_SPDM_FIRMWARE_BLOB",
    0x800000E2: "EV_EFI_SPDM_FIRMWARE_CONFIG",
}

# A result token carries the claims: a real boot has 25 to 120 records.
_MAX_CLAIMED: Final = 256
_MAX_TEXT: Final = 512

# UEFI_VARIABLE_DATA (PFP section 10): GUID, name length in UTF-16 units, data length, name, data.
_EFI_GLOBAL_VARIABLE: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")


def _secure_boot_variable(value: bytes) -> bytes:
    name = "SecureBoot"
    lengths = len(name).to_bytes(8, "little") + len(value).to_bytes(8, "little")
    return _EFI_GLOBAL_VARIABLE + lengths + name.encode("utf-16-le") + value


# The variable's states; without a value (a firmware without Secure Boot) it is off.
_SECURE_BOOT: Final = (
    (_secure_boot_variable(b"\x01"), True),
    (_secure_boot_variable(b"\x00"), False),
    (_secure_boot_variable(b""), False),
)
_SECURE_BOOT_PCR: Final = 7
_SEPARATORS: Final = (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff")  # PFP section 10.4.1, EV_SEPARATOR


def event_log_claims(log: EventLog, bank: str, registers: frozenset[int]) -> dict[str, Any]:
    """Claims of a log that was replayed to quoted registers.

    Args:
        log: the log.
        bank: the bank whose replay was compared.
        registers: registers of that bank whose replay was compared; events of others are left out.

    Returns:
        ``bank``, ``count`` (events that extend), ``events`` (``pcr``, ``type``, ``digest``, and
        ``text`` where the digest covers printable data; at most 256, ``truncated`` tells), ``unverified``
        (events whose digest does not cover their data), ``secure_boot`` (None if the log does not tell).
    """
    claimed: list[dict[str, Any]] = []
    count = unverified = 0
    for event in _measured(log, registers):
        count += 1
        measured = measured_data(event, bank)
        if measured is None:
            unverified += 1
        if event.type != EV_SEPARATOR and len(claimed) < _MAX_CLAIMED:
            claimed.append(_claim(event, bank, measured))
    return {
        "bank": bank,
        "count": count,
        "events": claimed,
        "truncated": len(claimed) == _MAX_CLAIMED,
        "unverified": unverified,
        "secure_boot": secure_boot(log, bank, _SECURE_BOOT_PCR) if _SECURE_BOOT_PCR in registers else None,
    }


def measured_data(event: Event, bank: str) -> bytes | None:
    """The part of the event's data that its digest covers; None if it covers none of it."""
    hash_of, digest = BANK_HASHES[bank], event.digests[bank]
    return next((part for part in _candidates(event) if hash_of(part) == digest), None)


def _candidates(event: Event) -> Iterator[bytes]:
    yield event.data
    if event.type == EV_IPL and event.data.endswith(b"\x00"):
        text = event.data[:-1]
        yield text
        prefix, found, rest = text.partition(b": ")
        if found and prefix.isascii():
            yield rest
    if event.type == EV_IPL:
        # Older GRUB: "grub_cmd COMMAND", zero and one more byte; the digest is over the command, with its
        # zero or without.
        text, end, _ = event.data.partition(b"\x00")
        prefix, found, rest = text.partition(b" ")
        if found and end and prefix.isascii():
            yield rest + end
            yield rest


def _measured(log: EventLog, registers: frozenset[int]) -> Iterator[Event]:
    return (event for event in log.events if event.type != EV_NO_ACTION and event.pcr in registers)


def _claim(event: Event, bank: str, measured: bytes | None) -> dict[str, Any]:
    claim: dict[str, Any] = {
        "pcr": event.pcr,
        "type": EVENT_TYPES.get(event.type, f"{event.type:#010x}"),
        "digest": event.digests[bank].hex(),
    }
    text = None if measured is None else _text(measured)
    if text is not None:
        claim["text"] = text
    return claim


def _text(data: bytes) -> str | None:
    stripped = data.rstrip(b"\x00")
    if not stripped or len(stripped) > _MAX_TEXT or not stripped.isascii():
        return None
    text = stripped.decode("ascii")
    return text if text.isprintable() else None


def secure_boot(log: EventLog, bank: str, register: int) -> bool | None:
    """State of Secure Boot, from digests alone; None if the log does not tell.

    The firmware measures the variable into its register (PCR 7; CC register 1) before that register's
    separator (PFP section 3.3.4.8). Software that runs later can append events and rewrite types and data,
    but neither move a digest before the separator nor change one that stands there.
    """
    hash_of = BANK_HASHES[bank]
    states = {hash_of(data): state for data, state in _SECURE_BOOT}
    separators = separator_digests(bank)
    seen: list[bool] = []
    for event in _measured(log, frozenset({register})):
        digest = event.digests[bank]
        if digest in separators:
            return all(seen) if seen else None
        if digest in states:
            seen.append(states[digest])
    return None


def separator_digests(bank: str) -> frozenset[bytes]:
    """Digests of the events that end what the firmware measures before it boots something."""
    return frozenset(BANK_HASHES[bank](data) for data in _SEPARATORS)
