"""Does the trust policy admit an authentic statement? Fixed rules first, its Rego last.

Order: predicate type -> signers and threshold -> age -> predicate -> binding to the certificate
(``provenance.predicates.github``) -> builder -> source -> parameters -> Rego. The first refusal stops;
every check so far goes with it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from common.checks import Checks
from provenance.errors import (
    BuilderUntrusted,
    PredicateUnexpected,
    SignerUntrusted,
    SourceUntrusted,
    StatementIncomplete,
    TrustRefused,
)
from provenance.model import AdmittedStatement
from provenance.predicates import github, slsa, source
from provenance.steps import step
from provenance.trust import rego as trust_rego
from provenance.trust.model import KeyRoot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from policy.port import CompiledPolicy
    from provenance.model import AuthenticStatement, Signer
    from provenance.predicates.github import Origin
    from provenance.predicates.slsa import BuildFacts
    from provenance.trust import TrustPolicy
    from provenance.trust.model import TrustDocument, TrustedSigner

_POLICY = "trust policy"


def admit(
    authentic: AuthenticStatement, trust: TrustPolicy, rego: CompiledPolicy | None, now: datetime
) -> AdmittedStatement:
    """Apply the policy.

    Args:
        authentic: the verified statement.
        trust: the policy.
        rego: its compiled Rego, if it has any.
        now: for the age.

    Raises:
        PredicateUnexpected: predicate type, shape, or parameters.
        SignerUntrusted: too few signers that the policy names.
        StatementIncomplete: an age is asked for and no time was logged.
        BuilderUntrusted: the builder.
        SourceUntrusted: the source.
        TrustRefused: too old, or the Rego refuses.
        PolicyError: the Rego cannot be evaluated.
    """
    document = trust.document
    checks = Checks()
    checks.extend(authentic.checks)
    _require_predicate_type(authentic, document, checks)
    trusted = require_signers(authentic.signers, document, checks)
    _require_age(authentic, document, now, checks)
    with step(checks, "predicate.shape", source=authentic.statement.predicate_type):
        facts = slsa.facts_of(authentic.statement)
    origin = _bind_all(facts, [signer for signer, _ in trusted], document, checks)
    _require_builder(origin, [item for _, item in trusted], document, checks)
    _require_source(origin, document, checks)
    if facts is not None:
        _require_parameters(facts, document, checks)
    if rego is not None:
        trust_rego.require(rego, trust_rego.input_document(authentic, trusted, facts, origin, now), checks)
    return AdmittedStatement(
        authentic=authentic,
        trust_policy=trust.digest,
        checks=checks.records,
        builder=origin.builder,
        source_uri=origin.source_uri,
        source_revision=origin.source_revision,
    )


def _require_predicate_type(authentic: AuthenticStatement, document: TrustDocument, checks: Checks) -> None:
    checks.require(
        "trust.predicate_type",
        authentic.statement.predicate_type in document.predicate_types,
        PredicateUnexpected,
        expected=list(document.predicate_types),
        observed=authentic.statement.predicate_type,
        source=f"{_POLICY}, predicate_types",
    )


def require_signers(
    signers: Sequence[Signer], document: TrustDocument, checks: Checks
) -> list[tuple[Signer, TrustedSigner]]:
    """Distinct signers that the policy names, each with its first entry.

    Raises:
        SignerUntrusted: fewer than the policy's threshold.
    """
    trusted: dict[tuple[str, str | None], tuple[Signer, TrustedSigner]] = {}
    for signer in signers:
        entry = next((item for item in document.signers if _names(item, signer, document)), None)
        if entry is not None:
            trusted.setdefault((signer.identity, signer.issuer), (signer, entry))
    checks.require(
        "trust.signers",
        len(trusted) >= document.threshold,
        SignerUntrusted,
        expected=f"{document.threshold} of {[item.name for item in document.signers]}",
        observed=[{"identity": signer.identity, "issuer": signer.issuer} for signer in signers],
        source=f"{_POLICY}, signers and threshold",
    )
    return list(trusted.values())


def _names(item: TrustedSigner, signer: Signer, document: TrustDocument) -> bool:
    if item.root != signer.root:
        return False
    if any(isinstance(root, KeyRoot) and root.name == item.root for root in document.roots):
        return signer.kind == "key"
    return (
        signer.kind == "certificate"
        and signer.issuer == item.issuer
        and item.identity is not None
        and source.glob_matches(item.identity, signer.identity)
    )


def _require_age(
    authentic: AuthenticStatement, document: TrustDocument, now: datetime, checks: Checks
) -> None:
    if document.max_age_seconds is None:
        return
    if authentic.log_time is None:
        # A claimed time would let the signer choose its own age.
        checks.fail(
            "trust.age",
            StatementIncomplete,
            expected="a logged or timestamped signature",
            source=f"{_POLICY}, max_age_seconds",
            note="the trust policy bounds the age, and nothing proves when this was signed",
        )
    limit = timedelta(seconds=document.max_age_seconds)
    checks.require(
        "trust.age",
        now - authentic.log_time <= limit,
        TrustRefused,
        expected=f"at most {document.max_age_seconds} seconds before {now.isoformat()}",
        observed=authentic.log_time.isoformat(),
        source=f"{_POLICY}, max_age_seconds",
    )


def _bind_all(
    facts: BuildFacts | None, signers: Sequence[Signer], document: TrustDocument, checks: Checks
) -> Origin:
    """Bind to every signer that counts; the origin with most behind it is the result."""
    origins = [
        github.bind(
            facts,
            signer,
            document.builders,
            allow_self_hosted=document.allow_self_hosted,
            checks=checks,
        )
        for signer in signers
    ]
    return max(origins, key=lambda origin: origin.proven)


def _require_builder(
    origin: Origin, trusted: Sequence[TrustedSigner], document: TrustDocument, checks: Checks
) -> None:
    if not document.builders:
        checks.skip("trust.builder", "the trust policy names no builders", source=f"{_POLICY}, builders")
        return
    speakers = {item.name for item in trusted}
    checks.require(
        "trust.builder",
        origin.builder is not None
        and any(
            github.builder_matches(builder, origin.builder)
            and (not builder.signers or speakers <= set(builder.signers))
            for builder in document.builders
        ),
        BuilderUntrusted,
        expected=[builder.id for builder in document.builders],
        observed=origin.builder,
        source=f"{_POLICY}, builders",
    )


def _require_source(origin: Origin, document: TrustDocument, checks: Checks) -> None:
    if not document.sources:
        checks.skip("trust.source", "the trust policy names no sources", source=f"{_POLICY}, sources")
        return
    checks.require(
        "trust.source",
        any(
            source.normalise(item.uri) == origin.source_uri
            and _any_matches(item.refs, origin.source_ref)
            and _any_matches(item.branches, origin.branch)
            for item in document.sources
        ),
        SourceUntrusted,
        expected=[msgspec.to_builtins(item) for item in document.sources],
        observed={"uri": origin.source_uri, "ref": origin.source_ref, "branch": origin.branch},
        source=f"{_POLICY}, sources",
    )


def _any_matches(patterns: Sequence[str], text: str | None) -> bool:
    if not patterns:
        return True
    return text is not None and any(source.glob_matches(pattern, text) for pattern in patterns)


def _require_parameters(facts: BuildFacts, document: TrustDocument, checks: Checks) -> None:
    unexpected = sorted(set(facts.unrecognised) - set(document.external_parameters))
    checks.require(
        "trust.parameters",
        not unexpected,
        PredicateUnexpected,
        expected=list(document.external_parameters),
        observed=unexpected,
        source="slsa.dev/spec/v1.0/verifying-artifacts, step 2 (unrecognised externalParameters)",
        note="" if not unexpected else "the build had external parameters that nobody expects",
    )
    accepted = document.dispatch_inputs
    surprising = sorted(
        name
        for name, value in facts.dispatch_inputs.items()
        if name not in accepted or accepted[name] not in (None, value)
    )
    checks.require(
        "trust.dispatch_inputs",
        not surprising,
        PredicateUnexpected,
        expected=sorted(accepted),
        observed=surprising,
        source=f"{_POLICY}, dispatch_inputs",
        note="" if not surprising else "a person gave this build inputs that the policy does not expect",
    )
