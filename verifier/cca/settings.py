"""What an operator decides about Arm CCA: which platforms, which profiles of their tokens."""

from __future__ import annotations

from typing import Final

import msgspec

from common.errors import InvalidSetting
from verifier.cca.platform import IMPLEMENTATION_ID_BYTES

# EAT profiles of platform tokens: Arm's, and the one that firmware before it wrote.
PLATFORM_PROFILE: Final = "tag:arm.com,2023:cca_platform#1.0.0"
LEGACY_PLATFORM_PROFILE: Final = "http://arm.com/CCA-SSD/1.0.0"
REALM_PROFILE: Final = "tag:arm.com,2023:realm#1.0.0"
_PLATFORM_PROFILES: Final = frozenset({PLATFORM_PROFILE, LEGACY_PLATFORM_PROFILE})


class CcaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the CCA verifier.

    Attributes:
        legacy: accept platform tokens of the old profile, and realm tokens without one.
        implementation_ids: acceptable implementations of the platform (32 bytes); empty: any whose
            attestation key is known.
    """

    legacy: bool = True
    implementation_ids: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        """Refuse ids of another length.

        Raises:
            InvalidSetting: one.
        """
        if any(len(value) != IMPLEMENTATION_ID_BYTES for value in self.implementation_ids):
            raise InvalidSetting(
                f"an entry of cca implementation_ids has not {IMPLEMENTATION_ID_BYTES} bytes"
            )

    @property
    def platform_profiles(self) -> frozenset[str]:
        """Accepted profiles of platform tokens."""
        return _PLATFORM_PROFILES if self.legacy else frozenset({PLATFORM_PROFILE})

    @property
    def realm_profiles(self) -> frozenset[str | None]:
        """Accepted profiles of realm tokens; None: none stated."""
        return frozenset({REALM_PROFILE, None}) if self.legacy else frozenset({REALM_PROFILE})
