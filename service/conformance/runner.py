"""Runs every case of a manifest through the runner of its kind, in order.

A manifest is either a list of cases (provenance: each has ``type``) or an object with ``cases``
(evidence: each has ``tee``); ``mutations.json`` beside an evidence manifest is an object with
``mutations`` of those cases. Cases run offline, each at its own verification time.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import service.conformance
from common import strict_json
from common.errors import Malformed, TouchstoneError
from common.files import read_limited
from service.conformance.outcome import FAIL, Outcome, case_id, unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_MANIFEST_BYTES = 64 << 20
# Modules that import Sigstore, in-toto and their like.
_SLOW: Final = frozenset({"gcb", "layout", "provenance", "sigstore", "vsa"})
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


@cache
def _runner_of(kind: str) -> Runner | None:
    """The module here that names the kind in its ``KINDS``.

    Modules are looked through until one has it: the Sigstore parts are slow to load and come last.
    """
    modules = (item.name for item in pkgutil.iter_modules(service.conformance.__path__))
    for name in sorted(modules, key=lambda name: (name in _SLOW, name)):
        module = importlib.import_module(f"service.conformance.{name}")
        if kind in getattr(module, "KINDS", ()):
            runner: Runner = module.run_case
            return runner
    return None


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
