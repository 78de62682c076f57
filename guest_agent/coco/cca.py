"""Arm CCA evidence: the CCA token of configfs-tsm, as a list of octets.

The realm's personalisation value is read out of the token for the agent's own check of init-data; the token
is not verified.

Sources: Linux, arm-cca-guest; draft-ffm-rats-cca-token (collection tag 399; claims 44241 and 44235).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.runtime_data import fitted
from guest_agent.attesters.configfs_tsm import CCA, TsmReports
from guest_agent.coco import cbor
from guest_agent.errors import EvidenceNotMade

if TYPE_CHECKING:
    from guest_agent.coco.protocol import Registers

_CHALLENGE: Final = 64
_REALM_TOKEN: Final = 44241
_PERSONALIZATION: Final = 44235
_PERSONALIZATION_BYTES: Final = 64
_PAYLOAD: Final = 2  # of COSE_Sign1: protected, unprotected, payload, signature
_COSE_PARTS: Final = 4


class CcaAttester:
    """Makes CCA evidence.

    Args:
        tsm: makes tokens.
    """

    def __init__(self, tsm: TsmReports | None = None) -> None:
        """Keep it; nothing is opened yet."""
        self._tsm = tsm or TsmReports()

    @property
    def tee(self) -> str:
        """``cca``."""
        return "cca"

    @property
    def registers(self) -> Registers | None:
        """None: Linux gives software no way to extend the realm's measurements."""
        return None

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """A token whose challenge is ``report_data``.

        Raises:
            TeeUnavailable: no configfs-tsm, or it serves another TEE.
            EvidenceNotMade: no token.
        """
        return {"token": list(self._token(fitted(report_data, _CHALLENGE)))}

    def init_data_digest(self) -> bytes | None:
        """The realm personalisation value, 64 bytes; errors as ``evidence``."""
        collection = cbor.loads(self._token(bytes(_CHALLENGE)))
        signed = cbor.loads(_member(collection, _REALM_TOKEN))
        if not isinstance(signed, list) or len(signed) != _COSE_PARTS:
            raise EvidenceNotMade("the realm token is not a COSE_Sign1")
        value = _member(cbor.loads(signed[_PAYLOAD]), _PERSONALIZATION)
        if len(value) != _PERSONALIZATION_BYTES:
            raise EvidenceNotMade("the realm personalisation value has another length than 64")
        return value

    def _token(self, challenge: bytes) -> bytes:
        token = self._tsm.report(challenge, CCA).outblob
        if not token:
            raise EvidenceNotMade("the realm management monitor gave an empty token")
        return token


def _member(value: object, name: int) -> bytes:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, bytes):
        raise EvidenceNotMade(f"the CCA token has no claim {name}")
    return found
