"""Runs Google Cloud Build cases: the document that ``gcloud`` printed, and the keys that are carried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provenance.pipeline import Pipeline
from provenance.predicates import gcb, slsa
from service.conformance.provenance_case import (
    Unusable,
    params_of,
    policy_of,
    read,
    require_subject,
    source_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

_ROOT: Final = "cloud-build"
# The suite's verifier compares no substitutions; the one that triggers of these builds define is expected.
_SUBSTITUTIONS: Final = ("substitutions._IMAGE_NAME",)


def run_gcb(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    """Authenticate, admit with builder and source, and find the image among the subjects."""
    params = params_of(case, "source_uri", "builder_id", "image")
    _, at, digest = params["image"].partition("@sha256:")
    if not at:
        raise Unusable("the case's image has no SHA-256")
    policy = policy_of(
        case,
        predicate_types=[gcb.PREDICATE_V01, slsa.SLSA_V1],
        roots=[{"name": _ROOT, "kind": "google-cloud-build"}],
        signers=[{"name": "case", "root": _ROOT}],
        builders=[{"id": params["builder_id"]}],
        sources=[source_of(params)],
        external_parameters=list(_SUBSTITUTIONS),
    )
    admitted = Pipeline(policy).admit(read(case, folder, "bundle"), now)
    require_subject(admitted.authentic.statement, digest)
