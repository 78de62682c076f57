"""The settings section ``[tdx]``, and the verifier's own settings from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from verifier.intel.section import IntelSection, insecure_anchors, platform_settings
from verifier.reading import hex_set
from verifier.tdx.settings import TdxSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


class TdxSection(IntelSection):
    """Intel TDX. Bit masks are those of the TDX Module ABI Specification."""

    versions: tuple[int, ...] = Field(default=(4, 5), description="Accepted quote versions.")
    permit_septve: bool = Field(
        default=False,
        description="Accept TDs with SEPT_VE_DISABLE clear: the host can make them fault on memory.",
    )
    permit_perfmon: bool = Field(default=False, description="Accept TDs that use performance monitoring.")
    permit_migration: bool = Field(
        default=False, description="Accept migratable TDs of any migration TD, not of named ones alone."
    )
    service_tds: tuple[str, ...] = Field(
        default=(), description="Acceptable MRSERVICETDs besides zero (hex)."
    )
    attributes_permitted: int = Field(
        default=0, ge=0, description="TDATTRIBUTES bits without a known meaning that may be set."
    )
    attributes_required: int = Field(default=0, ge=0, description="TDATTRIBUTES bits that must be set.")
    attributes_forbidden: int = Field(
        default=0, ge=0, description="TDATTRIBUTES bits that must not be set; bits 7:0 never may be."
    )
    xfam_permitted: int = Field(
        default=0, ge=0, description="XFAM bits without a known meaning that may be set."
    )
    xfam_required: int = Field(default=0, ge=0, description="XFAM bits that must be set.")
    xfam_forbidden: int = Field(default=0, ge=0, description="XFAM bits that must not be set.")
    mr_seams: tuple[str, ...] = Field(
        default=(), description="Acceptable TDX modules (MRSEAM, hex); empty: any that Intel vouches for."
    )
    mr_owners: tuple[str, ...] = Field(default=(), description="Acceptable MROWNERs besides zero (hex).")
    mr_owner_configs: tuple[str, ...] = Field(
        default=(), description="Acceptable MROWNERCONFIGs besides zero (hex)."
    )


def tdx_settings(section: TdxSection) -> TdxSettings:
    """The TDX verifier's own settings.

    Raises:
        InvalidSetting: not hex, or settings that contradict themselves.
    """
    return TdxSettings(
        platform=platform_settings(section, "tdx"),
        versions=frozenset(section.versions),
        permit_septve=section.permit_septve,
        permit_perfmon=section.permit_perfmon,
        permit_migration=section.permit_migration,
        service_tds=hex_set(section.service_tds, "[tdx] service_tds"),
        attributes_permitted=section.attributes_permitted,
        attributes_required=section.attributes_required,
        attributes_forbidden=section.attributes_forbidden,
        xfam_permitted=section.xfam_permitted,
        xfam_required=section.xfam_required,
        xfam_forbidden=section.xfam_forbidden,
        mr_seams=hex_set(section.mr_seams, "[tdx] mr_seams"),
        mr_owners=hex_set(section.mr_owners, "[tdx] mr_owners"),
        mr_owner_configs=hex_set(section.mr_owner_configs, "[tdx] mr_owner_configs"),
    )


def insecure_switches(section: TdxSection) -> Iterator[str]:
    """One sentence for each switch that weakens a verdict."""
    yield from insecure_anchors(section, "tdx")
