"""One core: our whole TDX verification beside dcap-qvl's own time, of the same quote and collateral.

Ours is everything from the evidence document to checked claims, with collateral and chain known from the
quote before, as a server has them; dcap-qvl's is one call with parsed collateral, of which it verifies all
signatures at every call. CPU time, measured alternately in rounds, so that both see the same machine; the
ratio is of the medians, wanted at most 1.5. The second line has dcap-qvl's second opinion inside ours.

The quotes are real ones of ``../shared/vectors``, or made by a test authority where there are none.
"""

from __future__ import annotations

import importlib
import json
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from common.encoding import b64url_encode
from testkit.intel_platform import IntelPlatform
from verifier.intel.certificates import intel_root
from verifier.intel.endorsements import FixedEndorsements
from verifier.intel.settings import PlatformSettings
from verifier.model import ReportDataBinding, Unbound
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier

_ROUNDS = 40
_PER_ROUND = 20
_WANTED = 1.5
_CASE = Path(__file__).parents[2] / "shared/vectors/evidence/tdx/v4-emr-dcapqvl"
_CASE_TIME = "2025-07-04T10:16:31+00:00"


class _Sample:
    """A quote, its collateral, the instant, and the root it leads to."""

    def __init__(self) -> None:
        if _CASE.is_dir():
            self.quote = (_CASE / "quote.dat").read_bytes()
            self.collateral = (_CASE / "collateral.json").read_bytes()
            self.now = datetime.fromisoformat(_CASE_TIME)
            self.source = "a real quote"
            self.anchors: tuple[x509.Certificate, ...] = ()
            self.root = intel_root().certificate
        else:
            platform = IntelPlatform()
            self.quote = platform.td_quote(report_data=bytes(range(64)))
            self.collateral = platform.collateral_json("tdx")
            self.now = platform.now
            self.source, self.anchors = "a made quote", (platform.root,)
            self.root = platform.root


def run() -> list[str]:
    """The figures, as lines of text."""
    sample = _Sample()
    theirs = _dcap_qvl(sample)
    lines = []
    for label, second in (("ours", False), ("ours with second opinion", True)):
        bare, whole = _alternate(theirs, _ours(sample, second=second))
        lines.append(
            f"{sample.source}: dcap-qvl {bare * 1e6:5.0f} us, {label:<24} {whole * 1e6:5.0f} us:"
            f" {whole / bare:.2f} of it (wanted: at most {_WANTED})"
        )
    return lines


def _ours(sample: _Sample, *, second: bool) -> Callable[[], object]:
    settings = TdxSettings(platform=PlatformSettings(second_opinion=second))
    endorsements = FixedEndorsements.from_json(sample.collateral)
    verifier = TdxVerifier(settings, endorsements, extra_anchors=sample.anchors)
    evidence = TdxEvidence(quote=b64url_encode(sample.quote))
    claims = verifier.verify(evidence, Unbound(), None, sample.now).claims
    expected = ReportDataBinding(bytes.fromhex(claims["report_data"]))
    return lambda: verifier.verify(evidence, expected, None, sample.now)


def _dcap_qvl(sample: _Sample) -> Callable[[], object]:
    dcap_qvl: Any = importlib.import_module("dcap_qvl")
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    collateral: Any = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(json.loads(sample.collateral)))
    root = sample.root.public_bytes(Encoding.DER)
    seconds = int(sample.now.timestamp())
    return lambda: dcap_qvl.verify_with_root_ca(sample.quote, collateral, root, seconds)


def _alternate(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for side, call in enumerate((one, other)):
            started = time.process_time()
            for _ in range(_PER_ROUND):
                call()
            times[side].append((time.process_time() - started) / _PER_ROUND)
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    print("\n".join(run()))
