"""Builds CC event logs together with the registers that they lead to.

Sources: TCG PC Client Platform Firmware Profile 1.05, sections 10.2.1, 10.2.2 and 10.4; UEFI 2.11, section
38.
"""

from __future__ import annotations

from typing import Final

from common.tcg_log import BANK_HASHES, EV_NO_ACTION, HASH_SIZES, HASHES

EV_SEPARATOR: Final = 0x00000004
EV_EVENT_TAG: Final = 0x00000006
EV_IPL: Final = 0x0000000D
EV_EFI_VARIABLE_DRIVER_CONFIG: Final = 0x80000001
EV_EFI_VARIABLE_BOOT: Final = 0x80000002
EV_EFI_BOOT_SERVICES_APPLICATION: Final = 0x80000003
EV_EFI_ACTION: Final = 0x80000007
LEFT_BOOT_SERVICES: Final = b"Exit Boot Services Returned with Success"
GLOBAL_VARIABLE: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
_NUMBERS: Final = {name: number for number, (name, _) in HASHES.items()}


class CcLog:
    """A log that grows, and the registers as a TEE would extend them.

    Args:
        banks: hashes of the log; registers are those of the first.
    """

    def __init__(self, *banks: str) -> None:
        """A header, and registers at zero."""
        self.banks = banks or ("sha384",)
        self.registers = {index: bytes(HASH_SIZES[self.banks[0]]) for index in (1, 2, 3, 4)}
        self.records: list[bytes] = []

    def add(
        self,
        index: int,
        kind: int,
        data: bytes,
        *,
        hashed: bytes | None = None,
        digest: bytes | None = None,
    ) -> CcLog:
        """Log an event and extend its register.

        Args:
            index: register.
            kind: event type.
            data: event data.
            hashed: what the digest is over; the data itself by default.
            digest: the digest in the first bank, whatever the data.
        """
        body = data if hashed is None else hashed
        digests = {bank: BANK_HASHES[bank](body) for bank in self.banks}
        if digest is not None:
            digests[self.banks[0]] = digest
        self.records.append(record(index, kind, digests, data))
        if kind != EV_NO_ACTION and index in self.registers:
            self.extend(index, digests[self.banks[0]])
        return self

    def extend(self, index: int, digest: bytes) -> None:
        """Extend a register without an event."""
        self.registers[index] = BANK_HASHES[self.banks[0]](self.registers[index] + digest)

    def image(self, digest: bytes, name: str) -> CcLog:
        """Measure a PE image by its hash; the event names it by a device path that nothing covers."""
        path = f"File({name})".encode("utf-16-le")
        return self.add(2, EV_EFI_BOOT_SERVICES_APPLICATION, bytes(32) + path, digest=digest)

    def header(self) -> bytes:
        """The first record."""
        return header(self.banks)

    def data(self, padding: bytes = b"") -> bytes:
        """The log, with padding after it."""
        return self.header() + b"".join(self.records) + padding


def header(banks: tuple[str, ...]) -> bytes:
    """TCG_PCClientPCREvent with TCG_EfiSpecIdEvent."""
    body = b"Spec ID Event03\x00" + bytes(4) + bytes([0, 2, 0, 2]) + len(banks).to_bytes(4, "little")
    for bank in banks:
        body += _NUMBERS[bank].to_bytes(2, "little") + HASH_SIZES[bank].to_bytes(2, "little")
    body += b"\x00"
    return (
        bytes(4) + EV_NO_ACTION.to_bytes(4, "little") + bytes(20) + len(body).to_bytes(4, "little") + body
    )


def record(index: int, kind: int, digests: dict[str, bytes], data: bytes) -> bytes:
    """TCG_PCR_EVENT2."""
    made = index.to_bytes(4, "little") + kind.to_bytes(4, "little") + len(digests).to_bytes(4, "little")
    for bank, digest in digests.items():
        made += _NUMBERS[bank].to_bytes(2, "little") + digest
    return made + len(data).to_bytes(4, "little") + data


def variable(name: str, value: bytes, guid: bytes = GLOBAL_VARIABLE) -> bytes:
    """UEFI_VARIABLE_DATA."""
    lengths = len(name).to_bytes(8, "little") + len(value).to_bytes(8, "little")
    return guid + lengths + name.encode("utf-16-le") + value


def boot(*banks: str, kernel: bytes | None = None) -> CcLog:
    """A boot of a firmware that starts a kernel directly: Secure Boot on, one image, boot services left."""
    log = CcLog(*banks)
    size = HASH_SIZES[log.banks[0]]
    log.add(1, EV_EFI_VARIABLE_DRIVER_CONFIG, variable("SecureBoot", b"\x01"))
    log.add(1, EV_SEPARATOR, bytes(4))
    log.add(2, EV_EFI_VARIABLE_BOOT, variable("BootOrder", b"\x01\x00"), hashed=b"\x01\x00")
    log.add(2, EV_EFI_ACTION, b"Calling EFI Application from Boot Option")
    log.add(2, EV_SEPARATOR, bytes(4))
    log.image(kernel or b"\x4b" * size, "kernel")
    log.add(3, EV_IPL, b"grub_cmd: linux /vmlinuz ro\x00", hashed=b"linux /vmlinuz ro")
    return log.add(2, EV_EFI_ACTION, LEFT_BOOT_SERVICES)
