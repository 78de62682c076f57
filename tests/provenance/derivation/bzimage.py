"""A bzImage-shaped PE image, and what QEMU makes of it, written field by field."""

from __future__ import annotations

import struct

from tests.provenance.derivation.pe_files import pe_image


def bzimage(
    *, protocol: int = 0x20F, flags: int = 1, xloadflags: int = 0x3F, initrd_max: int = 0x7FFFFFFF
) -> bytes:
    """A kernel whose setup header lies in the PE image's first section, as in Linux."""
    image = bytearray(pe_image(b"\xcc" * 0x2000, headers=0x200))
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    image[0x210], image[0x211] = 0, flags
    struct.pack_into("<II", image, 0x218, 0, 0)
    struct.pack_into("<I", image, 0x22C, initrd_max)
    struct.pack_into("<H", image, 0x236, xloadflags)
    return bytes(image)


def as_qemu(kernel: bytes, *, initrd_at: int = 0, initrd_size: int = 0) -> bytes:
    """The header that QEMU leaves: byte offsets of Documentation/arch/x86/boot.rst."""
    fields = {
        0x210: b"\xb0",  # type_of_loader
        0x211: bytes([kernel[0x211] | 0x80]),  # loadflags: CAN_USE_HEAP
        0x224: (0xFE00).to_bytes(2, "little"),  # heap_end_ptr
        0x228: (0x20000).to_bytes(4, "little"),  # cmd_line_ptr
    }
    if initrd_size:
        fields[0x218] = initrd_at.to_bytes(4, "little") + initrd_size.to_bytes(4, "little")
    for at, value in fields.items():
        kernel = kernel[:at] + value + kernel[at + len(value) :]
    return kernel
