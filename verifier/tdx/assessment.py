"""A TD's body held against the settings: every failure is recorded, none stops, each sets an engine floor.

Source: Intel TDX Module ABI Specification, ATTRIBUTES and XFAM; offsets are of the report body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from verifier.errors import DebugEnabled
from verifier.findings import CONFIGURATION, HARDWARE, VISIBLE, Findings
from verifier.intel import td as bits

if TYPE_CHECKING:
    from verifier.intel.td import TdBody
    from verifier.tdx.settings import TdxSettings

_ABI: Final = "Intel TDX Module ABI Specification"
_ZERO: Final = bytes(48)


def assess(body: TdBody, settings: TdxSettings, findings: Findings) -> None:
    """Record every expectation about a TD."""
    _attributes(body, settings, findings)
    _service_td(body, settings, findings)
    _xfam(body, settings, findings)
    _owner(body, settings, findings)
    if settings.mr_seams:
        findings.member(
            "tdx.mr_seam", body.mr_seam, settings.mr_seams, HARDWARE, source=f"{_ABI}, MRSEAM, 0x010"
        )


def _attributes(body: TdBody, settings: TdxSettings, findings: Findings) -> None:
    attributes, source = body.attribute_bits, f"{_ABI}, ATTRIBUTES, 0x078"
    debug = bool(attributes & bits.TD_DEBUG)
    findings.expect(
        "tdx.attributes.debug", not debug, VISIBLE, DebugEnabled,
        expected=False, observed=debug, source=f"{source} bit 0",
    )  # fmt: skip
    profiled = attributes & bits.TD_UNTRUSTED & ~bits.TD_DEBUG
    findings.expect(
        "tdx.attributes.untrusted", not profiled, VISIBLE,
        expected="0x0", observed=hex(profiled), source=f"{source} bits 7:1",
    )  # fmt: skip
    ve_disable = bool(attributes & bits.TD_SEPT_VE_DISABLE)
    findings.expect(
        "tdx.attributes.sept_ve_disable", ve_disable or settings.permit_septve, CONFIGURATION,
        expected=not settings.permit_septve or "any", observed=ve_disable, source=f"{source} bit 28",
    )  # fmt: skip
    perfmon = bool(attributes & bits.TD_PERFMON)
    findings.expect(
        "tdx.attributes.perfmon", not perfmon or settings.permit_perfmon, CONFIGURATION,
        expected="any" if settings.permit_perfmon else False, observed=perfmon, source=f"{source} bit 63",
    )  # fmt: skip
    unknown = attributes & ~bits.TD_KNOWN & ~settings.attributes_permitted
    findings.expect(
        "tdx.attributes.unknown", not unknown, CONFIGURATION,
        expected=hex(settings.attributes_permitted), observed=hex(attributes & ~bits.TD_KNOWN),
        source=source,
    )  # fmt: skip
    if settings.attributes_required or settings.attributes_forbidden:
        findings.masks(
            "tdx.attributes.bits", attributes, settings.attributes_required, settings.attributes_forbidden,
            CONFIGURATION, source=source,
        )  # fmt: skip


def _service_td(body: TdBody, settings: TdxSettings, findings: Findings) -> None:
    """A migratable TD goes where its migration TD lets it: that must be a known one."""
    service_td = body.mr_servicetd or _ZERO
    named = service_td in settings.service_tds
    if any(service_td):
        findings.member(
            "tdx.mr_servicetd", service_td, settings.service_tds, CONFIGURATION,
            source=f"{_ABI}, SERVTD_HASH, 0x258",
        )  # fmt: skip
    migratable = bool(body.attribute_bits & bits.TD_MIGRATABLE)
    findings.expect(
        "tdx.attributes.migratable", not migratable or named or settings.permit_migration, CONFIGURATION,
        expected="any" if settings.permit_migration else "not, or by a named service TD",
        observed=migratable, source=f"{_ABI}, ATTRIBUTES, 0x078 bit 29",
    )  # fmt: skip


def _xfam(body: TdBody, settings: TdxSettings, findings: Findings) -> None:
    xfam, source = body.xfam_bits, f"{_ABI}, XFAM, 0x080"
    permitted = bits.XFAM_KNOWN | settings.xfam_permitted
    findings.expect(
        "tdx.xfam", xfam & bits.XFAM_FIXED_1 == bits.XFAM_FIXED_1 and not xfam & ~permitted, CONFIGURATION,
        expected={"set": hex(bits.XFAM_FIXED_1), "within": hex(permitted)}, observed=hex(xfam),
        source=source,
    )  # fmt: skip
    if settings.xfam_required or settings.xfam_forbidden:
        findings.masks(
            "tdx.xfam.bits", xfam, settings.xfam_required, settings.xfam_forbidden, CONFIGURATION,
            source=source,
        )  # fmt: skip


def _owner(body: TdBody, settings: TdxSettings, findings: Findings) -> None:
    for name, value, allowed, offset in (
        ("mr_owner", body.mr_owner, settings.mr_owners, "0x0E8"),
        ("mr_owner_config", body.mr_owner_config, settings.mr_owner_configs, "0x118"),
    ):
        findings.member(
            f"tdx.{name}", value, allowed | {_ZERO}, CONFIGURATION, source=f"{_ABI}, {name}, {offset}"
        )
