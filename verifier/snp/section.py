"""The settings section ``[snp]``, and the verifier's own settings from it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from common.section import Section
from verifier.reading import hex_set
from verifier.snp.products import Product
from verifier.snp.settings import SnpSettings, TcbFloor
from verifier.tee import TeeSection

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANY_CSP: Final = "*"


class TcbFloorSection(Section):
    """Lowest acceptable SVN of each TCB component of a product; 0 demands nothing."""

    bootloader: int = Field(default=0, ge=0, le=255, description="Boot loader.")
    tee: int = Field(default=0, ge=0, le=255, description="TEE (PSP operating system).")
    snp: int = Field(default=0, ge=0, le=255, description="SNP firmware.")
    microcode: int = Field(default=0, ge=0, le=255, description="CPU microcode.")
    fmc: int = Field(default=0, ge=0, le=255, description="FMC (Turin).")


class SnpSection(TeeSection):
    """AMD SEV-SNP. Bit masks are those of the SEV-SNP ABI (AMD publication 56860)."""

    collateral_dir: Path | None = Field(
        default=None,
        description="Folder of revocation lists and certificates; `data_dir`/collateral otherwise.",
    )
    revocation: Literal["require", "if-present"] = Field(
        default="require",
        description="Demand a current revocation list, or use one if there is one (not in production).",
    )
    products: tuple[Literal["Milan", "Genoa", "Turin"], ...] = Field(
        default=("Milan", "Genoa", "Turin"), min_length=1, description="Accepted product lines."
    )
    versions: tuple[int, ...] = Field(default=(3, 4, 5), description="Accepted report versions.")
    v2_product: Literal["Milan", "Genoa", "Turin"] | None = Field(
        default=None, description="The product that version 2 reports, which name none, are taken for."
    )
    vmpls: tuple[int, ...] = Field(default=(0,), description="Accepted privilege levels.")
    tcb_floors: dict[Literal["Milan", "Genoa", "Turin"], TcbFloorSection] = Field(
        default={},
        description="Lowest TCB per product: `[snp.tcb_floors.Milan]` with the components that count.",
    )
    permit_provisional_firmware: bool = Field(
        default=False, description="Accept firmware that the platform can still roll back from."
    )
    permit_migration: bool = Field(default=False, description="Accept guests with a migration agent.")
    permit_masked_chip_id: bool = Field(
        default=False, description="Accept reports with CHIP_ID zero; no identity is affirmed then."
    )
    csp_ids: tuple[str, ...] = Field(
        default=(), description="Cloud providers whose VLEKs are accepted; `*` alone accepts any."
    )
    policy_required: int = Field(default=0, ge=0, description="Guest POLICY bits that must be set.")
    policy_forbidden: int = Field(default=0, ge=0, description="Guest POLICY bits that must not be set.")
    minimum_abi: tuple[int, int] = Field(
        default=(0, 0), description="Lowest (major, minor) that POLICY must demand."
    )
    platform_required: int = Field(default=0, ge=0, description="PLATFORM_INFO bits that must be set.")
    platform_forbidden: int = Field(default=0, ge=0, description="PLATFORM_INFO bits that must not be set.")
    platform_unknown_permitted: int = Field(
        default=0, ge=0, description="PLATFORM_INFO bits without a known meaning that may be set."
    )
    minimum_guest_svn: int = Field(default=0, ge=0, description="Lowest GUEST_SVN.")
    minimum_firmware: tuple[int, int, int] = Field(
        default=(0, 0, 0), description="Lowest current firmware (major, minor, build)."
    )
    id_key_digests: tuple[str, ...] = Field(
        default=(), description="Acceptable ID keys (SHA-384, hex); empty: any, also none."
    )
    author_key_digests: tuple[str, ...] = Field(
        default=(), description="Acceptable author keys (SHA-384, hex)."
    )
    family_ids: tuple[str, ...] = Field(default=(), description="Acceptable FAMILY_IDs (hex); empty: any.")
    image_ids: tuple[str, ...] = Field(default=(), description="Acceptable IMAGE_IDs (hex); empty: any.")
    mitigations_required: int = Field(
        default=0, ge=0, description="Bits that both mitigation vectors must have."
    )
    extra_anchors: tuple[Path, ...] = Field(
        default=(),
        description=(
            "PEM files of further ARKs, for test firmware. Everything they sign is trusted as if AMD"
            " had: refused in the production profile."
        ),
    )


def snp_settings(section: SnpSection, name: str = "snp") -> SnpSettings:
    """The SNP verifier's own settings.

    Args:
        section: the section.
        name: what it is called, for messages: other TEEs carry SNP reports too.

    Raises:
        InvalidSetting: not hex, or settings that contradict themselves.
    """
    return SnpSettings(
        products=frozenset(Product(name) for name in section.products),
        versions=frozenset(section.versions),
        v2_product=None if section.v2_product is None else Product(section.v2_product),
        vmpls=frozenset(section.vmpls),
        revocation=section.revocation,
        tcb_floors={
            Product(name): TcbFloor(**floor.model_dump()) for name, floor in section.tcb_floors.items()
        },
        permit_provisional_firmware=section.permit_provisional_firmware,
        permit_migration=section.permit_migration,
        permit_masked_chip_id=section.permit_masked_chip_id,
        csp_ids=None if section.csp_ids == (_ANY_CSP,) else frozenset(section.csp_ids),
        policy_required=section.policy_required,
        policy_forbidden=section.policy_forbidden,
        minimum_abi=section.minimum_abi,
        platform_required=section.platform_required,
        platform_forbidden=section.platform_forbidden,
        platform_unknown_permitted=section.platform_unknown_permitted,
        minimum_guest_svn=section.minimum_guest_svn,
        minimum_firmware=section.minimum_firmware,
        id_key_digests=hex_set(section.id_key_digests, f"[{name}] id_key_digests"),
        author_key_digests=hex_set(section.author_key_digests, f"[{name}] author_key_digests"),
        family_ids=hex_set(section.family_ids, f"[{name}] family_ids"),
        image_ids=hex_set(section.image_ids, f"[{name}] image_ids"),
        mitigations_required=section.mitigations_required,
    )


def insecure_switches(section: SnpSection, name: str = "snp") -> Iterator[str]:
    """One sentence for each switch that weakens a verdict."""
    if section.extra_anchors:
        yield f"[{name}] extra_anchors trusts test firmware as if it were AMD's"
    if section.enabled and section.revocation != "require":
        yield f'[{name}] revocation = "if-present" accepts revoked certificates where no list is at hand'
