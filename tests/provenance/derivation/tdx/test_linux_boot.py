"""Direct boot: the kernel as QEMU changes it, its load options, and the command line's words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.derivation.boot import cmdline
from provenance.derivation.tdx import linux_boot
from provenance.errors import ArtifactInvalid, NotDerivable
from tests.provenance.derivation.bzimage import as_qemu, bzimage

GIB = 1 << 30
ACPI = 0x28000
KERNEL = bzimage()


def _patched(kernel: bytes, initrd: int = 0, memory: int = 4 * GIB, text: bytes = b"") -> bytes:
    return linux_boot.patched_kernel(
        kernel, initrd_size=initrd, cmdline=text, memory=memory, acpi_size=ACPI
    )


@pytest.mark.parametrize(
    "kernel",
    [b"", KERNEL[:0xFFF], bytes(0x2000), bzimage(protocol=0x201), bzimage(protocol=0), bzimage(flags=0)],
)
def test_what_is_no_modern_bzimage_is_refused(kernel: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        _patched(kernel)


@pytest.mark.parametrize(
    ("initrd", "memory"),
    [(2 * GIB, 4 * GIB), (1 << 62, 4 * GIB), (64 << 20, 64 << 20), (1, ACPI + 1), (1, 1)],
)
def test_an_initrd_that_does_not_fit_is_refused(initrd: int, memory: int) -> None:
    with pytest.raises(NotDerivable, match="does not fit"):
        _patched(KERNEL, initrd, memory)


def test_a_video_mode_is_refused() -> None:
    with pytest.raises(NotDerivable, match="vga"):
        _patched(KERNEL, text=b"console=ttyS0 vga=0x317")


def test_without_an_initrd_memory_does_not_matter() -> None:
    assert _patched(KERNEL) == _patched(KERNEL, memory=GIB) == as_qemu(KERNEL)


@pytest.mark.parametrize(
    ("kernel", "memory", "address"),
    [
        # Below 4 GiB ends where memory does; at 2 GiB for machines of 2816 MiB and more.
        (KERNEL, GIB, 0x3FED7000),
        (KERNEL, 2 * GIB, 0x7FED7000),
        (KERNEL, 0xB0000000 - (1 << 20), 0xAFDD7000),
        (KERNEL, 0xB0000000, 0x7FED7000),
        (KERNEL, 64 * GIB, 0x7FED7000),
        # The kernel's own limit, where it cannot be loaded above 4 GiB or is older than that flag.
        (bzimage(xloadflags=0, initrd_max=0x37FFFFFF), 4 * GIB, 0x37EFF000),
        (bzimage(protocol=0x203, initrd_max=0x3FFFFFFF), 4 * GIB, 0x3FEFF000),
        (bzimage(protocol=0x202), 4 * GIB, 0x37EFF000),
    ],
)
def test_the_initrds_address_follows_memory_and_the_kernels_limit(
    kernel: bytes, memory: int, address: int
) -> None:
    assert _patched(kernel, 1 << 20, memory) == as_qemu(kernel, initrd_at=address, initrd_size=1 << 20)


def test_load_options_are_utf16_with_nul_and_name_the_initrd() -> None:
    assert linux_boot.load_options(b"a=1", initrd=False) == b"a\0=\x001\0\0\0"
    assert linux_boot.load_options(b"", initrd=True) == " initrd=initrd\0".encode("utf-16-le")
    assert linux_boot.load_options(b"q", initrd=True) == "q initrd=initrd\0".encode("utf-16-le")


@pytest.mark.parametrize("text", [b"a\n", b"a\0", b"\xff", "\xe9".encode(), b"a" * 4097, b"\x7f"])
def test_load_options_that_firmware_would_change_are_refused(text: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        linux_boot.load_options(text, initrd=True)


def test_no_load_options_are_no_event() -> None:
    with pytest.raises(NotDerivable):
        linux_boot.load_options(b"", initrd=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", []),
        (b"  quiet   ro ", [("quiet", None), ("ro", None)]),
        (b"a= b=c=d", [("a", ""), ("b", "c=d")]),
        (b'dm="0 1 verity" "x y"=z', [("dm", "0 1 verity"), ("x y", "z")]),
        (b'a="roothash=00" roothash=11', [("a", "roothash=00"), ("roothash", "11")]),
    ],
)
def test_parameters_are_split_as_the_kernel_does(text: bytes, words: list[tuple[str, str | None]]) -> None:
    assert list(cmdline.parameters(text)) == words


def test_a_quote_that_does_not_end_is_refused() -> None:
    with pytest.raises(ArtifactInvalid, match="quote"):
        list(cmdline.parameters(b'a="b c'))


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=64), st.integers(0, 1 << 40), st.integers(1, 1 << 40), st.binary(max_size=40))
def test_only_our_errors_come_out(header: bytes, initrd: int, memory: int, text: bytes) -> None:
    kernel = bytearray(KERNEL)
    kernel[0x1F1 : 0x1F1 + len(header)] = header
    for call in (
        lambda: _patched(bytes(kernel), initrd, memory, text),
        lambda: list(cmdline.parameters(text)),
        lambda: linux_boot.load_options(text, initrd=True),
    ):
        try:
            call()
        except TouchstoneError:
            continue
