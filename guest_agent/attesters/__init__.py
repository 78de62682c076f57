"""Attesters: one per way of getting evidence. Each is an ``Attester``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wire.evidence import GuestEvidence
    from wire.rcar import Challenge, TpmEndorsement


class Attester(Protocol):
    """Makes evidence that carries given bytes.

    Attributes are read-only; an attester is used by one thread.
    """

    @property
    def tee(self) -> str:
        """The ``tee`` tag of its evidence (``snp``, ``tpm``)."""

    @property
    def binding_size(self) -> int:
        """Bytes of report data that it takes: the size of the binding digest."""

    def endorsement(self) -> TpmEndorsement | None:
        """What the verifier needs to make a credential, for a TPM that has an EK certificate.

        Raises:
            UnavailableError: the interface does not answer.
        """

    def collect(self, report_data: bytes, challenge: Challenge) -> GuestEvidence:
        """Make evidence over ``report_data``.

        Args:
            report_data: exactly ``binding_size`` bytes.
            challenge: the challenge that they answer; TPMs need its register selection and credential.

        Raises:
            UnavailableError: the interface does not answer, or a program is missing.
            Malformed: ``report_data`` or the challenge cannot be used.
        """
