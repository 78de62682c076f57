"""Binding of provenance to the certificate that signed it: what a statement claims, Fulcio must have seen.

A certificate of GitHub Actions (or another CI that Fulcio knows) carries claims of the job's OIDC token.
A signed predicate is only the job's own word: a job of any repository can write any builder id and any
source into it. So wherever the certificate makes a claim, the predicate must repeat it, and the
certificate's value is what the trust policy is held against. Hard-coded; no Rego can loosen it.

For GitHub Actions, in order:

1. the subject alternative name is the build signer URI;
2. the runner is GitHub-hosted, unless the policy says otherwise;
3. ``builder.id`` is that workflow (exact, with its ref), or a builder that the policy says is delegated
   to it, or GitHub's runner id for that runner environment;
4. source repository, ref, revision and entry point are the certificate's.

Sources: sigstore/fulcio docs/oid-info.md; slsa-framework/slsa-verifier, verifiers/internal/gha (the
same relations); actions/attest-build-provenance (builder ids).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from provenance.errors import BuilderUntrusted, SourceUntrusted
from provenance.predicates import source
from provenance.predicates.slsa import WORKFLOW_BUILD_TYPES
from provenance.trust.model import DEFAULT_BUILDER_REF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.checks import Checks
    from provenance.model import Signer
    from provenance.predicates.slsa import BuildFacts
    from provenance.trust.model import TrustedBuilder

ISSUER: Final = "https://token.actions.githubusercontent.com"
HOSTED: Final = "github-hosted"
_HOST: Final = "https://github.com/"
# Builder id of attestations that name the runner and not the workflow (npm, early GitHub attestations).
_RUNNER_BUILDER: Final = "https://github.com/actions/runner/"
# Google Cloud Build signs with keys of its own (``provenance.gcb``), never with a certificate.
_CLOUD_BUILD: Final = "https://cloudbuild.googleapis.com/"
_OIDS: Final = "sigstore/fulcio docs/oid-info.md"


class Origin(msgspec.Struct, frozen=True):
    """Where an artefact comes from, as far as it is proven or, for raw keys, claimed.

    Attributes:
        builder: SLSA builder id.
        source_uri: normalised.
        source_ref: full ref name.
        source_revision: commit digest.
        branch: branch of the build.
        proven: a certificate's claims stand behind it.
    """

    builder: str | None = None
    source_uri: str | None = None
    source_ref: str | None = None
    source_revision: str | None = None
    branch: str | None = None
    proven: bool = False


def is_github(signer: Signer) -> bool:
    """Whether the certificate was issued for a GitHub Actions job (also of an enterprise issuer)."""
    issuer = signer.issuer or ""
    return issuer == ISSUER or issuer.startswith(ISSUER + "/")


def bind(
    facts: BuildFacts | None,
    signer: Signer,
    builders: Sequence[TrustedBuilder],
    *,
    allow_self_hosted: bool,
    checks: Checks,
) -> Origin:
    """Hold the predicate's facts against the signer's claims.

    Args:
        facts: of the predicate; None where it is not provenance.
        signer: as proven.
        builders: of the trust policy, for delegation.
        allow_self_hosted: of the trust policy.
        checks: where the records go.

    Returns:
        The origin; of a certificate with claims, the certificate's values.

    Raises:
        BuilderUntrusted: the builder is not the one that the certificate proves.
        SourceUntrusted: source, ref, revision or entry point is not the certificate's.
    """
    if signer.kind != "certificate":
        return _claimed(facts)
    if is_github(signer):
        _require_signer_uri(signer, checks)
        _require_hosted(facts, signer, allow_self_hosted=allow_self_hosted, checks=checks)
        if facts is not None:
            _require_builder(facts, signer, builders, checks)
    elif facts is not None:
        _refuse_borrowed_builder(facts, checks)
    proven = _proven_source(signer)
    if facts is not None:
        _require_source(facts, signer, proven, checks)
    builder = None if facts is None else facts.builder
    branch = _branch(facts, proven)
    if proven.proven:
        # What such a certificate leaves out stays unknown: the job's own word does not fill it in.
        return msgspec.structs.replace(proven, builder=builder, branch=branch)
    return _claimed(facts)


def _claimed(facts: BuildFacts | None) -> Origin:
    if facts is None:
        return Origin()
    return Origin(
        builder=facts.builder,
        source_uri=facts.source_uri,
        source_ref=facts.source_ref,
        source_revision=facts.source_revision,
        branch=facts.branch,
    )


def _require_signer_uri(signer: Signer, checks: Checks) -> None:
    stated = signer.claims.get("build_signer_uri", signer.identity)
    checks.require(
        "github.signer_uri",
        stated == signer.identity,
        BuilderUntrusted,
        expected=signer.identity,
        observed=stated,
        source=f"{_OIDS}, .9",
    )


def _require_hosted(
    facts: BuildFacts | None, signer: Signer, *, allow_self_hosted: bool, checks: Checks
) -> None:
    seen = {signer.claims.get("runner_environment")}
    if facts is not None and facts.runner_environment is not None:
        seen.add(facts.runner_environment)
    checks.require(
        "github.runner",
        allow_self_hosted or seen == {HOSTED},
        BuilderUntrusted,
        expected=HOSTED,
        observed=sorted(item or "not stated" for item in seen),
        source=f"{_OIDS}, .11",
    )


def _require_builder(
    facts: BuildFacts, signer: Signer, builders: Sequence[TrustedBuilder], checks: Checks
) -> None:
    environment = signer.claims.get("runner_environment")
    checks.require(
        "github.builder",
        facts.builder == signer.identity
        or (environment is not None and facts.builder == _RUNNER_BUILDER + environment)
        or any(_delegates(builder, facts.builder, signer.identity) for builder in builders),
        BuilderUntrusted,
        expected=signer.identity,
        observed=facts.builder,
        source=f"{_OIDS}, .9; slsa.dev/spec/v1.0/provenance, builder.id",
        note="the statement's builder is not the workflow that the certificate names",
    )


def _delegates(builder: TrustedBuilder, builder_id: str, signer_uri: str) -> bool:
    if builder.delegated_by is None or not builder_matches(builder, builder_id):
        return False
    workflow, at, ref = signer_uri.partition("@")
    pattern = builder.delegator_ref or DEFAULT_BUILDER_REF
    return bool(at) and workflow == builder.delegated_by and source.glob_matches(pattern, ref)


def builder_matches(builder: TrustedBuilder, builder_id: str) -> bool:
    """Whether the policy's builder is the one with this id.

    The id before ``@`` is compared whole, never as a prefix.
    """
    if builder_id == builder.id:
        # A workflow of a repository without a ref would be whatever its default branch holds.
        return "@" in builder_id or "/.github/workflows/" not in builder_id
    stated, at, ref = builder_id.partition("@")
    if not at or "@" in builder.id:
        return False
    return stated == builder.id and source.glob_matches(builder.ref or DEFAULT_BUILDER_REF, ref)


def _refuse_borrowed_builder(facts: BuildFacts, checks: Checks) -> None:
    checks.require(
        "certificate.builder",
        not facts.builder.startswith((_HOST, _CLOUD_BUILD)),
        BuilderUntrusted,
        expected=f"a certificate issued for {ISSUER}",
        observed=facts.builder,
        source=_OIDS,
        note="the builder named is one that cannot have obtained this certificate",
    )


def _proven_source(signer: Signer) -> Origin:
    claims = signer.claims
    repository = claims.get("source_repository_uri")
    if repository is None and is_github(signer) and "github_workflow_repository" in claims:
        repository = _HOST + claims["github_workflow_repository"]
    return Origin(
        source_uri=None if repository is None else source.normalise(repository),
        source_ref=claims.get("source_repository_ref", claims.get("github_workflow_ref")),
        source_revision=claims.get("source_repository_digest", claims.get("github_workflow_sha")),
        proven=repository is not None,
    )


def _require_source(facts: BuildFacts, signer: Signer, proven: Origin, checks: Checks) -> None:
    if is_github(signer) and not proven.proven:
        checks.fail(
            "github.source",
            SourceUntrusted,
            expected="a source repository in the certificate",
            source=f"{_OIDS}, .12",
        )
    pairs = (
        ("source.repository", facts.source_uri, proven.source_uri, ".12"),
        ("source.ref", facts.source_ref, proven.source_ref, ".14"),
        ("source.revision", facts.source_revision, proven.source_revision, ".13"),
        ("source.entry_point", *_entry_points(facts, signer), ".18"),
    )
    for name, stated, claim, oid in pairs:
        if stated is None or claim is None:
            continue
        checks.require(
            name,
            stated == claim,
            SourceUntrusted,
            expected=claim,
            observed=stated,
            source=f"{_OIDS}, {oid}",
        )


def _entry_points(facts: BuildFacts, signer: Signer) -> tuple[str | None, str | None]:
    """Entry point as the predicate states it and as the certificate claims it."""
    if facts.build_type not in WORKFLOW_BUILD_TYPES:
        return None, None
    stated = f"{facts.source_uri}/{facts.entry_point}@{facts.source_ref}"
    return stated, signer.claims.get("build_config_uri")


def _branch(facts: BuildFacts | None, proven: Origin) -> str | None:
    # A branch in the certificate decides; for a tag the builder's record is all there is.
    ref = proven.source_ref
    if ref is not None and ref.startswith("refs/heads/"):
        return ref
    return None if facts is None else facts.branch
