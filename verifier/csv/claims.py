"""Claims of a verified report, as they go into the policy input.

Names, spellings and types are those of Confidential Containers' ``csv`` claims (``version`` is text, the
bits of ``policy`` are 0 or 1, usage and algorithm are hex of four bytes, little endian). Its
``serial_number`` is left out: nothing proves it. Ours beside them: ``cek``, the chip's proven key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from verifier.ccel.claims import EventLogSummary  # noqa: TC001 (get_type_hints resolves it)
from verifier.csv import report as bits
from verifier.csv.assessment import api_of

if TYPE_CHECKING:
    from verifier.csv.chain import VerifiedChain
    from verifier.csv.report import Extension, Report
    from verifier.tee import CommonClaims


class PolicyClaims(TypedDict):
    """POLICY, taken apart: bits are 0 or 1."""

    nodbg: int
    noks: int
    es: int
    nosend: int
    domain: int
    csv: int
    csv3: int
    asid_reuse: int
    hsk_version: int
    cek_version: int
    api_major: int
    api_minor: int


class CsvClaims(TypedDict, total=False):
    """``input.csv``. Byte strings are lower-case hex.

    Attributes:
        version: ``1`` or ``2``, of the report.
        policy: the guest's policy.
        user_pubkey_digest: SM3 of the guest owner's session key; zeros without a session.
        vm_id: the guest owner's name of the VM.
        vm_version: the guest owner's version of it.
        report_data: 64 bytes; in the form of Confidential Containers alone, ``input.report_data`` in ours.
        mnonce: the guest's own nonce; no proof of freshness.
        measure: launch measurement, SM3.
        sig_usage: 4 bytes, little endian.
        sig_algo: 4 bytes, little endian.
        anonce: version 1: the mask.
        build: version 2: of the firmware.
        rtmr_version: version 2: of the registers; 0 while there are none.
        reserved0: version 2.
        reserved1: version 2.
        rtmr0: version 2: the launch measurement again.
        rtmr1: version 2: registers 1 and 7 of a TPM.
        rtmr2: version 2: registers 2 to 6.
        rtmr3: version 2: registers 8 to 15.
        rtmr4: version 2: registers 16 and 23.
        uefi_event_logs: version 2 with an event log that the registers confirm: its events.
        event_log: likewise: what it comes to.
        cek: SHA-256 of the CEK's public key.
    """

    version: str
    policy: PolicyClaims
    user_pubkey_digest: str
    vm_id: str
    vm_version: str
    report_data: str
    mnonce: str
    measure: str
    sig_usage: str
    sig_algo: str
    anonce: str
    build: int
    rtmr_version: int
    reserved0: str
    reserved1: str
    rtmr0: str
    rtmr1: str
    rtmr2: str
    rtmr3: str
    rtmr4: str
    uefi_event_logs: list[dict[str, Any]]
    event_log: EventLogSummary
    cek: str


def report_claims(report: Report) -> CsvClaims:
    """What the report says, whoever vouches for it."""
    claims: CsvClaims = {
        "version": str(report.version),
        "policy": policy_claims(report.policy),
        "user_pubkey_digest": report.user_pubkey_digest.hex(),
        "vm_id": report.vm_id.hex(),
        "vm_version": report.vm_version.hex(),
        "report_data": report.report_data.hex(),
        "mnonce": report.mnonce.hex(),
        "measure": report.measure.hex(),
        "sig_usage": _word(report.sig_usage),
        "sig_algo": _word(report.sig_algo),
    }
    if report.extension is None:
        claims["anonce"] = _word(report.anonce)
        return claims
    return claims | _extension_claims(report.extension)


def csv_claims(report: Report, chain: VerifiedChain) -> CsvClaims:
    """The ``csv`` member of the policy input, without the report data.

    That is ``input.report_data``: the guest chooses it, and no reference value may be held against it.
    """
    claims = report_claims(report)
    del claims["report_data"]
    return claims | {"cek": chain.identity.partition(":")[2]}


def common_claims(report: Report) -> CommonClaims:
    """The ``common`` member of the policy input."""
    claims: CommonClaims = {
        "measurement": report.measure.hex(),
        "debug": not report.policy & bits.POLICY_NODBG,
        "migratable": not report.policy & bits.POLICY_NOSEND,
        "product": "Hygon CSV3" if report.policy & bits.POLICY_CSV3 else "Hygon CSV",
        "tcb_status": "unknown",
    }
    if report.extension is not None:
        registers = report.extension.registers
        claims["registers"] = {str(index): value.hex() for index, value in enumerate(registers)}
    return claims


def policy_claims(policy: int) -> PolicyClaims:
    """POLICY, taken apart."""
    api_major, api_minor = api_of(policy)
    return {
        "nodbg": _bit(policy, bits.POLICY_NODBG),
        "noks": _bit(policy, bits.POLICY_NOKS),
        "es": _bit(policy, bits.POLICY_ES),
        "nosend": _bit(policy, bits.POLICY_NOSEND),
        "domain": _bit(policy, bits.POLICY_DOMAIN),
        "csv": _bit(policy, bits.POLICY_CSV),
        "csv3": _bit(policy, bits.POLICY_CSV3),
        "asid_reuse": _bit(policy, bits.POLICY_ASID_REUSE),
        "hsk_version": policy >> 8 & 0xF,
        "cek_version": policy >> 12 & 0xF,
        "api_major": api_major,
        "api_minor": api_minor,
    }


def _extension_claims(extension: Extension) -> CsvClaims:
    rtmr = [register.hex() for register in extension.registers]
    return {
        "build": extension.build,
        "rtmr_version": extension.register_version,
        "reserved0": extension.reserved0.hex(),
        "rtmr0": rtmr[0],
        "rtmr1": rtmr[1],
        "rtmr2": rtmr[2],
        "rtmr3": rtmr[3],
        "rtmr4": rtmr[4],
        "reserved1": extension.reserved1.hex(),
    }


def _bit(policy: int, bit: int) -> int:
    return int(bool(policy & bit))


def _word(value: int) -> str:
    return value.to_bytes(4, "little").hex()
