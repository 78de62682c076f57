"""What the runners of provenance cases share: reading a case, and a trust policy made of its parameters.

A case's parameters become a trust policy, so that what is exercised is what a deployment runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.errors import Malformed, NotFound, TooLarge
from common.files import read_limited
from provenance import statement, trust
from provenance.errors import SubjectMismatch
from provenance.pipeline import Pipeline
from provenance.predicates import slsa
from service.conformance.outcome import case_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from provenance.model import Statement

_MAX_FILE: Final = 32 << 20


class Unusable(Malformed):
    """The case lacks what its type needs."""


def admit_bundle(case: Mapping[str, Any], folder: Path, policy: trust.TrustPolicy, now: datetime) -> None:
    """Admit the case's bundle and find its subject in the statement."""
    admitted = Pipeline(policy).admit(read(case, folder, "bundle"), now)
    require_subject(admitted.authentic.statement, member(case, "subject_sha256"))


def policy_of(case: Mapping[str, Any], **members: Any) -> trust.TrustPolicy:
    """A trust policy named after the case, for SLSA provenance unless ``members`` say otherwise."""
    document = {
        "version": 1,
        "name": case_id(case),
        "predicate_types": list(slsa.SLSA_TYPES),
        **members,
    }
    return trust.parse(strict_json.canonical(document))


def source_of(params: Mapping[str, str]) -> dict[str, Any]:
    """The source entry of a policy: repository, and the tag or branch that the case names."""
    refs: list[str] = []
    if "source_tag" in params:
        refs = [f"refs/tags/{params['source_tag']}"]
    elif "source_versioned_tag" in params:
        # v14 stands for v14, v14.2, v14.2.1, and not for v140.
        tag = params["source_versioned_tag"]
        refs = [f"refs/tags/{tag}", f"refs/tags/{tag}.*"]
    branches = [f"refs/heads/{params['source_branch']}"] if "source_branch" in params else []
    return {"uri": params["source_uri"], "refs": refs, "branches": branches}


def require_subject(parsed: Statement, digest: str) -> None:
    """Refuse a statement without a subject of this SHA-256 (hex)."""
    if statement.find_subject(parsed, "sha256", digest) is None:
        raise SubjectMismatch("the artefact is not a subject of the statement")


def params_of(case: Mapping[str, Any], *needed: str) -> dict[str, str]:
    """The case's ``params``; unusable where one that is needed is no string."""
    value = case.get("params")
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in needed):
        raise Unusable(f"the case's params lack {', '.join(needed)}")
    return value


def member(case: Mapping[str, Any], name: str) -> str:
    """A member of the case that is a string; unusable otherwise."""
    value = case.get(name)
    if not isinstance(value, str):
        raise Unusable(f"the case has no {name}")
    return value


def read(case: Mapping[str, Any], folder: Path, name: str) -> bytes:
    """The file that a member of the case names; unusable where there is none."""
    try:
        return read_limited(folder / member(case, name), what="case file", max_bytes=_MAX_FILE)
    except (NotFound, TooLarge) as error:
        raise Unusable(error.message) from error
