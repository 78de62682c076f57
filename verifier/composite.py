"""Evidence of devices beside that of the machine they are in: one document may give several results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from verifier.model import VerifiedEvidence  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim
    from wire.evidence import Evidence


class DeviceResult(msgspec.Struct, frozen=True):
    """What one device, or a system of them, came to.

    Attributes:
        device_class: of its submodule (``gpu``, ``switch``, ``ppcie``); submodules of a class are numbered.
        evidence: what was verified.
    """

    device_class: str
    evidence: VerifiedEvidence


@runtime_checkable
class DeviceVerifier(Protocol):
    """A verifier of devices: its documents give one result per device, and prove nothing of a machine."""

    @property
    def tee(self) -> str:
        """The ``tee`` tag of its evidence documents."""

    def verify_devices(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> tuple[DeviceResult, ...]:
        """Verify every device; results in the document's order.

        Raises:
            InputError: the document cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: certificates, revocation data or their dates do not hold.
        """
