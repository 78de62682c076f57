"""What an operator decides about SEV-SNP: which platforms, which guests, how old may firmware be.

The defaults take report versions 3 to 5 of Milan, Genoa and Turin at VMPL 0, demand a current
revocation list, and deny debug, migration agents, provisional firmware, masked chip ids, unknown
platform bits and every VLEK whose cloud provider is not named.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from common.errors import InvalidSetting
from verifier.snp.products import Product
from verifier.snp.report import (
    CPUID_VERSION,
    KNOWN_VERSIONS,
    MAX_VMPL,
    POLICY_CIPHERTEXT_HIDING,
    POLICY_CXL_ALLOW,
    POLICY_MEM_AES_256_XTS,
    POLICY_PAGE_SWAP_DISABLE,
    POLICY_RAPL_DIS,
    POLICY_SINGLE_SOCKET,
    POLICY_SMT,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class TcbFloor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lowest acceptable SVN of each TCB component; 0 demands nothing."""

    bootloader: int = 0
    tee: int = 0
    snp: int = 0
    microcode: int = 0
    fmc: int = 0


# AMD-SB-3019 (improper signature verification of microcode): SNP firmware SVN 0x18 on Milan, 0x17 on Genoa.
# Data to be put into ``tcb_floors``, not a default: an operator decides when old platforms are cut off.
AMD_SB_3019: Final[Mapping[Product, TcbFloor]] = MappingProxyType(
    {Product.MILAN: TcbFloor(snp=0x18), Product.GENOA: TcbFloor(snp=0x17)}
)

_POLICY_BITS: Final = (
    POLICY_SMT
    | POLICY_SINGLE_SOCKET
    | POLICY_CXL_ALLOW
    | POLICY_MEM_AES_256_XTS
    | POLICY_RAPL_DIS
    | POLICY_CIPHERTEXT_HIDING
    | POLICY_PAGE_SWAP_DISABLE
)
_U64: Final = 1 << 64
_ID_BYTES: Final = 16
_DIGEST_BYTES: Final = 48


class SnpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the SNP verifier. Bit masks are the constants of ``verifier.snp.report``.

    Attributes:
        products: product lines that are accepted.
        versions: report versions that are accepted. Version 2 names no product: it needs ``v2_product``.
        v2_product: the one product that version 2 reports are taken for.
        vmpls: privilege levels that are accepted.
        revocation: ``require`` a current list, or use one ``if-present``.
        tcb_floors: lowest REPORTED_TCB and LAUNCH_TCB per product (``AMD_SB_3019`` is one such table).
        permit_provisional_firmware: accept firmware that the platform can still roll back from
            (COMMITTED below CURRENT).
        permit_migration: accept guests with a migration agent.
        permit_masked_chip_id: accept VCEK reports with CHIP_ID zero. Nothing then proves which chip it
            was: instance-identity is not affirmed.
        csp_ids: cloud providers whose VLEKs are accepted; None accepts any.
        policy_required: POLICY bits that must be set.
        policy_forbidden: POLICY bits that must not be set. Debug is always denied.
        minimum_abi: lowest (major, minor) that POLICY must demand.
        platform_required: PLATFORM_INFO bits that must be set.
        platform_forbidden: PLATFORM_INFO bits that must not be set.
        platform_unknown_permitted: PLATFORM_INFO bits without a meaning here that may be set.
        minimum_guest_svn: lowest GUEST_SVN.
        minimum_firmware: lowest current firmware (major, minor, build).
        id_key_digests: acceptable ID keys (SHA-384); empty: any, also none.
        author_key_digests: acceptable author keys. A report signed by one needs no listed ID key.
        family_ids: acceptable FAMILY_IDs (16 bytes); empty: any.
        image_ids: acceptable IMAGE_IDs (16 bytes); empty: any.
        mitigations_required: bits that both mitigation vectors must have (version 5 and later; a version
            without vectors has none).
    """

    products: frozenset[Product] = frozenset(Product)
    versions: frozenset[int] = frozenset({3, 4, 5})
    v2_product: Product | None = None
    vmpls: frozenset[int] = frozenset({0})
    revocation: Literal["require", "if-present"] = "require"
    tcb_floors: dict[Product, TcbFloor] = {}
    permit_provisional_firmware: bool = False
    permit_migration: bool = False
    permit_masked_chip_id: bool = False
    csp_ids: frozenset[str] | None = frozenset()
    policy_required: int = 0
    policy_forbidden: int = 0
    minimum_abi: tuple[int, int] = (0, 0)
    platform_required: int = 0
    platform_forbidden: int = 0
    platform_unknown_permitted: int = 0
    minimum_guest_svn: int = 0
    minimum_firmware: tuple[int, int, int] = (0, 0, 0)
    id_key_digests: frozenset[bytes] = frozenset()
    author_key_digests: frozenset[bytes] = frozenset()
    family_ids: frozenset[bytes] = frozenset()
    image_ids: frozenset[bytes] = frozenset()
    mitigations_required: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that contradict themselves.

        Raises:
            InvalidSetting: naming the setting.
        """
        if not self.products or not self.versions <= set(KNOWN_VERSIONS) or not self.versions:
            raise InvalidSetting(f"snp versions are of {KNOWN_VERSIONS}, and products are not empty")
        if any(version < CPUID_VERSION for version in self.versions) and self.v2_product is None:
            raise InvalidSetting("snp report version 2 names no product: pin v2_product, or leave it out")
        if not self.vmpls or any(not 0 <= vmpl <= MAX_VMPL for vmpl in self.vmpls):
            raise InvalidSetting(f"snp vmpls are of 0 to {MAX_VMPL}")
        self._check_masks()
        self._check_lengths()

    def _check_masks(self) -> None:
        if (self.policy_required | self.policy_forbidden) & ~_POLICY_BITS:
            raise InvalidSetting(
                "snp policy masks hold a bit that is not a choice (debug, migration, reserved)"
            )
        if self.policy_required & self.policy_forbidden or self.platform_required & self.platform_forbidden:
            raise InvalidSetting("an snp bit is both required and forbidden")
        platform = self.platform_required | self.platform_forbidden | self.platform_unknown_permitted
        if not 0 <= platform < _U64 or not 0 <= self.mitigations_required < _U64:
            raise InvalidSetting("an snp mask is not a 64-bit number")

    def _check_lengths(self) -> None:
        for values, size, name in (
            (self.id_key_digests, _DIGEST_BYTES, "id_key_digests"),
            (self.author_key_digests, _DIGEST_BYTES, "author_key_digests"),
            (self.family_ids, _ID_BYTES, "family_ids"),
            (self.image_ids, _ID_BYTES, "image_ids"),
        ):
            if any(len(value) != size for value in values):
                raise InvalidSetting(f"an entry of snp {name} has not {size} bytes")
