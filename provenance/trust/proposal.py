"""Proposes a trust policy from one attestation: as narrow as the release line that it belongs to.

Order: which root can verify it -> authenticate -> what was proven -> members -> the proposal must admit the
attestation itself, or there is none.

The narrowing: a tag ref ``refs/tags/v1.2.3`` becomes ``refs/tags/v*`` (its last segment up to the first
digit), so that the next release is admitted and another repository, workflow or branch is not. A branch ref
is proposed exactly. Nothing is taken from the statement that the certificate contradicts.

Not done here: deciding whether the attestation deserves it. A proposal says whose word the example is; a
person must read it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.checks import Checks
from provenance.errors import TrustPolicyInvalid
from provenance.pipeline import Pipeline
from provenance.predicates import github, slsa
from provenance.trust import document
from provenance.trust.model import DEFAULT_BUILDER_REF, TrustedBuilder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from provenance.model import AuthenticStatement, Signer
    from provenance.predicates.github import Origin
    from provenance.predicates.slsa import BuildFacts

_TAGS: Final = "refs/tags/"
_LIFETIME: Final = timedelta(days=365)
_RUNNER: Final = "https://github.com/actions/runner/"
_DIGITS: Final = "0123456789"
_BOOTSTRAP_TYPE: Final = "urn:touchstone:none"


class Proposal(msgspec.Struct, frozen=True):
    """A proposed policy.

    Attributes:
        members: the document without its roots, in the order in which it is written.
        roots: as given.
        authentic: the example.
        self_hosted: the example was built on a runner that GitHub does not host, or does not say.
    """

    members: dict[str, Any]
    roots: tuple[dict[str, Any], ...]
    authentic: AuthenticStatement
    self_hosted: bool = False


def authenticate(envelope: bytes, roots: Sequence[Mapping[str, Any]], now: datetime) -> AuthenticStatement:
    """Verify an attestation by roots alone, without saying whom to trust.

    Args:
        envelope: as received.
        roots: roots of a trust policy, files inlined.
        now: aware UTC.

    Raises:
        StatementError: it is not authentic by these roots, or the roots cannot be used.
    """
    signers = [
        {"name": f"signer-{number}", "root": root["name"]} | _nobody(root)
        for number, root in enumerate(roots)
    ]
    bootstrap = {
        "version": 1,
        "name": "init",
        "roots": list(roots),
        "signers": signers,
        "predicate_types": [_BOOTSTRAP_TYPE],
    }
    return Pipeline(document.parse(strict_json.canonical(bootstrap))).authenticate(envelope, now)


def propose(
    authentic: AuthenticStatement, roots: Sequence[Mapping[str, Any]], *, name: str, now: datetime
) -> Proposal:
    """A policy that admits this attestation and those like it.

    Args:
        authentic: the example.
        roots: those that it was authenticated by, files inlined.
        name: of the policy.
        now: aware UTC; the policy is proposed for a year.

    Raises:
        StatementError: the statement contradicts its certificate, or no policy would admit it.
        TrustPolicyInvalid: it has no signer to name.
    """
    if not authentic.signers:
        raise TrustPolicyInvalid("nobody's signature was verified: there is no signer to propose")
    facts = slsa.facts_of(authentic.statement)
    signer = authentic.signers[0]
    hosted = _hosted(facts, signer)
    builder = _builder(facts, signer)
    origin = _origin(facts, signer, builder)
    members: dict[str, Any] = {
        "version": 1,
        "name": name,
        "serial": 1,
        "expires": (now + _LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "predicate_types": [authentic.statement.predicate_type],
        "threshold": len(authentic.signers),
    }
    members |= _parameters(facts)
    if not hosted:
        members["allow_self_hosted"] = True
    members["signers"] = [_signer(number, item) for number, item in enumerate(authentic.signers, 1)]
    if builder is not None:
        members["builders"] = [msgspec.to_builtins(builder)]
    if (item := _source(origin, facts, signer)) is not None:
        members["sources"] = [item]
    proposal = Proposal(members, tuple(dict(root) for root in roots), authentic, not hosted)
    _require_admits(proposal, now)
    return proposal


def narrowed(ref: str) -> str:
    """A glob for a ref: of a tag its release line, anything else exactly.

    ``refs/tags/v1.2.3`` gives ``refs/tags/v*``, ``refs/tags/image/1.0`` gives ``refs/tags/image/*``.
    """
    if not ref.startswith(_TAGS) or "*" in ref:
        return ref
    head, _, last = ref.rpartition("/")
    digit = next((position for position, character in enumerate(last) if character in _DIGITS), None)
    return ref if digit is None else f"{head}/{last[:digit]}*"


def _require_admits(proposal: Proposal, now: datetime) -> None:
    whole = {**proposal.members, "roots": list(proposal.roots)}
    pipeline = Pipeline(document.parse(strict_json.canonical(whole)))
    pipeline.admit(proposal.authentic.envelope, now)


def _nobody(root: Mapping[str, Any]) -> dict[str, str]:
    if str(root.get("kind")).startswith("sigstore"):
        return {"issuer": "https://issuer.invalid", "identity": "https://nobody.invalid/"}
    return {}


def _signer(number: int, signer: Signer) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": f"signer-{number}", "root": signer.root}
    if signer.kind != "certificate":
        return entry
    location, at, ref = signer.identity.partition("@")
    identity = f"{location}@{narrowed(ref)}" if at and ref.startswith("refs/") else signer.identity
    return entry | {"issuer": signer.issuer, "identity": identity}


def _hosted(facts: BuildFacts | None, signer: Signer) -> bool:
    if signer.kind != "certificate" or not github.is_github(signer):
        return True
    stated = None if facts is None else facts.runner_environment
    return signer.claims.get("runner_environment") == github.HOSTED and stated in (None, github.HOSTED)


def _builder(facts: BuildFacts | None, signer: Signer) -> TrustedBuilder | None:
    builder_id = None if facts is None else facts.builder
    if builder_id is None and signer.kind == "certificate" and github.is_github(signer):
        builder_id = signer.identity
    if builder_id is None:
        return None
    location, at, ref = builder_id.partition("@")
    if not at:
        entry = TrustedBuilder(id=builder_id)
    elif ref.startswith("refs/"):
        entry = TrustedBuilder(id=location, ref=_unless_default(narrowed(ref)))
    else:
        entry = TrustedBuilder(id=builder_id)
    if signer.kind != "certificate" or not github.is_github(signer):
        return entry
    if builder_id == signer.identity or builder_id.startswith(_RUNNER):
        return entry
    # The statement names a builder that the signing workflow speaks for (a delegator).
    workflow, _, delegator_ref = signer.identity.partition("@")
    return msgspec.structs.replace(
        entry, delegated_by=workflow, delegator_ref=_unless_default(narrowed(delegator_ref))
    )


def _unless_default(ref: str) -> str | None:
    return None if ref == DEFAULT_BUILDER_REF else ref


def _origin(facts: BuildFacts | None, signer: Signer, builder: TrustedBuilder | None) -> Origin:
    return github.bind(
        facts, signer, () if builder is None else (builder,), allow_self_hosted=True, checks=Checks()
    )


def _source(origin: Origin, facts: BuildFacts | None, signer: Signer) -> dict[str, Any] | None:
    if origin.source_uri is None:
        return None
    item: dict[str, Any] = {"uri": origin.source_uri}
    if origin.source_ref is not None and origin.source_ref.startswith("refs/"):
        item["refs"] = [narrowed(origin.source_ref)]
    location = signer.claims.get("build_config_uri", "").partition("@")[0]
    workflow = location.removeprefix(f"{origin.source_uri}/")
    if origin.proven and workflow not in ("", location):
        item["workflows"] = [workflow]
    elif not origin.proven and facts is not None and facts.entry_point is not None:
        item["workflows"] = [facts.entry_point]
    return item


def _parameters(facts: BuildFacts | None) -> dict[str, Any]:
    if facts is None:
        return {}
    members: dict[str, Any] = {}
    scalars = {
        name: facts.parameters[name]
        for name in facts.unrecognised
        if isinstance(facts.parameters[name], (str, bool, int))
    }
    others = [name for name in facts.unrecognised if name not in scalars]
    if others:
        members["external_parameters"] = others
    if scalars:
        members["parameter_values"] = {name: [value] for name, value in scalars.items()}
    if facts.dispatch_inputs:
        members["dispatch_inputs"] = dict(facts.dispatch_inputs)
    return members
