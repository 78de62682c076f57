"""What an operator decides about Hygon CSV.

The defaults take both report versions and deny debug, key sharing, sending, shared ASIDs and guests whose
registers are not encrypted. CSV3 is demanded only where it is set.
"""

from __future__ import annotations

import msgspec

from common.errors import InvalidSetting
from verifier.csv.report import VERSIONS


class CsvSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the CSV verifier.

    Attributes:
        versions: report versions that are accepted. Version 1 does not sign its mask
            (``verifier.csv.report``).
        permit_key_sharing: accept guests whose key other guests may share (NOKS 0).
        permit_send: accept guests that may be sent to another platform (NOSEND 0).
        permit_asid_reuse: accept guests that may share their ASID (ASID_REUSE 1).
        require_es: demand encrypted registers (ES, that is CSV2).
        require_csv3: demand CSV3, which isolates memory in hardware.
        minimum_api: lowest (major, minor) that POLICY must demand of the firmware.
        minimum_build: lowest firmware build; version 1 reports state none and never meet it.
        require_event_log: demand an event log, hence version 2.
    """

    versions: frozenset[int] = frozenset(VERSIONS)
    permit_key_sharing: bool = False
    permit_send: bool = False
    permit_asid_reuse: bool = False
    require_es: bool = True
    require_csv3: bool = False
    minimum_api: tuple[int, int] = (0, 0)
    minimum_build: int = 0
    require_event_log: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that contradict themselves.

        Raises:
            InvalidSetting: naming the setting.
        """
        if not self.versions or not self.versions <= set(VERSIONS):
            raise InvalidSetting(f"[csv] versions are of {VERSIONS}")
        if min(self.minimum_build, *self.minimum_api) < 0:
            raise InvalidSetting("[csv] minimum_api and minimum_build are not negative")
