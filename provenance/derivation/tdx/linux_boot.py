"""What QEMU and OVMF hand to a directly booted Linux kernel, as far as it is measured.

* QEMU changes the kernel's setup header before the firmware loads it as a PE image: loader type, heap,
  addresses of command line and initrd. The image that is measured is the changed one. Which memory
  address the initrd gets depends on the machine's memory and on what is kept free for ACPI tables.
* OVMF gives the kernel the command line as load options, with " initrd=initrd" after it where there is an
  initrd; the kernel's EFI stub measures them as UTF-16 with their NUL, or nothing where there are none.

Only kernels since boot protocol 2.02 that load high. Newer pairs of QEMU and OVMF pass the kernel
unchanged: then it is an image like any other. A command line with ``vga=`` makes QEMU change a further
field, and is refused.

Sources: Linux, Documentation/arch/x86/boot.rst (setup header, offsets 1F1h to 236h); QEMU,
hw/i386/x86-common.c (x86_load_linux); edk2, OvmfPkg/Library/X86QemuLoadImageLib and
GenericQemuLoadImageLib (load options); Linux, drivers/firmware/efi/libstub/efi-stub-helper.c.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from provenance.derivation.boot import cmdline as command_line
from provenance.derivation.tdx.td_hob import memory_below_4g
from provenance.errors import ArtifactInvalid, NotDerivable

INITRD_OPTION: Final = " initrd=initrd"
MAX_INITRD_BYTES: Final = 1 << 31
_MIN_KERNEL_BYTES: Final = 0x1000
_BOOT_SIGNATURE: Final = b"HdrS"
_SIGNATURE_AT: Final = 0x202
_PROTOCOL_AT: Final = 0x206
_LOADER_TYPE_AT: Final = 0x210
_LOAD_FLAGS_AT: Final = 0x211
_INITRD_AT: Final = 0x218  # ramdisk_image, ramdisk_size
_HEAP_END_AT: Final = 0x224
_CMDLINE_AT: Final = 0x228
_INITRD_MAX_AT: Final = 0x22C
_XLOADFLAGS_AT: Final = 0x236
_OLDEST_PROTOCOL: Final = 0x202
_INITRD_MAX_PROTOCOL: Final = 0x203
_XLOADFLAGS_PROTOCOL: Final = 0x20C
_LOADED_HIGH: Final = 0x01
_CAN_USE_HEAP: Final = 0x80
_ABOVE_4G: Final = 0x02  # XLF_CAN_BE_LOADED_ABOVE_4G
_QEMU_LOADER: Final = 0xB0
_REAL_ADDRESS: Final = 0x10000
_CMDLINE_ADDRESS: Final = 0x20000
_HEAP_RESERVE: Final = 0x200
_OLD_INITRD_MAX: Final = 0x37FFFFFF
_UINT32_MAX: Final = 0xFFFFFFFF
_PAGE_MASK: Final = 4095
_VGA: Final = re.compile(rb"vga=")


def patched_kernel(
    kernel: bytes, *, initrd_size: int, cmdline: bytes, memory: int, acpi_size: int
) -> bytes:
    """The kernel image as QEMU hands it to the firmware of a ``q35`` machine.

    Args:
        kernel: the bzImage file.
        initrd_size: bytes; 0 where there is none.
        cmdline: the command line, without NUL.
        memory: the machine's memory in bytes.
        acpi_size: bytes that QEMU keeps free for ACPI tables below the end of low memory.

    Raises:
        ArtifactInvalid: not a bzImage of protocol 2.02 or later that loads high.
        NotDerivable: the initrd does not fit; a command line with ``vga=``.
    """
    if len(kernel) < _MIN_KERNEL_BYTES or not kernel.startswith(_BOOT_SIGNATURE, _SIGNATURE_AT):
        raise ArtifactInvalid("the kernel is not a bzImage: it has no HdrS signature")
    (protocol,) = struct.unpack_from("<H", kernel, _PROTOCOL_AT)
    if protocol < _OLDEST_PROTOCOL or not kernel[_LOAD_FLAGS_AT] & _LOADED_HIGH:
        raise ArtifactInvalid("the kernel's boot protocol is older than 2.02, or it does not load high")
    if _VGA.search(cmdline):
        raise NotDerivable("with vga= on the command line QEMU changes the kernel further")
    image = bytearray(kernel)
    image[_LOADER_TYPE_AT] = _QEMU_LOADER
    image[_LOAD_FLAGS_AT] |= _CAN_USE_HEAP
    struct.pack_into("<H", image, _HEAP_END_AT, _CMDLINE_ADDRESS - _REAL_ADDRESS - _HEAP_RESERVE)
    struct.pack_into("<I", image, _CMDLINE_AT, _CMDLINE_ADDRESS)
    if initrd_size:
        limit = min(_initrd_max(kernel, protocol), memory_below_4g(memory) - acpi_size - 1)
        if initrd_size > MAX_INITRD_BYTES or initrd_size >= limit:
            raise NotDerivable("the initrd does not fit below the machine's low memory")
        struct.pack_into("<II", image, _INITRD_AT, (limit - initrd_size) & ~_PAGE_MASK, initrd_size)
    return bytes(image)


def load_options(cmdline: bytes, *, initrd: bool) -> bytes:
    """The load options that OVMF gives a directly booted kernel, as the kernel measures them.

    Args:
        cmdline: the command line, UTF-8, without NUL; may be empty.
        initrd: whether the machine has an initrd.

    Raises:
        ArtifactInvalid: the command line is not ASCII (OVMF copies it byte by byte), has control
            characters, or is too long.
        NotDerivable: no command line and no initrd: there are no load options, and no event.
    """
    command_line.check(cmdline)
    if not cmdline.isascii():
        raise ArtifactInvalid("the kernel command line is not ASCII: firmware does not decode UTF-8")
    text = cmdline.decode("ascii") + (INITRD_OPTION if initrd else "")
    if not text:
        raise NotDerivable("without command line and initrd there are no load options to measure")
    return (text + "\0").encode("utf-16-le")


def _initrd_max(kernel: bytes, protocol: int) -> int:
    if protocol >= _XLOADFLAGS_PROTOCOL:
        (flags,) = struct.unpack_from("<H", kernel, _XLOADFLAGS_AT)
        if flags & _ABOVE_4G:
            return _UINT32_MAX
    if protocol >= _INITRD_MAX_PROTOCOL:
        (limit,) = struct.unpack_from("<I", kernel, _INITRD_MAX_AT)
        return int(limit)
    return _OLD_INITRD_MAX
