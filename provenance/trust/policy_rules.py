"""The policy's own rules on one statement: age, builder and level, source, parameters.

Each is a function of what was proven (``provenance.predicates.github``) and of the policy; ``Rules``
decides what a refusal does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from provenance.errors import (
    BuilderLevelTooLow,
    BuilderUntrusted,
    PredicateUnexpected,
    StatementIncomplete,
    TrustPolicyExpired,
    TrustRefused,
)
from provenance.predicates import gcb_binding, github, source
from provenance.trust import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.model import AuthenticStatement, Signer
    from provenance.predicates.github import Origin
    from provenance.predicates.slsa import BuildFacts
    from provenance.trust.model import TrustedSigner
    from provenance.trust.rules import Rules

_POLICY: Final = "trust policy"
_SUPPORTING: Final = "it is not stated, and nothing is derived from a statement that only supports"


def require_in_force(rules: Rules) -> None:
    """The policy itself has not ended (``statement.trust_policy_expired``)."""
    end = limits.expires_at(rules.document)
    if end is None:
        return
    rules.require(
        "trust.policy_in_force",
        rules.now < end,
        TrustPolicyExpired,
        expected=f"before {rules.document.expires}",
        observed=rules.now.isoformat(),
        source=f"{_POLICY}, expires",
        note="" if rules.now < end else "the trust policy has expired: it admits nothing",
    )


def require_predicate_type(authentic: AuthenticStatement, rules: Rules) -> None:
    """The predicate type is one that the policy names."""
    rules.require(
        "trust.predicate_type",
        authentic.statement.predicate_type in rules.document.predicate_types,
        PredicateUnexpected,
        expected=list(rules.document.predicate_types),
        observed=authentic.statement.predicate_type,
        source=f"{_POLICY}, predicate_types",
    )


def require_age(authentic: AuthenticStatement, rules: Rules) -> None:
    """The signature is not older than the policy says, by logged time."""
    seconds = rules.document.max_age_seconds
    if seconds is None:
        return
    clause = f"{_POLICY}, max_age_seconds"
    if authentic.log_time is None:
        # A claimed time would let the signer choose its own age.
        rules.refuse(
            "trust.age",
            StatementIncomplete,
            expected="a logged or timestamped signature",
            source=clause,
            note="the trust policy bounds the age, and nothing proves when this was signed",
        )
        return
    rules.require(
        "trust.age",
        rules.now - authentic.log_time <= timedelta(seconds=seconds),
        TrustRefused,
        expected=f"at most {seconds} seconds before {rules.now.isoformat()}",
        observed=authentic.log_time.isoformat(),
        source=clause,
    )


def require_builder(origin: Origin, trusted: Sequence[TrustedSigner], rules: Rules) -> int | None:
    """The builder is one that the signers may speak for, at the level demanded.

    Returns:
        The builder's level in the policy; None where the policy names no builders.
    """
    builders = rules.document.builders
    if not builders:
        rules.checks.skip(
            "trust.builder", "the trust policy names no builders", source=f"{_POLICY}, builders"
        )
        return None
    if rules.supporting and origin.builder is None:
        rules.checks.skip("trust.builder", _SUPPORTING, source=f"{_POLICY}, supporting_predicates")
        return None
    speakers = {item.name for item in trusted}
    found = [
        builder
        for builder in builders
        if origin.builder is not None
        and (
            github.builder_matches(builder, origin.builder)
            or gcb_binding.builder_matches(builder.id, origin.builder)
        )
        and (not builder.signers or speakers <= set(builder.signers))
    ]
    rules.require(
        "trust.builder",
        bool(found),
        BuilderUntrusted,
        expected=[builder.id for builder in builders],
        observed=origin.builder,
        source=f"{_POLICY}, builders",
    )
    level = max((builder.level or 0 for builder in found), default=0)
    if rules.document.min_level is not None:
        rules.require(
            "trust.level",
            level >= rules.document.min_level,
            BuilderLevelTooLow,
            expected=f"at least {rules.document.min_level}",
            observed=level,
            source="slsa.dev/spec/v1.0/verifying-artifacts, step 1 (level of signer and builder.id)",
        )
    return level


def workflow_of(facts: BuildFacts | None, signers: Sequence[Signer], origin: Origin) -> str | None:
    """Path of the workflow in the built repository: the certificate's, where it proves the source."""
    if not origin.proven or any(gcb_binding.is_google(signer) for signer in signers):
        return None if facts is None else facts.entry_point
    prefix = f"{origin.source_uri}/"
    for signer in signers:
        location = signer.claims.get("build_config_uri", "").partition("@")[0]
        if location.startswith(prefix):
            return location.removeprefix(prefix)
    return None


def require_source(origin: Origin, workflow: str | None, rules: Rules) -> None:
    """Repository, ref, branch and workflow are together those of one of the policy's sources."""
    sources = rules.document.sources
    if not sources:
        rules.checks.skip("trust.source", "the trust policy names no sources", source=f"{_POLICY}, sources")
        return
    if rules.supporting and origin.source_uri is None:
        rules.checks.skip("trust.source", _SUPPORTING, source=f"{_POLICY}, supporting_predicates")
        return
    rules.require(
        "trust.source",
        any(
            source.normalise(item.uri) == origin.source_uri
            and _any_matches(item.refs, origin.source_ref)
            and _any_matches(item.branches, origin.branch)
            and _any_matches(item.workflows, workflow)
            for item in sources
        ),
        gcb_binding.source_error(origin, sources),
        expected=[msgspec.to_builtins(item) for item in sources],
        observed={
            "uri": origin.source_uri,
            "ref": origin.source_ref,
            "branch": origin.branch,
            "workflow": workflow,
        },
        source=f"{_POLICY}, sources",
    )


def require_parameters(facts: BuildFacts, rules: Rules) -> None:
    """No external parameter that nobody expects, the values that the policy names, no surprising inputs."""
    document = rules.document
    expected = {*document.external_parameters, *document.parameter_values}
    unexpected = sorted(set(facts.unrecognised) - expected)
    rules.require(
        "trust.parameters",
        not unexpected,
        PredicateUnexpected,
        expected=sorted(expected),
        observed=unexpected,
        source="slsa.dev/spec/v1.0/verifying-artifacts, step 2 (unrecognised externalParameters)",
        note="" if not unexpected else "the build had external parameters that nobody expects",
    )
    for name, values in document.parameter_values.items():
        given = facts.parameters.get(name, msgspec.UNSET)
        rules.require(
            "trust.parameter_values",
            given is not msgspec.UNSET and _json(given) in map(_json, values),
            PredicateUnexpected,
            expected={name: list(values)},
            observed={} if given is msgspec.UNSET else {name: given},
            source=f"{_POLICY}, parameter_values",
        )
    accepted = document.dispatch_inputs
    surprising = sorted(
        name
        for name, value in facts.dispatch_inputs.items()
        if name not in accepted or accepted[name] not in (None, value)
    )
    rules.require(
        "trust.dispatch_inputs",
        not surprising,
        PredicateUnexpected,
        expected=sorted(accepted),
        observed=surprising,
        source=f"{_POLICY}, dispatch_inputs",
        note="" if not surprising else "a person gave this build inputs that the policy does not expect",
    )


def _any_matches(patterns: Sequence[str], text: str | None) -> bool:
    if not patterns:
        return True
    return text is not None and any(source.glob_matches(pattern, text) for pattern in patterns)


def _json(value: object) -> bytes:
    # 1, 1.0 and true are one value to Python and three to whoever wrote the policy.
    return msgspec.json.encode(value, order="deterministic")
