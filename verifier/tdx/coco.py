"""TDX evidence and claims as Confidential Containers spells them (attestation-agent, ``attester/src/tdx``).

Evidence: ``{"quote": base64, "cc_eventlog": null | base64}``; the agent appends its own event log (AAEL)
to the CC event log. Claims: ours have their names; ``init_data`` is MRCONFIGID, whether init-data was sent
or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common.encoding import b64_decode, b64url_encode
from common.errors import Malformed, TooLarge
from verifier.intel.quote import MAX_QUOTE_BYTES
from verifier.tdx.evidence import TdxEvidence

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence

_MAX_QUOTE_TEXT = MAX_QUOTE_BYTES * 4 // 3 + 4
_MAX_LOG_TEXT = (4 << 20) * 4 // 3 + 4


class _Evidence(msgspec.Struct, frozen=True):
    quote: str
    cc_eventlog: str | None = None


class TdxCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> TdxEvidence:
        """Our document of theirs.

        Raises:
            Malformed: another form. TooLarge: more than a quote or a log may have.
        """
        try:
            theirs = msgspec.convert(document, _Evidence)
        except msgspec.ValidationError as error:
            raise Malformed(f"the TDX evidence is not of the published form: {error}") from error
        log = theirs.cc_eventlog
        return TdxEvidence(
            quote=_recoded(theirs.quote, "quote", _MAX_QUOTE_TEXT),
            event_log=None if log is None else _recoded(log, "cc_eventlog", _MAX_LOG_TEXT),
        )

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """Ours have their names."""
        return verified.claims | {"init_data": verified.claims["tdx"]["quote"]["body"]["mr_config_id"]}


def _recoded(text: str, what: str, most: int) -> str:
    if len(text) > most:
        raise TooLarge(f"the {what} of the TDX evidence is too long")
    return b64url_encode(b64_decode(text, what=what))
