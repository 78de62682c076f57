"""The check of a CC event log against the registers of a verified quote.

Order: size and form; replay; every register; what the kernel measured after the boot (IMA), if its list is
given; claims.

* Every register must have exactly the value that its events lead to, zero where there are none:
  otherwise the log is refused. So a log that was cut is, wherever it was.
* One exception: firmware and boot loader never extend register 4, software of the running guest does, and
  may do so without logging it. Where it is extended and has no event at all it is *unexplained*: that is
  recorded as a failed expectation and a claim, and nothing is concluded from the register.
* Events of registers that the quote does not hold refuse the log: nothing vouches for them.
* No log, or one without a measured event, gives no claims; it is never "nothing wrong".

IMA: a kernel that extends its list into a runtime register uses the one of PCR 10, register 3 (UEFI 2.11,
section 38.4.1). The list then explains what follows the log's own events there, in the register's hash;
digests padded from SHA-1 are not accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.tcg_log import extended_registers
from verifier.ccel import registers as cc_registers
from verifier.ccel.claims import log_claims
from verifier.errors import EventLogMismatch
from verifier.tpm.ima import parse_ima_log, records_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.checks import Checks

IMA_REGISTER: Final = 3
GUEST_REGISTER: Final = 4
_SOURCE: Final = (
    "UEFI 2.11, sections 38.2.2 and 38.4.1; TCG PC Client Platform Firmware Profile 1.05, section 10.2"
)


def check_event_log(
    data: bytes,
    registers: Mapping[int, bytes],
    *,
    algorithm: str,
    checks: Checks,
    name: str,
    ima_log: bytes | None = None,
) -> dict[str, Any]:
    """Hold a log against the runtime registers of a quote that was verified.

    Args:
        data: the CC event log, with its padding or without.
        registers: every runtime register of the quote, as the log numbers them: 1 to 4 (TDX: RTMR0 to
            RTMR3; CSV: rtmr1 to rtmr4).
        algorithm: their hash, ``sha384`` on TDX, ``sm3`` (or ``sm3_256``) on CSV.
        checks: where the checks are recorded.
        name: prefix of their names (``tdx``).
        ima_log: the kernel's measurement list, where the kernel extends it into register 3.

    Returns:
        ``uefi_event_logs`` (as Confidential Containers has it) and ``event_log``
        (``verifier.ccel.claims.EventLogSummary``); ``ima`` (``count``, ``violations``) where a list was
        given.

    Raises:
        TooLarge: over 4 MiB or 20,000 events.
        Malformed: the log or the list cannot be parsed; registers that there are not.
        UnsupportedEvidence: a hash that is not known, a legacy log or list.
        EventLogMismatch: the log does not lead to the registers, or extends others.
    """
    bank = cc_registers.bank_of(algorithm)
    cc_registers.check_registers(registers, bank)
    log = cc_registers.parse(data, bank)
    replayed = cc_registers.replay(log, bank)
    extended = extended_registers(log)
    unquoted = sorted(extended - registers.keys())
    checks.require(
        f"{name}.event_log.unquoted",
        not unquoted,
        EventLogMismatch,
        expected=[],
        observed=unquoted,
        source=_SOURCE,
        note=f"the log extends registers {unquoted} that are not quoted" if unquoted else "",
    )
    claims: dict[str, Any] = {}
    if ima_log is not None:
        if IMA_REGISTER not in registers:
            raise EventLogMismatch(f"an IMA list explains register {IMA_REGISTER}, which is not quoted")
        start, quoted = replayed[IMA_REGISTER], registers[IMA_REGISTER]
        records = parse_ima_log(ima_log)
        count = records_until(records, bank, start, quoted, allow_sha1=False)
        checks.require(
            f"{name}.ima_log",
            count is not None,
            EventLogMismatch,
            expected=quoted.hex(),
            observed=start.hex() if count is None else quoted.hex(),
            source="Linux, security/integrity/ima/ima_queue.c",
            note="" if count is not None else f"the IMA list does not lead to register {IMA_REGISTER}",
        )
        verified = records[:count]
        claims["ima"] = {
            "count": len(verified),
            "violations": sum(not any(record.digest) for record in verified),
        }
        replayed[IMA_REGISTER] = registers[IMA_REGISTER]
    differing = [index for index in sorted(registers) if replayed[index] != registers[index]]
    unexplained = [index for index in differing if index == GUEST_REGISTER and index not in extended]
    wrong = [index for index in differing if index not in unexplained]
    checks.require(
        f"{name}.event_log.replay",
        not wrong,
        EventLogMismatch,
        expected={str(index): registers[index].hex() for index in wrong},
        observed={str(index): replayed[index].hex() for index in wrong},
        source=_SOURCE,
        note=f"the log does not replay to registers {wrong}" if wrong else "",
    )
    checks.expect(
        f"{name}.event_log.explained",
        not unexplained,
        EventLogMismatch,
        expected=[],
        observed=unexplained,
        source=_SOURCE,
        note=f"registers {unexplained} are extended and no event explains them" if unexplained else "",
    )
    return claims | log_claims(log, bank, unexplained)
