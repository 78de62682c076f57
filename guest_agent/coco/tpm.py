"""TPM evidence as Confidential Containers has it: a quote over 24 PCRs and the attestation key.

Neither an EK certificate nor an event log goes along: a verifier must know the key. Touchstone's own
protocol (``guest_agent.attesters.tpm``) proves it by credential activation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64_encode
from common.init_data import PCR
from common.runtime_data import fitted
from guest_agent.attesters.vtpm import Vtpm

if TYPE_CHECKING:
    from guest_agent.coco.protocol import Registers

_QUALIFYING_DATA: Final = 32


class TpmCocoAttester:
    """Makes TPM evidence.

    Args:
        vtpm: the TPM.
    """

    def __init__(self, vtpm: Vtpm | None = None) -> None:
        """Keep it; the TPM is not touched yet."""
        self._vtpm = vtpm or Vtpm()

    @property
    def tee(self) -> str:
        """``tpm``."""
        return "tpm"

    @property
    def registers(self) -> Registers | None:
        """The PCRs of the SHA-256 bank."""
        return self._vtpm

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """A quote whose qualifying data are the first 32 bytes of ``report_data``.

        Raises:
            DependencyMissing: tpm2-tools is not installed.
            TeeUnavailable, EvidenceNotMade: the TPM does not answer, or refuses.
        """
        quote = self._vtpm.quote(fitted(report_data, _QUALIFYING_DATA))
        return {
            "tpm_quote": {
                "signature": b64_encode(quote.signature),
                "message": b64_encode(quote.message),
                "pcrs": [value.hex() for value in quote.pcrs],
            },
            "ak_public": b64_encode(self._vtpm.public_key()),
        }

    def init_data_digest(self) -> bytes | None:
        """The value of PCR 8; errors as ``evidence``."""
        return self._vtpm.read(PCR)
