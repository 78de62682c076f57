"""Statements and claims for the test authority to sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from provenance.predicates.slsa import SLSA_V1, WORKFLOW_BUILD_TYPES
from provenance.statement import STATEMENT_V1

if TYPE_CHECKING:
    from collections.abc import Mapping

GITHUB_ISSUER: Final = "https://token.actions.githubusercontent.com"
DEFAULT_REVISION: Final = "a" * 40


def github_claims(identity: str, *, revision: str = DEFAULT_REVISION) -> dict[str, str]:
    """Claims that Fulcio gives a GitHub Actions job whose workflow lives in the built repository.

    Args:
        identity: ``https://github.com/OWNER/NAME/.github/workflows/FILE@refs/...``.
        revision: commit.
    """
    location, _, ref = identity.partition("@")
    repository = location.partition("/.github/")[0]
    return {
        "build_signer_uri": identity,
        "build_signer_digest": revision,
        "runner_environment": "github-hosted",
        "source_repository_uri": repository,
        "source_repository_digest": revision,
        "source_repository_ref": ref,
        "build_config_uri": identity,
        "build_trigger": "push",
    }


def slsa_v1_statement(
    subjects: Mapping[str, str],
    *,
    builder: str,
    source_uri: str,
    ref: str,
    revision: str = DEFAULT_REVISION,
    workflow: str = ".github/workflows/build.yml",
    build_type: str = WORKFLOW_BUILD_TYPES[0],
    external_parameters: Mapping[str, Any] | None = None,
    internal_parameters: Mapping[str, Any] | None = None,
) -> bytes:
    """A Statement v1 with SLSA provenance v1, as GitHub's attestations have it.

    Args:
        subjects: name to SHA-256 hex.
        builder: builder id.
        source_uri: ``https://github.com/OWNER/NAME``.
        ref: ``refs/tags/v1``.
        revision: commit.
        workflow: path of the workflow in the source.
        build_type: URI.
        external_parameters: instead of the workflow's.
        internal_parameters: beside none.
    """
    parameters = external_parameters
    if parameters is None:
        parameters = {"workflow": {"ref": ref, "repository": source_uri, "path": workflow}}
    predicate = {
        "buildDefinition": {
            "buildType": build_type,
            "externalParameters": dict(parameters),
            "internalParameters": dict(internal_parameters or {}),
            "resolvedDependencies": [{"uri": f"git+{source_uri}@{ref}", "digest": {"gitCommit": revision}}],
        },
        "runDetails": {"builder": {"id": builder}},
    }
    return strict_json.canonical(
        {
            "_type": STATEMENT_V1,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
            "predicateType": SLSA_V1,
            "predicate": predicate,
        }
    )
