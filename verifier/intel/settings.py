"""What an operator decides about Intel's platforms, of both TEEs.

The defaults accept platforms whose TCB is up to date, also where Intel adds that software hardening is
needed: the platform itself lacks nothing then, and the software that needs the hardening is known by its
measurement, for which whoever vouched answers. Every other status must be named.
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.errors import InvalidSetting
from verifier.intel.status import TcbStatus

DEFAULT_STATUSES: Final = frozenset({TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED})
_PLATFORM_ID_BYTES: Final = 16


class PlatformSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings about the platform, its TCB and its collateral.

    Attributes:
        tcb_statuses: statuses of the whole that are accepted.
        minimum_evaluation: lowest tcbEvaluationDataNumber of TCB info and QE identity.
        maximum_age_days: how old TCB info and QE identity may be, from their issue date; 0: as old as
            their own next update allows.
        advisories_rejected: advisories that must not apply, whatever the status.
        platforms: PPIDs or platform instance ids that are accepted; empty: any.
        platforms_denied: PPIDs or platform instance ids that are refused (leaked keys).
        second_opinion: have dcap-qvl verify every quote too.
    """

    tcb_statuses: frozenset[TcbStatus] = DEFAULT_STATUSES
    minimum_evaluation: int = 0
    maximum_age_days: int = 0
    advisories_rejected: frozenset[str] = frozenset()
    platforms: frozenset[bytes] = frozenset()
    platforms_denied: frozenset[bytes] = frozenset()
    second_opinion: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that contradict themselves.

        Raises:
            InvalidSetting: naming the setting.
        """
        if not self.tcb_statuses or TcbStatus.REVOKED in self.tcb_statuses:
            raise InvalidSetting("tcb_statuses is not empty, and Revoked is never accepted")
        if self.minimum_evaluation < 0 or self.maximum_age_days < 0:
            raise InvalidSetting("minimum_evaluation and maximum_age_days are not negative")
        if any(len(value) != _PLATFORM_ID_BYTES for value in self.platforms | self.platforms_denied):
            raise InvalidSetting(f"a PPID or platform instance id has {_PLATFORM_ID_BYTES} bytes")
