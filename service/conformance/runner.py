"""Runs every case of a manifest through the runner of its kind, in order.

A manifest is either a list of cases (provenance: each has ``type``) or an object with ``cases``
(evidence: each has ``tee``); ``mutations.json`` beside an evidence manifest is an object with
``mutations`` of those cases. Cases run offline, each at its own verification time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from common import strict_json
from common.errors import Malformed, TouchstoneError
from common.files import read_limited
from service.conformance.outcome import FAIL, Outcome, case_id, unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_MANIFEST_BYTES = 64 << 20
Runner = Callable[[dict[str, Any], "Path"], Outcome]


def cases_of(manifest: Path) -> list[dict[str, Any]]:
    """The cases of a manifest file.

    Raises:
        NotFound: no such file.
        Malformed: not a manifest in one of the three shapes.
    """
    document = strict_json.loads(
        read_limited(manifest, what="manifest", max_bytes=_MAX_MANIFEST_BYTES),
        what="manifest",
        max_bytes=_MAX_MANIFEST_BYTES,
    )
    if isinstance(document, dict) and "mutations" in document:
        return _mutated(document["mutations"], manifest)
    cases = document.get("cases") if isinstance(document, dict) else document
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise Malformed("the manifest is neither a list of cases nor an object with `cases`")
    return cases


def run(manifest: Path, *, only: str | None = None) -> Iterator[Outcome]:
    """Outcomes, in the manifest's order. A case never ends the run.

    Args:
        manifest: the manifest file.
        only: run cases whose id or type contains this.
    """
    for case in cases_of(manifest):
        kind = str(case.get("type") or case.get("tee") or "?")
        if only is None or only in case_id(case) or only in kind:
            yield _run_one(case, kind, manifest.parent)


def _run_one(case: dict[str, Any], kind: str, folder: Path) -> Outcome:
    runner = _runner_of(kind)
    if runner is None:
        return unsupported(case, kind, _expected(case), "no runner for this type")
    try:
        return runner(case, folder)
    except TouchstoneError as error:  # the case itself (a missing file, a bad parameter) is unusable
        return Outcome(
            id=case_id(case),
            type=kind,
            expected=_expected(case),
            got=FAIL,
            code=error.code,
            agree=False,
            detail=error.message,
        )


def _runner_of(kind: str) -> Runner | None:
    """Runners are imported when a case needs one: the Sigstore parts are slow to load."""
    if kind in ("snp", "snp-synthetic"):
        from service.conformance.snp import run_case  # noqa: PLC0415

        return run_case
    if kind in ("tpm", "eventlog-tcg"):
        from service.conformance.tpm import run_case as run_tpm  # noqa: PLC0415

        return run_tpm
    if kind in ("derive-pcr11", "derive-snp", "derive-tdx-mrtd", "measure"):
        from service.conformance.measurement import run_case as run_measurement  # noqa: PLC0415

        return run_measurement
    if kind in ("corim", "nvidia-rim"):
        from service.conformance.manifests import run_case as run_manifest  # noqa: PLC0415

        return run_manifest
    if kind in _PROVENANCE_TYPES:
        from service.conformance.provenance import run_case as run_provenance  # noqa: PLC0415

        return run_provenance
    return None


_PROVENANCE_TYPES = frozenset(
    {
        "sigstore-bundle",
        "sigstore-bundle+slsa-provenance",
        "sigstore-bundle+slsa (private PKI)",
        "dsse+embedded-cert (no tlog)",
        "google-cloud-build-provenance(DSSE, Google KMS key)",
        "slsa-vsa-dsse-key",
        "in-toto-layout",
    }
)


def _expected(case: dict[str, Any]) -> str:
    expect = case.get("expect")
    return str(expect.get("result") if isinstance(expect, dict) else expect)


def _mutated(mutations: list[dict[str, Any]], manifest: Path) -> list[dict[str, Any]]:
    """Each mutation as a case: its base case with the mutation attached under ``mutation``."""
    base_cases = {case_id(case): case for case in cases_of(manifest.parent / "manifest.json")}
    cases = []
    for mutation in mutations:
        base = base_cases.get(str(mutation.get("base")))
        if base is None:
            raise Malformed(f"mutation {mutation.get('id')} names a base case that does not exist")
        expect = base["expect"] | {"error_any": []} | mutation["expect"]
        if "error_any" in mutation:
            expect["error_any"] = mutation["error_any"]
        cases.append(
            base | {"id": mutation["id"], "expect": expect, "mutation": mutation["op"], "base": base["id"]}
        )
    return cases
