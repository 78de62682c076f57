"""Sample evidence, of no TEE: for trying things out. Any policy worth its name refuses it.

Source: guest-components, attesters ``sample`` and ``sample_device``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64_encode

if TYPE_CHECKING:
    from guest_agent.coco.protocol import Registers

_SVN: Final = "1"


class SampleAttester:
    """Echoes the report data, as ``sample`` or ``sampledevice``."""

    def __init__(self, tee: str = "sample") -> None:
        """Take the name."""
        self._tee = tee

    @property
    def tee(self) -> str:
        """``sample`` or ``sampledevice``."""
        return self._tee

    @property
    def registers(self) -> Registers | None:
        """None."""
        return None

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """``report_data`` as it is, base64; nothing proves it."""
        return {"svn": _SVN, "report_data": b64_encode(report_data)}

    def init_data_digest(self) -> bytes | None:
        """None: it carries none."""
        return None
