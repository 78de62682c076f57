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
from verifier.errors import DebugEnabled, TcbBelowFloor
from verifier.findings import (
    CONFIGURATION,
    EXECUTABLES,
    HARDWARE,
    NOT_RECOGNISED,
    VISIBLE,
    Findings,
    hexes,
)
from verifier.snp.checks import ABI
from verifier.snp.products import SigningKey, Tcb
from verifier.snp.report import (
    KEY_AUTHOR_KEY_EN,
    PLATFORM_KNOWN,
    POLICY_DEBUG,
    POLICY_MIGRATE_MA,
)

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.snp.chain import VerifiedChain
    from verifier.snp.platform import PlatformTcbs
    from verifier.snp.products import Product
    from verifier.snp.report import Report
    from verifier.snp.settings import SnpSettings

_NO_CLAIM: Final = 0
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
        findings = Findings(checks)
        self._guest_policy(report, findings)
        self._firmware(report, tcbs, findings)
        self._tcb_floors(product, tcbs, findings)
        self._platform(report, findings)
        self._instance(report, chain, findings)
        self._launch_identity(report, findings)
        return findings.floors

    def _guest_policy(self, report: Report, findings: Findings) -> None:
        settings, policy = self._settings, report.policy
        findings.expect(
            "snp.vmpl", report.vmpl in settings.vmpls, CONFIGURATION,
            expected=self._vmpls, observed=report.vmpl, source=f"{ABI} 0x030",
        )  # fmt: skip
        if policy & POLICY_DEBUG:
            findings.expect(
                "snp.policy.debug", not policy & POLICY_DEBUG, VISIBLE, DebugEnabled,
                expected=False, observed=True, source=_NO_DEBUG.source,
            )  # fmt: skip
        else:
            findings.known(_NO_DEBUG)
        if policy & POLICY_MIGRATE_MA:
            findings.expect(
                "snp.policy.migrate_ma", settings.permit_migration, CONFIGURATION,
                expected=settings.permit_migration, observed=True, source=_NO_MIGRATION.source,
            )  # fmt: skip
        else:
            findings.known(_NO_MIGRATION)
        if settings.policy_required or settings.policy_forbidden:
            findings.masks(
                "snp.policy.bits", policy, settings.policy_required, settings.policy_forbidden,
                CONFIGURATION, source=f"{ABI} 0x008",
            )  # fmt: skip
        if settings.minimum_abi != (0, 0):
            abi = (policy >> 8 & 0xFF, policy & 0xFF)
            findings.expect(
                "snp.policy.abi", abi >= settings.minimum_abi, CONFIGURATION,
                expected=settings.minimum_abi, observed=abi, source=f"{ABI} 0x008 bits 15:0",
            )  # fmt: skip

    def _firmware(self, report: Report, tcbs: PlatformTcbs, findings: Findings) -> None:
        settings = self._settings
        tcb_ok = tcbs.committed == tcbs.current
        version_ok = report.committed_version == report.current_version
        if settings.permit_provisional_firmware:
            tcb_ok = tcbs.current.covers(tcbs.committed)
            version_ok = report.committed_version <= report.current_version
        findings.expect(
            "snp.tcb.committed", tcb_ok, HARDWARE,
            expected=tcbs.current.as_dict(), observed=tcbs.committed.as_dict(), source=f"{ABI} 0x1E0",
            note="" if tcb_ok else "the platform runs firmware that it can still roll back from",
        )  # fmt: skip
        findings.expect(
            "snp.firmware.committed", version_ok, HARDWARE,
            expected=report.current_version, observed=report.committed_version, source=f"{ABI} 0x1EC",
        )  # fmt: skip
        if settings.minimum_firmware != (0, 0, 0):
            findings.expect(
                "snp.firmware.minimum", report.current_version >= settings.minimum_firmware, HARDWARE,
                expected=settings.minimum_firmware, observed=report.current_version, source=f"{ABI} 0x1E8",
            )  # fmt: skip
        required = settings.mitigations_required
        if required:
            both = (report.launch_mitigations or 0) & (report.current_mitigations or 0)
            findings.expect(
                "snp.mitigations", both & required == required, HARDWARE,
                expected=hex(required), observed=hex(both), source=f"{ABI} 0x1F8",
            )  # fmt: skip

    def _tcb_floors(self, product: Product, tcbs: PlatformTcbs, findings: Findings) -> None:
        floor = self._floors.get(product)
        if floor is None:
            return
        for name, tcb, offset in (("reported", tcbs.reported, "0x180"), ("launch", tcbs.launch, "0x1F0")):
            findings.expect(
                f"snp.tcb.{name}_floor", tcb.covers(floor), HARDWARE, TcbBelowFloor,
                expected=floor.as_dict(), observed=tcb.as_dict(), source=f"{ABI} {offset}",
            )  # fmt: skip

    def _platform(self, report: Report, findings: Findings) -> None:
        settings, info = self._settings, report.platform_info
        unknown = info & ~PLATFORM_KNOWN & ~settings.platform_unknown_permitted
        findings.expect(
            "snp.platform.unknown_bits", not unknown, HARDWARE,
            expected=hex(settings.platform_unknown_permitted), observed=hex(info & ~PLATFORM_KNOWN),
            source=f"{ABI} 0x040",
        )  # fmt: skip
        if settings.platform_required or settings.platform_forbidden:
            findings.masks(
                "snp.platform.bits", info, settings.platform_required, settings.platform_forbidden,
                HARDWARE, source=f"{ABI} 0x040",
            )  # fmt: skip

    def _instance(self, report: Report, chain: VerifiedChain, findings: Findings) -> None:
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

    def _launch_identity(self, report: Report, findings: Findings) -> None:
        settings = self._settings
        if settings.minimum_guest_svn:
            findings.expect(
                "snp.guest_svn", report.guest_svn >= settings.minimum_guest_svn, EXECUTABLES,
                expected=settings.minimum_guest_svn, observed=report.guest_svn, source=f"{ABI} 0x004",
            )  # fmt: skip
        for name, value, allowed, offset in (
            ("family_id", report.family_id, settings.family_ids, "0x010"),
            ("image_id", report.image_id, settings.image_ids, "0x020"),
        ):
            if allowed:
                findings.member(f"snp.{name}", value, allowed, source=f"{ABI} {offset}")
        self._keys(report, findings)

    def _keys(self, report: Report, findings: Findings) -> None:
        """ID key or author key is listed: an author key vouches for the ID keys that it signed."""
        keys, authors = self._settings.id_key_digests, self._settings.author_key_digests
        if not keys and not authors:
            return
        enabled = bool(report.key_info & KEY_AUTHOR_KEY_EN)
        findings.expect(
            "snp.id_key", report.id_key_digest in keys or (enabled and report.author_key_digest in authors),
            EXECUTABLES,
            expected={"id_key": hexes(keys), "author_key": hexes(authors)},
            observed={
                "id_key": report.id_key_digest.hex(),
                "author_key": report.author_key_digest.hex() if enabled else None,
            },
            source=f"{ABI} 0x0E0, 0x110",
        )  # fmt: skip
