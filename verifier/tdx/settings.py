"""What an operator decides about TDX: which TDs, with which attributes, on which modules.

The defaults take quote versions 4 and 5 and deny debug and every other attribute that opens the TD to the
host, a TD without SEPT_VE_DISABLE, migratable TDs, service TDs that are not named, performance monitoring
and attribute and XFAM bits without a meaning here. MROWNER and MROWNERCONFIG must be zero unless they are
named: the measurement does not cover them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.errors import InvalidSetting
from verifier.intel.settings import PlatformSettings
from verifier.intel.td import TD_SEPT_VE_DISABLE, TD_UNTRUSTED

VERSIONS: Final = frozenset({4, 5})
_DIGEST_BYTES: Final = 48
_U64: Final = 1 << 64


class TdxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the TDX verifier. Bit masks are the constants of ``verifier.intel.td``.

    Attributes:
        platform: about the platform, its TCB and its collateral.
        versions: quote versions that are accepted.
        permit_septve: accept TDs whose SEPT_VE_DISABLE is clear: the host can then make the guest take
            exceptions on its own memory.
        permit_perfmon: accept TDs that use performance monitoring.
        permit_migration: accept migratable TDs of any migration TD. One of a named MRSERVICETD is
            accepted without.
        service_tds: acceptable MRSERVICETDs besides zero (48 bytes).
        attributes_permitted: TDATTRIBUTES bits without a meaning here that may be set.
        attributes_required: TDATTRIBUTES bits that must be set.
        attributes_forbidden: TDATTRIBUTES bits that must not be set. Bits 7:0 are always denied.
        xfam_permitted: XFAM bits without a meaning here that may be set.
        xfam_required: XFAM bits that must be set.
        xfam_forbidden: XFAM bits that must not be set.
        mr_seams: acceptable TDX modules (48 bytes); empty: any that Intel vouches for.
        mr_owners: acceptable MROWNERs besides zero (48 bytes).
        mr_owner_configs: acceptable MROWNERCONFIGs besides zero (48 bytes).
    """

    platform: PlatformSettings = PlatformSettings()
    versions: frozenset[int] = VERSIONS
    permit_septve: bool = False
    permit_perfmon: bool = False
    permit_migration: bool = False
    service_tds: frozenset[bytes] = frozenset()
    attributes_permitted: int = 0
    attributes_required: int = 0
    attributes_forbidden: int = 0
    xfam_permitted: int = 0
    xfam_required: int = 0
    xfam_forbidden: int = 0
    mr_seams: frozenset[bytes] = frozenset()
    mr_owners: frozenset[bytes] = frozenset()
    mr_owner_configs: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        """Refuse settings that contradict themselves.

        Raises:
            InvalidSetting: naming the setting.
        """
        if not self.versions or not self.versions <= VERSIONS:
            raise InvalidSetting(f"tdx versions are of {sorted(VERSIONS)}")
        self._check_masks()
        for values, name in (
            (self.service_tds, "service_tds"),
            (self.mr_seams, "mr_seams"),
            (self.mr_owners, "mr_owners"),
            (self.mr_owner_configs, "mr_owner_configs"),
        ):
            if any(len(value) != _DIGEST_BYTES for value in values):
                raise InvalidSetting(f"an entry of tdx {name} has not {_DIGEST_BYTES} bytes")

    def _check_masks(self) -> None:
        attributes = (self.attributes_permitted, self.attributes_required, self.attributes_forbidden)
        xfams = (self.xfam_permitted, self.xfam_required, self.xfam_forbidden)
        if any(not 0 <= mask < _U64 for mask in (*attributes, *xfams)):
            raise InvalidSetting("a tdx mask is not a 64-bit number")
        if (self.attributes_permitted | self.attributes_required) & TD_UNTRUSTED:
            raise InvalidSetting("tdx attribute masks permit bits 7:0, which open the TD to the host")
        if (
            self.attributes_required & self.attributes_forbidden
            or self.xfam_required & self.xfam_forbidden
            or (self.permit_septve and self.attributes_required & TD_SEPT_VE_DISABLE)
        ):
            raise InvalidSetting("a tdx bit is both required and forbidden, or required and not")
