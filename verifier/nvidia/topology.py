"""Protected PCIe: eight GPUs and four switches that are connected to one another, and to nothing else.

In this mode the links between GPUs are not encrypted: a GPU is as good as all switches and GPUs that it can
reach. Every GPU states, under its signature, which switches it is linked to, and every switch which GPUs.
Demanded is that all GPUs name the same four switches, that these are the four whose evidence came, each
once, and that all four name the same eight GPUs. A link that is off (zeros) is left out.

Not demanded is that the identifiers that switches name are those of the GPUs whose evidence came: no public
source says where a GPU states its own.

Source: NVIDIA/nvtrust, PPCIE verifier (``topology/validate_topology.py``); identifiers of linked
devices are least significant byte first, a switch's own is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from verifier.errors import PolicyViolation
from verifier.nvidia.chain import DeviceClass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.checks import Checks
    from verifier.nvidia.chain import Leaf
    from verifier.nvidia.opaque import Opaque

GPUS: Final = 8
SWITCHES: Final = 4
SOURCE: Final = "NVIDIA PPCIE verifier, topology"


class Topology(msgspec.Struct, frozen=True):
    """What the devices say of their links.

    Attributes:
        gpus: number of GPUs whose evidence came.
        switches: likewise, of switches.
        own: the switches' identifiers.
        named_switches: for each GPU, those that it names.
        named_gpus: for each switch, those that it names.
    """

    gpus: int
    switches: int
    own: tuple[str, ...]
    named_switches: tuple[frozenset[str], ...]
    named_gpus: tuple[frozenset[str], ...]

    @property
    def is_whole_system(self) -> bool:
        """Whether the evidence is of as many devices as a system has."""
        return (self.gpus, self.switches) == (GPUS, SWITCHES)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with it, a sentence each; empty: the system is complete and closed."""
        found = []
        if not self.is_whole_system:
            found.append(f"evidence of {self.gpus} GPUs and {self.switches} switches, not of 8 and 4")
        if len(set(self.own)) != SWITCHES or len(self.own) != SWITCHES:
            found.append("the switches do not have four identifiers")
        if any(named != frozenset(self.own) for named in self.named_switches):
            found.append("a GPU is linked to other switches than those whose evidence came")
        if any(len(named) != GPUS for named in self.named_gpus):
            found.append("a switch is not linked to exactly eight GPUs")
        if len(set(self.named_gpus)) > 1:
            found.append("the switches are linked to different GPUs")
        return tuple(found)


def topology_of(devices: Sequence[tuple[Leaf, Opaque]]) -> Topology:
    """The topology that devices state.

    Raises:
        Malformed: a list of identifiers is not of its form.
    """
    gpus = [opaque for leaf, opaque in devices if leaf.device_class is DeviceClass.GPU]
    switches = [opaque for leaf, opaque in devices if leaf.device_class is DeviceClass.SWITCH]
    return Topology(
        gpus=len(gpus),
        switches=len(switches),
        own=tuple(pdi for switch in switches if (pdi := switch.own_pdi()) is not None),
        named_switches=tuple(gpu.linked_switches() for gpu in gpus),
        named_gpus=tuple(switch.linked_gpus() for switch in switches),
    )


def expect_complete(topology: Topology, checks: Checks) -> bool:
    """Record whether the system is complete and closed."""
    faults = topology.faults
    return checks.expect(
        "nvidia.topology", not faults, PolicyViolation,
        expected="8 GPUs and 4 switches, connected to one another alone", observed=list(faults),
        source=SOURCE, note="; ".join(faults),
    )  # fmt: skip
