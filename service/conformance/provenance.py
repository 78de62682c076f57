"""Runs provenance cases of a conformance manifest on the real pipeline, offline.

One module per family of case types; a type is one line in ``_RUNNERS``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from common.errors import TouchstoneError
from service.conformance import gcb, layout, sigstore, vsa
from service.conformance.outcome import passed, refused, unsupported
from service.conformance.provenance_case import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome

_RUNNERS: Final[dict[str, Callable[[Mapping[str, Any], Path, datetime], None]]] = {
    "sigstore-bundle": sigstore.run_bundle,
    "sigstore-bundle+slsa-provenance": sigstore.run_slsa,
    "sigstore-bundle+slsa (private PKI)": sigstore.run_private,
    "dsse+embedded-cert (no tlog)": sigstore.run_embedded,
    "google-cloud-build-provenance(DSSE, Google KMS key)": gcb.run_gcb,
    "slsa-vsa-dsse-key": vsa.run_vsa,
    "in-toto-layout": layout.run_layout,
}

KINDS: Final = tuple(_RUNNERS)


def run_case(case: Mapping[str, Any], folder: Path, now: datetime | None = None) -> Outcome:
    """Run one case.

    Args:
        case: a record of the manifest.
        folder: the manifest's folder; file names in the case are relative to it.
        now: the verification time; the present otherwise.

    Returns:
        The outcome; a case of another type, or one that lacks what its type needs, is ``unsupported``:
        a case that was never run agrees with nothing.
    """
    kind = str(case.get("type", ""))
    runner = _RUNNERS.get(kind)
    expected = str(case.get("expect", ""))
    if runner is None:
        return unsupported(case, kind, expected, "no provenance runner for this type")
    try:
        runner(case, folder, now or datetime.now(UTC))
    except Unusable as error:
        return unsupported(case, kind, expected, error.message)
    except TouchstoneError as error:
        return refused(case, kind, expected, error)
    return passed(case, kind, expected)
