"""A report held against the settings: every failure is recorded, none stops, each sets an engine floor.

A floor is the worst value of an AR4SI claim that a policy can no longer improve
(draft-ietf-rats-ar4si section 2.3): 96 contraindicates, 97 means "not recognised", 0 takes an
affirmation away without contraindicating anything.

Settings that demand nothing leave no record; what is always looked at (debug, migration, VMPL,
provisional firmware, unknown platform bits) always does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.checks import Check, Verdict
from verifier.errors import DebugEnabled, PolicyViolation, TcbBelowFloor
from verifier.snp.checks import ABI
from verifier.snp.products import SigningKey, Tcb
from verifier.snp.report import (
    KEY_AUTHOR_KEY_EN,
    PLATFORM_KNOWN,
    POLICY_DEBUG,
    POLICY_MIGRATE_MA,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.checks import Checks
    from common.errors import TouchstoneError
    from verifier.snp.chain import VerifiedChain
    from verifier.snp.platform import PlatformTcbs
    from verifier.snp.products import Product
    from verifier.snp.report import Report
    from verifier.snp.settings import SnpSettings

CONTRAINDICATED: Final = 96
NOT_RECOGNISED: Final = 97
_NO_CLAIM: Final = 0

_CONFIGURATION: Final = {"configuration": CONTRAINDICATED}
# AR4SI runtime-opaque 96: the contents of memory are visible from outside.
_VISIBLE: Final = {"configuration": CONTRAINDICATED, "runtime-opaque": CONTRAINDICATED}
_HARDWARE: Final = {"hardware": CONTRAINDICATED}
_EXECUTABLES: Final = {"executables": CONTRAINDICATED}
_UNKNOWN_INSTANCE: Final = {"instance-identity": NOT_RECOGNISED}
# The records that most reports earn, made once.
_NO_DEBUG: Final = Check(
    "snp.policy.debug", Verdict.PASS, expected=False, observed=False, source=f"{ABI} 0x008 bit 19"
)
_NO_MIGRATION: Final = Check(
    "snp.policy.migrate_ma", Verdict.PASS, expected=False, observed=False, source=f"{ABI} 0x008 bit 18"
)


class Assessment:
    """Assesses reports under one ``SnpSettings``, whose floors are turned into TCBs once.

    Args:
        settings: what the operator decided.
    """

    def __init__(self, settings: SnpSettings) -> None:
        """Prepare the floors."""
        self._settings = settings
        self._floors = {
            product: Tcb(floor.bootloader, floor.tee, floor.snp, floor.microcode, floor.fmc)
            for product, floor in settings.tcb_floors.items()
        }
        self._vmpls = sorted(settings.vmpls)

    def assess(
        self,
        report: Report,
        product: Product,
        tcbs: PlatformTcbs,
        chain: VerifiedChain,
        checks: Checks,
    ) -> dict[str, int]:
        """Record every expectation; returns the floors that the failed ones set."""
        findings = _Findings(checks)
        self._guest_policy(report, findings)
        self._firmware(report, tcbs, findings)
        self._tcb_floors(product, tcbs, findings)
        self._platform(report, findings)
        self._instance(report, chain, findings)
        self._launch_identity(report, findings)
        return findings.floors

    def _guest_policy(self, report: Report, findings: _Findings) -> None:
        settings, policy = self._settings, report.policy
        findings.expect(
            "snp.vmpl", report.vmpl in settings.vmpls, _CONFIGURATION,
            expected=self._vmpls, observed=report.vmpl, source=f"{ABI} 0x030",
        )  # fmt: skip
        if policy & POLICY_DEBUG:
            findings.expect(
                "snp.policy.debug", not policy & POLICY_DEBUG, _VISIBLE, DebugEnabled,
                expected=False, observed=True, source=_NO_DEBUG.source,
            )  # fmt: skip
        else:
            findings.known(_NO_DEBUG)
        if policy & POLICY_MIGRATE_MA:
            findings.expect(
                "snp.policy.migrate_ma", settings.permit_migration, _CONFIGURATION,
                expected=settings.permit_migration, observed=True, source=_NO_MIGRATION.source,
            )  # fmt: skip
        else:
            findings.known(_NO_MIGRATION)
        if settings.policy_required or settings.policy_forbidden:
            findings.masks(
                "snp.policy.bits", policy, settings.policy_required, settings.policy_forbidden,
                _CONFIGURATION, source=f"{ABI} 0x008",
            )  # fmt: skip
        if settings.minimum_abi != (0, 0):
            abi = (policy >> 8 & 0xFF, policy & 0xFF)
            findings.expect(
                "snp.policy.abi", abi >= settings.minimum_abi, _CONFIGURATION,
                expected=settings.minimum_abi, observed=abi, source=f"{ABI} 0x008 bits 15:0",
            )  # fmt: skip

    def _firmware(self, report: Report, tcbs: PlatformTcbs, findings: _Findings) -> None:
        settings = self._settings
        tcb_ok = tcbs.committed == tcbs.current
        version_ok = report.committed_version == report.current_version
        if settings.permit_provisional_firmware:
            tcb_ok = tcbs.current.covers(tcbs.committed)
            version_ok = report.committed_version <= report.current_version
        findings.expect(
            "snp.tcb.committed", tcb_ok, _HARDWARE,
            expected=tcbs.current.as_dict(), observed=tcbs.committed.as_dict(), source=f"{ABI} 0x1E0",
            note="" if tcb_ok else "the platform runs firmware that it can still roll back from",
        )  # fmt: skip
        findings.expect(
            "snp.firmware.committed", version_ok, _HARDWARE,
            expected=report.current_version, observed=report.committed_version, source=f"{ABI} 0x1EC",
        )  # fmt: skip
        if settings.minimum_firmware != (0, 0, 0):
            findings.expect(
                "snp.firmware.minimum", report.current_version >= settings.minimum_firmware, _HARDWARE,
                expected=settings.minimum_firmware, observed=report.current_version, source=f"{ABI} 0x1E8",
            )  # fmt: skip
        required = settings.mitigations_required
        if required:
            both = (report.launch_mitigations or 0) & (report.current_mitigations or 0)
            findings.expect(
                "snp.mitigations", both & required == required, _HARDWARE,
                expected=hex(required), observed=hex(both), source=f"{ABI} 0x1F8",
            )  # fmt: skip

    def _tcb_floors(self, product: Product, tcbs: PlatformTcbs, findings: _Findings) -> None:
        floor = self._floors.get(product)
        if floor is None:
            return
        for name, tcb, offset in (("reported", tcbs.reported, "0x180"), ("launch", tcbs.launch, "0x1F0")):
            findings.expect(
                f"snp.tcb.{name}_floor", tcb.covers(floor), _HARDWARE, TcbBelowFloor,
                expected=floor.as_dict(), observed=tcb.as_dict(), source=f"{ABI} {offset}",
            )  # fmt: skip

    def _platform(self, report: Report, findings: _Findings) -> None:
        settings, info = self._settings, report.platform_info
        unknown = info & ~PLATFORM_KNOWN & ~settings.platform_unknown_permitted
        findings.expect(
            "snp.platform.unknown_bits", not unknown, _HARDWARE,
            expected=hex(settings.platform_unknown_permitted), observed=hex(info & ~PLATFORM_KNOWN),
            source=f"{ABI} 0x040",
        )  # fmt: skip
        if settings.platform_required or settings.platform_forbidden:
            findings.masks(
                "snp.platform.bits", info, settings.platform_required, settings.platform_forbidden,
                _HARDWARE, source=f"{ABI} 0x040",
            )  # fmt: skip

    def _instance(self, report: Report, chain: VerifiedChain, findings: _Findings) -> None:
        settings = self._settings
        if chain.leaf.kind is SigningKey.VLEK:
            allowed = settings.csp_ids
            findings.expect(
                "snp.csp_id", allowed is None or chain.leaf.csp_id in allowed, _UNKNOWN_INSTANCE,
                expected="any" if allowed is None else sorted(allowed), observed=chain.leaf.csp_id,
                source="OID 1.3.6.1.4.1.3704.1.5",
            )  # fmt: skip
        elif not any(report.chip_id):
            findings.expect(
                "snp.chip_id", settings.permit_masked_chip_id, _UNKNOWN_INSTANCE,
                expected=str(chain.leaf.hardware_id and chain.leaf.hardware_id.hex()),
                observed="masked", source=f"{ABI} 0x1A0",
                note="the host masks the chip id: nothing in the report names the chip",
            )  # fmt: skip
            findings.floors.setdefault("instance-identity", _NO_CLAIM)

    def _launch_identity(self, report: Report, findings: _Findings) -> None:
        settings = self._settings
        if settings.minimum_guest_svn:
            findings.expect(
                "snp.guest_svn", report.guest_svn >= settings.minimum_guest_svn, _EXECUTABLES,
                expected=settings.minimum_guest_svn, observed=report.guest_svn, source=f"{ABI} 0x004",
            )  # fmt: skip
        for name, value, allowed, offset in (
            ("family_id", report.family_id, settings.family_ids, "0x010"),
            ("image_id", report.image_id, settings.image_ids, "0x020"),
        ):
            if allowed:
                findings.member(f"snp.{name}", value, allowed, source=f"{ABI} {offset}")
        self._keys(report, findings)

    def _keys(self, report: Report, findings: _Findings) -> None:
        """ID key or author key is listed: an author key vouches for the ID keys that it signed."""
        keys, authors = self._settings.id_key_digests, self._settings.author_key_digests
        if not keys and not authors:
            return
        enabled = bool(report.key_info & KEY_AUTHOR_KEY_EN)
        findings.expect(
            "snp.id_key", report.id_key_digest in keys or (enabled and report.author_key_digest in authors),
            _EXECUTABLES,
            expected={"id_key": _hex(keys), "author_key": _hex(authors)},
            observed={
                "id_key": report.id_key_digest.hex(),
                "author_key": report.author_key_digest.hex() if enabled else None,
            },
            source=f"{ABI} 0x0E0, 0x110",
        )  # fmt: skip


class _Findings:
    """Check records and the floors that failures set."""

    __slots__ = ("_checks", "floors")

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self.floors: dict[str, int] = {}

    def known(self, record: Check) -> None:
        self._checks.extend((record,))

    def expect(
        self,
        name: str,
        ok: bool,
        floors: Mapping[str, int],
        error: type[TouchstoneError] = PolicyViolation,
        *,
        expected: object,
        observed: object,
        source: str,
        note: str = "",
    ) -> None:
        if not self._checks.expect(
            name, ok, error, expected=expected, observed=observed, source=source, note=note
        ):
            for claim, value in floors.items():
                self.floors[claim] = max(value, self.floors.get(claim, value))

    def masks(
        self, name: str, bits: int, required: int, forbidden: int, floors: Mapping[str, int], *, source: str
    ) -> None:
        """Bits that must, and bits that must not be set."""
        self.expect(
            name, bits & required == required and not bits & forbidden, floors,
            expected={"required": hex(required), "forbidden": hex(forbidden)}, observed=hex(bits),
            source=source,
        )  # fmt: skip

    def member(self, name: str, value: bytes, allowed: frozenset[bytes], *, source: str) -> None:
        """One of the allowed values, each shown as hex."""
        self.expect(
            name, value in allowed, _EXECUTABLES,
            expected=_hex(allowed), observed=value.hex(), source=source,
        )  # fmt: skip


def _hex(values: frozenset[bytes]) -> list[str]:
    return sorted(value.hex() for value in values)
