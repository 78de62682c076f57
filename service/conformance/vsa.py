"""Runs verification-summary cases: a DSSE envelope, a raw key with the id that it has there, expectations.

A subject may be named by an identifier instead of a digest (``gce_image_id:...``); the case's kind of
identifier is then one that the policy accepts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provenance.errors import SubjectMismatch
from provenance.pipeline import Pipeline
from provenance.predicates import vsa
from provenance.statement import STRONG_ALGORITHMS, find_subject
from service.conformance.provenance_case import Unusable, params_of, policy_of, read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

_ROOT: Final = "key"


def run_vsa(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    """Authenticate with the case's key, and hold the summary against its expectations."""
    params = params_of(case, "subject_digest", "verifier_id", "resource_uri", "key_id")
    levels = case["params"].get("verified_levels")
    algorithm, colon, digest = params["subject_digest"].partition(":")
    if not colon or not isinstance(levels, list):
        raise Unusable("the case has no subject digest or no levels")
    root = {
        "name": _ROOT,
        "kind": "public-key",
        # The one key of these cases is of this kind, and signs r and s side by side.
        "algorithm": "ecdsa-p256-sha256-p1363",
        "key": read(case, folder, "key").decode("ascii", "replace"),
        "keyid": params["key_id"],
    }
    expected = {
        "verifiers": [params["verifier_id"]],
        "resources": [params["resource_uri"]],
        "levels": levels,
        "identifiers": [] if algorithm in STRONG_ALGORITHMS else [algorithm],
    }
    policy = policy_of(
        case,
        predicate_types=list(vsa.VSA_TYPES),
        roots=[root],
        signers=[{"name": "case", "root": _ROOT}],
        vsas=[expected],
    )
    admitted = Pipeline(policy).admit(read(case, folder, "bundle"), now)
    if find_subject(admitted.authentic.statement, algorithm, digest) is None:
        raise SubjectMismatch("the artefact is not a subject of the statement")
