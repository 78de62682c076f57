"""NVIDIA GPUs: found, but no evidence is made here.

Evidence comes from the driver's management library (NVML), which is no dependency of this agent. A guest
that must prove its GPU runs the reference attestation agent, or a later version of this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guest_agent.errors import TeeUnavailable

if TYPE_CHECKING:
    from guest_agent.coco.protocol import Registers


class NvidiaAttester:
    """Says that it is not supported."""

    @property
    def tee(self) -> str:
        """``nvidia``."""
        return "nvidia"

    @property
    def registers(self) -> Registers | None:
        """None."""
        return None

    def evidence(self, report_data: bytes) -> dict[str, Any]:  # noqa: ARG002
        """No evidence.

        Raises:
            TeeUnavailable: always.
        """
        raise TeeUnavailable(
            "evidence of NVIDIA GPUs is not supported by this agent",
            advice="Leave nvidia out of the devices, or use an agent that is built with NVML.",
        )

    def init_data_digest(self) -> bytes | None:
        """None."""
        return None
