"""The kernel command line as an artefact: exactly the text that the VMM gets.

Source: Linux, lib/cmdline.c (next_arg: words are separated by spaces, double quotes hold them together);
arch/x86/include/asm/setup.h (COMMAND_LINE_SIZE).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from provenance.errors import ArtifactInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

# Twice what x86 Linux keeps (COMMAND_LINE_SIZE): more is a mistake.
MAX_CMDLINE_BYTES: Final = 4096
_FIRST_PRINTABLE: Final = 0x20
_DELETE: Final = 0x7F
_WORD: Final = re.compile(r'(?:[^ "]|"[^"]*")+')


def check(cmdline: bytes) -> str:
    """The command line as text.

    Args:
        cmdline: without terminating NUL; may be empty.

    Raises:
        ArtifactInvalid: not UTF-8, too long, or with control characters (a trailing newline is not
            what the VMM passes on).
    """
    try:
        text = cmdline.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactInvalid("the kernel command line is not UTF-8") from error
    if len(cmdline) > MAX_CMDLINE_BYTES:
        raise ArtifactInvalid(f"the kernel command line is longer than {MAX_CMDLINE_BYTES} bytes")
    if any(byte < _FIRST_PRINTABLE or byte == _DELETE for byte in cmdline):
        raise ArtifactInvalid(
            "the kernel command line has control characters",
            advice="Give exactly the text that the VMM gets: no newline at its end, no NUL.",
        )
    return text


def parameters(cmdline: bytes) -> Iterator[tuple[str, str | None]]:
    """Name and value (None without ``=``) of every parameter, in order; quotes are taken off.

    Raises:
        ArtifactInvalid: as ``check``; a quote that does not end.
    """
    text = check(cmdline)
    if text.count('"') % 2:
        raise ArtifactInvalid("a quote of the kernel command line does not end")
    for word in _WORD.findall(text):
        name, equals, value = word.replace('"', "").partition("=")
        yield name, value if equals else None
