"""What an operator decides about NVIDIA devices.

The defaults take every known architecture, demand revocation data of every authority, use NVIDIA's
reference manifests where they are at hand (a policy affirms nothing without them, or without reference
values of the operator's own), and deny GPUs behind protected PCIe whose system is not shown complete.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from common.errors import InvalidSetting
from verifier.nvidia.chain import Architecture
from verifier.nvidia.opaque import MODES

_MAX_INDEX = 0xEF


class NvidiaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the NVIDIA verifier.

    Attributes:
        architectures: those that are accepted.
        revocation: ``require`` that every certificate between leaf and root is covered, of devices and of
            manifests' signers, or use what is there ``if-present``.
        manifests: ``require`` NVIDIA's signed manifest of every firmware that a device states, or use it
            ``if-present``. One that is at hand and does not hold is refused either way.
        mandatory_measurements: indexes of measurement blocks (from 1) that manifests must have.
        modes: what a GPU may state to be: alone (``spt``), one of several (``mpt``), behind protected
            PCIe (``ppcie``). A GPU whose driver states none is taken.
        permit_partial_topology: accept GPUs behind protected PCIe although not all eight GPUs and four
            switches of the system are shown to be connected to one another alone.
    """

    architectures: frozenset[Architecture] = frozenset(Architecture)
    revocation: Literal["require", "if-present"] = "require"
    manifests: Literal["require", "if-present"] = "if-present"
    mandatory_measurements: frozenset[int] = frozenset()
    modes: frozenset[str] = frozenset(MODES.values())
    permit_partial_topology: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that nothing can meet.

        Raises:
            InvalidSetting: naming the setting.
        """
        if not self.architectures:
            raise InvalidSetting("nvidia architectures: none is accepted")
        if not self.modes or not self.modes <= set(MODES.values()):
            raise InvalidSetting(f"nvidia modes are of {', '.join(MODES.values())}, and not empty")
        if any(not 1 <= index <= _MAX_INDEX for index in self.mandatory_measurements):
            raise InvalidSetting(f"nvidia mandatory_measurements are of 1 to {_MAX_INDEX}")
