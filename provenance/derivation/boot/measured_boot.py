"""Measured boot: register arithmetic, and the bytes that UEFI firmware and loaders measure.

Invariants:

* A register never takes a digest of another length than its bank's, and a bank that is not known is
  refused. Registers start at zero unless the caller gives their first value.
* A ``Measurement`` holds what is extended in every bank that was asked for: nothing is hashed later
  from data that might have changed.
* Encoders give exactly the bytes of the standard; names are bounded and cannot carry a NUL.

Pure. TDX runtime registers (RTMR) are SHA-384 registers of the same kind.

Sources: TCG PC Client Platform Firmware Profile (PFP) 1.05, sections 3.3.4 (register use), 10.2.4
(UEFI_GPT_DATA), 10.2.6 (UEFI_VARIABLE_DATA), 10.4.1 (event types and what each measures); UEFI 2.10
section 3.3 (EFI_GLOBAL_VARIABLE), 5.3.2 (GPT header), 32.4.1 (EFI_SIGNATURE_DATA), 32.6.1 (image security
database GUID); TPM 2.0 part 1, section 17.2 (extend).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from common.tcg_log import BANK_HASHES, HASH_SIZES
from provenance.derivation.boot import pe
from provenance.errors import ArtifactInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BANKS: Final = tuple(BANK_HASHES)

EFI_GLOBAL_VARIABLE: Final = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
EFI_IMAGE_SECURITY_DATABASE: Final = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
SHIM_LOCK: Final = UUID("605dab50-e046-4300-abb6-3dd810dd8b23")  # shim: SHIM_LOCK_GUID

# PFP section 10.4.1, EV_EFI_ACTION: the strings that EFI firmware measures (no NUL).
CALLING_EFI_APPLICATION: Final = "Calling EFI Application from Boot Option"
RETURNING_FROM_EFI_APPLICATION: Final = "Returning from EFI Application from Boot Option"
EXIT_BOOT_SERVICES_INVOCATION: Final = "Exit Boot Services Invocation"
EXIT_BOOT_SERVICES_FAILED: Final = "Exit Boot Services Returned with Failure"
EXIT_BOOT_SERVICES_SUCCEEDED: Final = "Exit Boot Services Returned with Success"
UEFI_DEBUG_MODE: Final = "UEFI Debug Mode"
DMA_PROTECTION_DISABLED: Final = "DMA Protection Disabled"
EFI_ACTIONS: Final = frozenset(
    {
        CALLING_EFI_APPLICATION,
        RETURNING_FROM_EFI_APPLICATION,
        EXIT_BOOT_SERVICES_INVOCATION,
        EXIT_BOOT_SERVICES_FAILED,
        EXIT_BOOT_SERVICES_SUCCEEDED,
        UEFI_DEBUG_MODE,
        DMA_PROTECTION_DISABLED,
    }
)
# PFP section 10.4.1, EV_SEPARATOR: 32 bits of zero; of ones where an error was found.
SEPARATOR: Final = bytes(4)
MAX_VARIABLE_NAME: Final = 256  # UTF-16 units; none that is measured comes near
MAX_VARIABLE_BYTES: Final = 1 << 20
_GPT_SIGNATURE: Final = b"EFI PART"
_GPT_HEADER_BYTES: Final = 92
_GPT_ENTRY_BYTES: Final = 128
_GPT_SECTOR: Final = 512
_GPT_MAX_ENTRIES: Final = 1024
_GPT_ENTRIES_LBA: Final = slice(72, 80)
_GPT_ENTRY_COUNT: Final = slice(80, 84)
_GPT_ENTRY_SIZE: Final = slice(84, 88)
_GUID_BYTES: Final = 16


class Measurement(msgspec.Struct, frozen=True):
    """One event that extends one register.

    Attributes:
        register: index of the register.
        what: what is measured, for messages and records.
        digests: bank to digest, for every bank that was asked for.
    """

    register: int
    what: str
    digests: dict[str, bytes]


def digest(bank: str, data: bytes) -> bytes:
    """The bank's hash of the data.

    Raises:
        NotDerivable: the bank's hash is not known here.
    """
    return BANK_HASHES[_known(bank)](data)


def measure(register: int, what: str, data: bytes, banks: Iterable[str]) -> Measurement:
    """An event whose digest is the hash of ``data``.

    Raises:
        NotDerivable: a bank's hash is not known here.
    """
    return Measurement(register, what, {bank: digest(bank, data) for bank in banks})


def measure_image(register: int, what: str, image: bytes, banks: Iterable[str]) -> Measurement:
    """A PE image that the firmware loads: its Authenticode digest (PFP: EV_EFI_BOOT_SERVICES_APPLICATION).

    Raises:
        ArtifactInvalid: not a PE image.
        NotDerivable: a bank's hash is not known here.
    """
    return Measurement(
        register, what, {bank: pe.authenticode_digest(image, _known(bank)) for bank in banks}
    )


def first_value(bank: str) -> bytes:
    """The value of a register that nothing has extended: zeros (registers 0 to 16 and 23, and RTMRs).

    Raises:
        NotDerivable: the bank's hash is not known here.
    """
    return bytes(HASH_SIZES[_known(bank)])


def extend(bank: str, value: bytes, event_digest: bytes) -> bytes:
    """The register's value after one event: ``H(value || digest)``.

    Raises:
        NotDerivable: the bank's hash is not known here, or a length is not the bank's.
    """
    size = HASH_SIZES[_known(bank)]
    if len(value) != size or len(event_digest) != size:
        raise NotDerivable(f"a register of the {bank} bank takes digests of {size} bytes alone")
    return BANK_HASHES[bank](value + event_digest)


def replay(bank: str, digests: Iterable[bytes], first: bytes | None = None) -> bytes:
    """The value after all digests, in order, from ``first`` (else zeros).

    Raises:
        NotDerivable: as ``extend``.
    """
    value = first_value(bank) if first is None else first
    for each in digests:
        value = extend(bank, value, each)
    return value


def registers(
    bank: str, events: Sequence[Measurement], first: Mapping[int, bytes] | None = None
) -> dict[int, bytes]:
    """The values of every register that an event extends, or that has a first value.

    Raises:
        NotDerivable: as ``extend``; an event has no digest of the bank.
    """
    values = dict(first or {})
    for event in events:
        if bank not in event.digests:
            raise NotDerivable(f"the event {event.what!a} has no {bank} digest")
        values[event.register] = extend(
            bank, values.get(event.register, first_value(bank)), event.digests[bank]
        )
    return values


def separator(register: int, banks: Iterable[str]) -> Measurement:
    """The end of what the firmware measures before it boots (EV_SEPARATOR)."""
    return measure(register, "separator", SEPARATOR, banks)


def efi_action(register: int, text: str, banks: Iterable[str]) -> Measurement:
    """An EV_EFI_ACTION: the string without NUL.

    Raises:
        NotDerivable: not one of ``EFI_ACTIONS``.
    """
    if text not in EFI_ACTIONS:
        raise NotDerivable("no EFI action of that text is measured")
    return measure(register, text, text.encode("ascii"), banks)


def variable_data(guid: UUID, name: str, data: bytes) -> bytes:
    """UEFI_VARIABLE_DATA: GUID, two 64-bit lengths (UTF-16 units, bytes), name without NUL, data.

    EV_EFI_VARIABLE_DRIVER_CONFIG, EV_EFI_VARIABLE_AUTHORITY and EV_EFI_VARIABLE_BOOT2 measure all of it.

    Raises:
        ArtifactInvalid: the name is empty, too long, has a NUL or is not UTF-16; the data is too long.
    """
    if not name or "\0" in name or len(name) > MAX_VARIABLE_NAME or len(data) > MAX_VARIABLE_BYTES:
        raise ArtifactInvalid("a variable's name is empty or too long, or its data is too long")
    try:
        encoded = name.encode("utf-16-le")
    except UnicodeEncodeError as error:
        raise ArtifactInvalid("a variable's name is not UTF-16") from error
    lengths = (len(encoded) // 2).to_bytes(8, "little") + len(data).to_bytes(8, "little")
    return guid.bytes_le + lengths + encoded + data


def variable(register: int, guid: UUID, name: str, data: bytes, banks: Iterable[str]) -> Measurement:
    """A variable measured whole (EV_EFI_VARIABLE_DRIVER_CONFIG or ..._AUTHORITY).

    Args:
        register: 7 for secure boot.
        guid: vendor GUID.
        name: its name.
        data: its content, without attributes; empty where the variable is absent. For an authority, the
            EFI_SIGNATURE_DATA (owner GUID, then certificate) that let an image pass.
        banks: banks to hash for.

    Raises:
        ArtifactInvalid: as ``variable_data``.
    """
    return measure(register, f"variable {name}", variable_data(guid, name, data), banks)


def boot_variable(register: int, name: str, data: bytes, banks: Iterable[str]) -> Measurement:
    """``BootOrder`` or ``Boot####`` as EV_EFI_VARIABLE_BOOT: its data alone (edk2, Tcg2Dxe.c)."""
    return measure(register, f"boot variable {name}", data, banks)


def gpt_data(disk: bytes) -> bytes:
    """UEFI_GPT_DATA of a disk: the primary header, a 64-bit count, the entries that are in use.

    Args:
        disk: the disk's first sectors of 512 bytes, up to the end of its partition entries at least.

    Raises:
        ArtifactInvalid: no GPT header at sector 1, an entry size other than 128, or entries that the
            bytes do not hold.
    """
    header = disk[_GPT_SECTOR : _GPT_SECTOR + _GPT_HEADER_BYTES]
    if len(header) != _GPT_HEADER_BYTES or not header.startswith(_GPT_SIGNATURE):
        raise ArtifactInvalid("the disk has no GPT header at its second sector")
    start = int.from_bytes(header[_GPT_ENTRIES_LBA], "little") * _GPT_SECTOR
    count = int.from_bytes(header[_GPT_ENTRY_COUNT], "little")
    size = int.from_bytes(header[_GPT_ENTRY_SIZE], "little")
    if size != _GPT_ENTRY_BYTES or not 1 <= count <= _GPT_MAX_ENTRIES or start + count * size > len(disk):
        raise ArtifactInvalid("the disk's GPT entries have another size, are too many, or are cut off")
    entries = [disk[start + index * size : start + (index + 1) * size] for index in range(count)]
    used = [entry for entry in entries if any(entry[:_GUID_BYTES])]
    return header + len(used).to_bytes(8, "little") + b"".join(used)


def gpt(register: int, disk: bytes, banks: Iterable[str]) -> Measurement:
    """The partition table of the boot disk (EV_EFI_GPT_EVENT, register 5).

    Raises:
        ArtifactInvalid: as ``gpt_data``.
    """
    return measure(register, "GPT", gpt_data(disk), banks)


def _known(bank: str) -> str:
    if bank not in BANK_HASHES:
        raise NotDerivable(f"no bank of that name; there are: {', '.join(BANKS)}")
    return bank
