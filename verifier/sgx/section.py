"""The settings section ``[sgx]``, and the verifier's own settings from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from common.section import Section
from verifier.intel.section import IntelSection, insecure_anchors, platform_settings
from verifier.reading import hex_set
from verifier.sgx.settings import SgxSettings, SignerRule

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIGEST_BYTES = 32


class SignerSection(Section):
    """Enclaves of a signer that are accepted."""

    mr_signer: str = Field(description="MRSIGNER, hex.")
    isv_prod_id: int = Field(ge=0, le=65535, description="Product id.")
    minimum_isv_svn: int = Field(ge=0, le=65535, description="Lowest security version.")


class SgxSection(IntelSection):
    """Intel SGX. Bit masks are those of ATTRIBUTES in the Software Developer's Manual."""

    versions: tuple[int, ...] = Field(default=(3, 4, 5), description="Accepted quote versions.")
    mr_enclaves: tuple[str, ...] = Field(default=(), description="Acceptable enclaves (MRENCLAVE, hex).")
    signers: tuple[SignerSection, ...] = Field(
        default=(),
        description=(
            "Acceptable signers: `[[sgx.signers]]` with product and lowest version. An enclave meets"
            " `mr_enclaves` or `signers`; where both are empty, any does."
        ),
    )
    permit_provision_key: bool = Field(
        default=False, description="Accept enclaves that may derive provisioning keys."
    )
    require_kss: bool = Field(
        default=False, description="Demand key separation and sharing; CONFIGID and CONFIGSVN count then."
    )
    config_ids: tuple[str, ...] = Field(default=(), description="Acceptable CONFIGIDs (hex); empty: any.")
    minimum_config_svn: int = Field(default=0, ge=0, le=65535, description="Lowest CONFIGSVN.")
    flags_required: int = Field(default=0, ge=0, description="ATTRIBUTES flags that must be set.")
    flags_forbidden: int = Field(
        default=0, ge=0, description="ATTRIBUTES flags that must not be set; debug never may be."
    )


def sgx_settings(section: SgxSection) -> SgxSettings:
    """The SGX verifier's own settings.

    Raises:
        InvalidSetting: not hex, or settings that contradict themselves.
    """
    return SgxSettings(
        platform=platform_settings(section, "sgx"),
        versions=frozenset(section.versions),
        mr_enclaves=hex_set(section.mr_enclaves, "[sgx] mr_enclaves"),
        signers=tuple(_rule(rule) for rule in section.signers),
        permit_provision_key=section.permit_provision_key,
        require_kss=section.require_kss,
        config_ids=hex_set(section.config_ids, "[sgx] config_ids"),
        minimum_config_svn=section.minimum_config_svn,
        flags_required=section.flags_required,
        flags_forbidden=section.flags_forbidden,
    )


def insecure_switches(section: SgxSection) -> Iterator[str]:
    """One sentence for each switch that weakens a verdict."""
    yield from insecure_anchors(section, "sgx")


def _rule(rule: SignerSection) -> SignerRule:
    (signer,) = hex_set((rule.mr_signer,), "[[sgx.signers]] mr_signer", _DIGEST_BYTES)
    return SignerRule(signer, rule.isv_prod_id, rule.minimum_isv_svn)
