"""What a replayed log tells of a boot by the order of digests within one register, and by nothing else.

Only the sequence of digests of *one* register is authentic. Between registers there is no order, and no
type, name or path proves anything. So:

* in register 1 what stands before the first separator was measured by the firmware before it booted
  anything; the state of Secure Boot is read there;
* in register 2 what stands before the digest of "Exit Boot Services Returned with Success" was measured
  before an operating system ran. Of those digests every one that no recognised data explains is listed as
  an *image*: a boot loader or kernel, whatever its label says. An approved boot is one in which each of
  them is approved, not one that contains an approved one: software that runs can extend a register by
  the digest of a golden kernel at any time, but it cannot remove its own.

Sources: PFP 1.05, sections 3.3.4 (order of a boot), 10.4.1 (EV_SEPARATOR, EV_EFI_ACTION); UEFI 2.11,
section 38.4.1 (PCR 1 and 7 are register 1; 2 to 6 register 2; 8 to 15 register 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.tcg_log import BANK_HASHES, EV_NO_ACTION
from verifier.ccel.measured import covered, parse_variable
from verifier.tpm.events import separator_digests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.tcg_log import Event, EventLog

FIRMWARE_REGISTER: Final = 1
BOOT_REGISTER: Final = 2
BEFORE_SEPARATOR: Final = "before-separator"
AFTER_SEPARATOR: Final = "after-separator"
AFTER_EXIT: Final = "after-exit-boot-services"
_EXIT: Final = b"Exit Boot Services Returned with Success"
_ACTIONS: Final = frozenset(
    {
        _EXIT,
        b"Exit Boot Services Invocation",
        b"Exit Boot Services Returned with Failure",
        b"Calling EFI Application from Boot Option",
        b"Returning from EFI Application from Boot Option",
    }
)
_PARTITION_TABLE: Final = b"EFI PART"
_PE: Final = b"MZ"


def phases(log: EventLog, bank: str) -> list[str | None]:
    """Where each event stands in its register; None in registers that have no separators by rule."""
    separators, left = separator_digests(bank), BANK_HASHES[bank](_EXIT)
    reached = {FIRMWARE_REGISTER: BEFORE_SEPARATOR, BOOT_REGISTER: BEFORE_SEPARATOR}
    found: list[str | None] = []
    for event in log.events:
        if event.type == EV_NO_ACTION:
            found.append(None)
            continue
        found.append(reached.get(event.pcr))
        digest = event.digests[bank]
        if event.pcr in reached and digest in separators and reached[event.pcr] == BEFORE_SEPARATOR:
            reached[event.pcr] = AFTER_SEPARATOR
        if event.pcr == BOOT_REGISTER and digest == left:
            reached[event.pcr] = AFTER_EXIT
    return found


def images(log: EventLog, bank: str) -> list[bytes]:
    """Digests of what was booted, in order (see the module)."""
    separators, left = separator_digests(bank), BANK_HASHES[bank](_EXIT)
    found: list[bytes] = []
    for event in _extended(log, BOOT_REGISTER):
        digest = event.digests[bank]
        if digest == left:
            break
        if digest not in separators and not _recognised(event, bank):
            found.append(digest)
    return found


def left_boot_services(log: EventLog, bank: str) -> bool:
    """Whether register 2 says that boot services ended: an operating system runs."""
    left = BANK_HASHES[bank](_EXIT)
    return any(event.digests[bank] == left for event in _extended(log, BOOT_REGISTER))


def _recognised(event: Event, bank: str) -> bool:
    """Whether covered data is of a kind that no image can have.

    The hash of a PE image runs over its bytes from the first, "MZ", on: its author can put them into an
    event that calls them a variable's value.
    """
    part = covered(event, bank)
    if part is None or part.startswith(_PE):
        return False
    if part in _ACTIONS or part.startswith(_PARTITION_TABLE):
        return True
    variable = parse_variable(event.data)
    return variable is not None and variable.name.isascii() and variable.name.isprintable()


def _extended(log: EventLog, register: int) -> Iterator[Event]:
    return (event for event in log.events if event.type != EV_NO_ACTION and event.pcr == register)
