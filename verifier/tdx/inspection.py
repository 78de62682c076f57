"""The TDX verifier for one file on a command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.encoding import b64url_encode
from common.errors import Malformed
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.intel.endorsements import IntelEndorsements
    from verifier.model import Expectation, InitDataClaim, VerifiedEvidence
    from verifier.tee import Inspection
    from wire.evidence import Evidence

_EVENT_LOG = "event-log"


class OfflineTdxVerifier:
    """Verifies with what was given (``verifier.model.TeeVerifier``), under the default settings."""

    def __init__(self, endorsements: IntelEndorsements, inspection: Inspection) -> None:
        """Keep what was given."""
        self._log = inspection.files.get(_EVENT_LOG)
        self._verifier = TdxVerifier(TdxSettings(), endorsements, extra_anchors=inspection.anchors)

    @property
    def tee(self) -> str:
        """``tdx``."""
        return self._verifier.tee

    def verify(
        self, evidence: Evidence, expected: Expectation, init_data: InitDataClaim | None, now: datetime
    ) -> VerifiedEvidence:
        """Verify, as ``TdxVerifier.verify``.

        Raises:
            Malformed: an event log beside evidence that brings one.
        """
        if self._log is not None and isinstance(evidence, TdxEvidence):
            if evidence.event_log is not None:
                raise Malformed("an event log goes with TDX evidence that brings none itself")
            evidence = msgspec.structs.replace(evidence, event_log=b64url_encode(self._log))
        return self._verifier.verify(evidence, expected, init_data, now)
