"""Event logs of confidential-computing guests (CCEL): held against the registers of a verified quote.

No TEE by itself: the verifiers of TEES with runtime registers (Intel TDX, Hygon CSV) call
``check_event_log`` with the registers that their quote holds, after the quote was verified.

Modules: ``table`` (the ACPI table that says where the log lies), ``registers`` (parsing and replay),
``measured`` (what digests cover), ``boot`` (what the order of digests tells), ``claims``, ``check``.

Sources: UEFI 2.11, section 38 (Confidential Computing: CC event log, ACPI table CCEL, registers); TCG PC
Client Platform Firmware Profile (PFP) 1.05, section 10; guest-components (AAEL); Linux (IMA).
"""

from verifier.ccel.check import check_event_log

__all__ = ["check_event_log"]
