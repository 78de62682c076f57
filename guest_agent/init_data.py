"""The agent's own check of init-data: does the TEE carry the digest of the text that the agent was given?

Where the launch fixed a field (HOST_DATA, MRCONFIGID, CONFIGID, personalisation value), it is compared. A
TPM has no such field: PCR 8 is extended by the digest if it is still zero, and compared if it is not, so
that the agent may be started again, but not with other init-data.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from common.init_data import PCR, PCR_TEES, InitData, field_of
from guest_agent.errors import InitDataDiffers
from guest_agent.measurements import Result

if TYPE_CHECKING:
    from guest_agent.coco.protocol import CocoAttester

_NO_FIELD: Final = frozenset({"csv", "se", "nvidia", "sample", "sampledevice"})


def bind(attester: CocoAttester, init_data: InitData | bytes) -> Result:
    """Check, or for a TPM bind, init-data.

    Args:
        attester: of the guest's TEE.
        init_data: the parsed text, or its digest.

    Raises:
        InitDataUnfit: this TEE cannot carry a digest of that algorithm; told before anything is extended.
        InitDataDiffers: it carries another one.
        UnavailableError: the TEE's interface does not answer.
    """
    if attester.tee in _NO_FIELD:
        return Result.NOT_SUPPORTED
    digest = init_data if isinstance(init_data, bytes) else init_data.digest
    expected = field_of(attester.tee, digest)
    if attester.tee not in PCR_TEES:
        _require(attester.init_data_digest(), expected)
        return Result.OK
    registers = attester.registers
    if registers is None:
        return Result.NOT_SUPPORTED
    with registers.lock:
        if registers.read(PCR) == bytes(len(expected)):
            registers.extend(PCR, digest)
        _require(registers.read(PCR), expected)
    return Result.OK


def _require(carried: bytes | None, expected: bytes) -> None:
    if carried is None or not hmac.compare_digest(carried, expected):
        raise InitDataDiffers("the TEE carries the digest of other init-data")
