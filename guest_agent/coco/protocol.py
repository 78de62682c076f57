"""What every attester of Confidential Containers has, and what measurement registers have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Registers(Protocol):
    """Measurement registers that software may extend: RTMRs or PCRs.

    ``lock`` is held while a register and the log that explains it change, and while evidence is made of
    both.
    """

    @property
    def algorithm(self) -> str:
        """Hash of the registers: ``sha256``, ``sha384`` or ``sm3``."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Reentrant; for the pair of register and log."""

    def register_of(self, pcr: int) -> int:
        """The register that stands for a PCR, by the number that the platform's event log gives it.

        Raises:
            RuntimeRegisterInvalid: there is none, or software may not extend it.
        """

    def read(self, register: int) -> bytes:
        """The register's value.

        Raises:
            UnavailableError: the interface does not answer.
        """

    def extend(self, register: int, digest: bytes) -> None:
        """Extend the register by a digest of its size.

        Raises:
            UnavailableError: the interface refuses.
        """


class CocoAttester(Protocol):
    """Makes evidence of one TEE as Confidential Containers has it. May be used by several threads."""

    @property
    def tee(self) -> str:
        """The TEE's name in the KBS protocol (``snp``, ``az-tdx-vtpm``)."""

    @property
    def registers(self) -> Registers | None:
        """What runtime measurements extend; None where the TEE has no such registers."""

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """The evidence document.

        Args:
            report_data: what the evidence is to carry, as GetEvidence has it. It is fitted to the field:
                followed by zeros, or cut. IBM SE takes the KBS's attestation request here instead
                (``guest_agent.coco.se``).

        Raises:
            UnavailableError: the interface does not answer, or a program is missing.
            Malformed: ``report_data`` cannot be carried.
        """

    def init_data_digest(self) -> bytes | None:
        """What the platform carries of init-data: the field as it stands, or the value of PCR 8.

        None where evidence of this TEE carries none.

        Raises:
            UnavailableError: the interface does not answer.
        """
