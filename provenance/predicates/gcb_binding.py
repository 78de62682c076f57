"""Binding of Google Cloud Build provenance to the key that signed it, and its rules in a trust policy.

Signer and builder are one party here, so that what the provenance states is proven as far as the key is
Google's. Held against the key, which signs one predicate type and nothing else: the builder id, its build
type, and for v0.1 the type of the recipe's arguments. Hard-coded; no Rego can loosen it.

Source: slsa-framework/slsa-verifier v2.7.1, verifiers/internal/gcb (the same relations).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provenance.errors import BuilderUntrusted, BuildTypeUnexpected, RefNotStated, SourceUntrusted
from provenance.predicates import source
from provenance.predicates.gcb import BUILD_TYPE_V1, BUILDER, BUILDERS_V01, is_builder
from provenance.predicates.github import Origin
from provenance.predicates.slsa import SLSA_V1

if TYPE_CHECKING:
    from collections.abc import Iterable

    from common.checks import Checks
    from provenance.model import Signer
    from provenance.predicates.slsa import BuildFacts
    from provenance.trust.model import TrustedSource

# Claim of a signer: the predicate type that its Cloud Build key signs. No other signer has it.
CLAIM: Final = "google_cloud_build_predicate"
# v0.3 builds from a file or from inline steps; the version of the recipe is not compared.
_RECIPES: Final = (
    "https://cloudbuild.googleapis.com/CloudBuildYaml@",
    "https://cloudbuild.googleapis.com/CloudBuildSteps@",
)
_ARGUMENTS_TYPE: Final = "type.googleapis.com/google.devtools.cloudbuild.v1.Build"
_SOURCE: Final = "slsa-verifier v2.7.1, verifiers/internal/gcb"


def is_google(signer: Signer) -> bool:
    """Whether a key of Cloud Build's attestors signed."""
    return CLAIM in signer.claims


def builder_matches(named: str, builder_id: str) -> bool:
    """Whether a policy's builder id names this Cloud Build builder: whole, or without the version."""
    return named == BUILDER and builder_id in (BUILDER, *BUILDERS_V01)


def source_error(origin: Origin, sources: Iterable[TrustedSource]) -> type[SourceUntrusted]:
    """What a refused source is called: a Cloud Build source may be right and its tag or branch unproven."""
    unstated = (
        origin.builder is not None
        and is_builder(origin.builder)
        and any(
            source.normalise(item.uri) == origin.source_uri
            and bool((item.refs and origin.source_ref is None) or (item.branches and origin.branch is None))
            for item in sources
        )
    )
    return RefNotStated if unstated else SourceUntrusted


def bind(facts: BuildFacts | None, signer: Signer, checks: Checks) -> Origin:
    """Hold the facts against the key that signed them.

    Args:
        facts: of the predicate.
        signer: with ``CLAIM``.
        checks: where the records go.

    Raises:
        BuilderUntrusted: not a builder that this key signs for, or another type of arguments.
        BuildTypeUnexpected: not a build type of that builder.
    """
    v1 = signer.claims.get(CLAIM) == SLSA_V1
    builders = (BUILDER,) if v1 else BUILDERS_V01
    if facts is None or facts.builder not in builders:
        checks.fail(
            "gcb.builder",
            BuilderUntrusted,
            expected=list(builders),
            observed=None if facts is None else facts.builder,
            source=f"{_SOURCE}, builder id",
            note="the builder is not one that this Google Cloud Build key signs for",
        )
    checks.require(
        "gcb.build_type",
        _build_type_fits(facts, v1=v1),
        BuildTypeUnexpected,
        expected=BUILD_TYPE_V1 if v1 else facts.builder,
        observed=facts.build_type,
        source=f"{_SOURCE}, build type",
    )
    if not v1:
        checks.require(
            "gcb.arguments",
            facts.parameters.get("@type") == _ARGUMENTS_TYPE,
            BuilderUntrusted,
            expected=_ARGUMENTS_TYPE,
            observed=facts.parameters.get("@type"),
            source=f"{_SOURCE}, recipe arguments",
        )
    return Origin(
        builder=facts.builder,
        source_uri=facts.source_uri,
        source_ref=facts.source_ref,
        source_revision=facts.source_revision,
        branch=facts.branch,
        proven=facts.source_uri is not None,
    )


def _build_type_fits(facts: BuildFacts, *, v1: bool) -> bool:
    if v1:
        return facts.build_type == BUILD_TYPE_V1
    # @v0.2 repeats the builder id as its recipe type.
    return facts.build_type == facts.builder if facts.builder == BUILDERS_V01[0] else _is_recipe(facts)


def _is_recipe(facts: BuildFacts) -> bool:
    return facts.build_type.startswith(_RECIPES)
