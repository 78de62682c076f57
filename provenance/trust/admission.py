"""Does the trust policy admit an authentic statement? Fixed rules first, its Rego last.

Order: end of the policy -> predicate type -> signers and threshold -> age -> predicate -> binding to the
certificate (``provenance.predicates.github``) -> builder and level -> source -> parameters -> Rego. The
first refusal stops; every check so far goes with it. ``explain`` makes the same checks, stops at none.

Not done here: what several statements together must give (trust domains, required predicates), which is
``provenance.trust.domains``; the numbers that it needs leave with the admitted statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from common.checks import Check, Verdict
from provenance.errors import SignerUntrusted
from provenance.model import AdmittedStatement
from provenance.predicates import gcb, gcb_binding, github, slsa, source
from provenance.predicates.contents import Contents, contents_of
from provenance.steps import step
from provenance.trust import limits, policy_rules, unverified, vsa_rules
from provenance.trust import rego as trust_rego
from provenance.trust.manifest_roots import ManifestKeyRoot
from provenance.trust.model import GoogleCloudBuildRoot, KeyRoot, LayoutRoot
from provenance.trust.rego import Found
from provenance.trust.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from common.checks import Checks
    from policy.port import CompiledPolicy
    from provenance.model import AuthenticStatement, Signer
    from provenance.predicates.github import Origin
    from provenance.predicates.slsa import BuildFacts
    from provenance.trust import TrustPolicy
    from provenance.trust.model import TrustDocument, TrustedSigner

_POLICY: Final = "trust policy"
_KEY_ROOTS: Final = (KeyRoot, LayoutRoot, ManifestKeyRoot)


def admit(
    authentic: AuthenticStatement, trust: TrustPolicy, rego: CompiledPolicy | None, now: datetime
) -> AdmittedStatement:
    """Apply the policy.

    Args:
        authentic: the verified statement.
        trust: the policy.
        rego: its compiled Rego, if it has any.
        now: for the age, and for the ends of the policy and of its exceptions.

    Raises:
        TrustPolicyExpired: the policy has ended.
        PredicateUnexpected: predicate type, shape, or parameters.
        SignerUntrusted: too few signers that the policy names.
        StatementIncomplete: an age is asked for and no time was logged.
        BuilderUntrusted: the builder.
        BuilderLevelTooLow: the builder's level.
        SourceUntrusted: the source.
        TrustRefused: age, or the policy's Rego.
        PolicyError: the Rego could not be evaluated.
    """
    rules = Rules(authentic, trust.document, now)
    found = _apply(rules, authentic, trust, rego)
    predicate_type = authentic.statement.predicate_type
    return AdmittedStatement(
        authentic=authentic,
        trust_policy=trust.digest,
        checks=rules.checks.records,
        builder=found.origin.builder,
        source_uri=found.origin.source_uri,
        source_revision=found.origin.source_revision,
        materials=() if found.facts is None else found.facts.materials,
        domains=limits.domains_of(trust.document, [entry for _, entry in found.trusted], predicate_type),
        required_domains=limits.domains_required(trust.document, predicate_type),
        required_predicates=tuple(
            item for item in trust.document.required_predicates if item != predicate_type
        ),
        supporting=predicate_type in trust.document.supporting_predicates,
        valid_until=rules.valid_until,
    )


def explain(
    authentic: AuthenticStatement, trust: TrustPolicy, rego: CompiledPolicy | None, now: datetime
) -> tuple[Check, ...]:
    """Every check that ``admit`` makes, also those after a refusal. Admits nothing.

    Raises:
        PolicyError: the Rego could not be evaluated.
    """
    rules = Rules(authentic, trust.document, now, explain=True)
    _apply(rules, authentic, trust, rego)
    return rules.checks.records


def _apply(
    rules: Rules, authentic: AuthenticStatement, trust: TrustPolicy, rego: CompiledPolicy | None
) -> Found:
    checks = rules.checks
    policy_rules.require_in_force(rules)
    if trust.environment is not None:
        record = Check(
            "trust.environment", Verdict.PASS, None, trust.environment, f"{_POLICY}, environments"
        )
        checks.extend((record,))
    policy_rules.require_predicate_type(authentic, rules)
    trusted: list[tuple[Signer, TrustedSigner]] = []
    with rules.part():
        if authentic.unverified:
            unverified.require(authentic, trust.document, checks)
        else:
            trusted = require_signers(authentic.signers, trust.document, checks)
    policy_rules.require_age(authentic, rules)
    facts: BuildFacts | None = None
    contents = Contents()
    with rules.part(), step(checks, "predicate.shape", source=authentic.statement.predicate_type):
        facts = gcb.facts_of(authentic.statement) or slsa.facts_of(authentic.statement)
        contents = contents_of(authentic.statement)
    with rules.part():
        speakers = [item.name for _, item in trusted]
        vsa_rules.require(authentic.statement, speakers, trust.document, rules.now, checks)
    # To explain, a signer that is not trusted is still bound: what follows shows what else is missing.
    signers = [signer for signer, _ in trusted] or (list(authentic.signers) if rules.explain else [])
    origin = _bind_all(facts, signers, rules)
    level = policy_rules.require_builder(origin, [item for _, item in trusted], rules)
    workflow = policy_rules.workflow_of(facts, signers, origin)
    policy_rules.require_source(origin, workflow, rules)
    if facts is not None:
        policy_rules.require_parameters(facts, rules)
    found = Found(authentic, trusted, facts, origin, level, workflow, contents)
    if rego is not None:
        trust_rego.require(rego, trust_rego.input_document(found, trust, rules), rules)
    return found


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
    if any(isinstance(root, _KEY_ROOTS) and root.name == item.root for root in document.roots):
        return signer.kind == "key"
    if any(isinstance(root, GoogleCloudBuildRoot) and root.name == item.root for root in document.roots):
        return item.identity is None or source.glob_matches(item.identity, signer.identity)
    return (
        signer.kind == "certificate"
        and signer.issuer == item.issuer
        and item.identity is not None
        and source.glob_matches(item.identity, signer.identity)
    )


def _bind_all(facts: BuildFacts | None, signers: Sequence[Signer], rules: Rules) -> Origin:
    """Bind to every signer that counts; the origin with most behind it is the result."""
    origins: list[Origin] = []
    for signer in signers:
        with rules.part():
            if gcb_binding.is_google(signer):
                origins.append(gcb_binding.bind(facts, signer, rules.checks))
                continue
            bound = github.bind(
                facts,
                signer,
                rules.document.builders,
                allow_self_hosted=rules.document.allow_self_hosted,
                checks=rules.checks,
            )
            if facts is None and signer.kind == "certificate" and github.is_github(signer):
                # What is no provenance names no builder: it is the workflow that the certificate proves.
                bound = msgspec.structs.replace(bound, builder=signer.identity)
            origins.append(bound)
    return max(origins, key=lambda origin: origin.proven, default=github.Origin())
