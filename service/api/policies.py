"""``/v1/policies``: versions of policies, and which of them decides.

A Rego policy (kinds ``appraisal``, ``release`` and ``resource``) is compiled by the configured engine
before it is stored, which holds it to the project's profile too. A trust policy (kind ``trust``) is the
JSON document of ``provenance.trust``; it is parsed, any Rego in it is compiled, and its canonical text is
what is stored, so that the version's digest is the trust policy's own; of a signed one the envelope is
stored (``service.trust_gate``), and serials only rise (``policy.serials``).

Putting activates nothing, unless ``activate`` says so. The audit record of a change is written before
the change: the log may name one that then failed, never miss one that happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.errors import NotFound
from kms.audit import AuditEvent
from policy.port import PolicyKind, PolicySource
from policy.store import Activation, PolicySummary, PolicyVersion
from service.access import Scope
from service.routing import Answer, Call, RouteTable

if TYPE_CHECKING:
    from service.composition import Services

ROUTES = RouteTable("policies")
_PATH = "/v1/policies/<kind>/<name>"


class PolicyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``PUT``.

    Attributes:
        text: Rego v1 source; for kind ``trust`` the JSON document, or the signed envelope of one.
        activate: make the version the active one at once.
        expected: version that the caller saw active; refused if another one is. Only with ``activate``.
    """

    text: str
    activate: bool = False
    expected: int | msgspec.UnsetType = msgspec.UNSET


class ActivateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``activate``.

    Attributes:
        version: what to activate.
        expected: version that the caller saw active; refused if another one is.
    """

    version: int
    expected: int | msgspec.UnsetType = msgspec.UNSET


class RollbackBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``rollback``: the version that the caller saw active; refused if another one is."""

    expected: int | msgspec.UnsetType = msgspec.UNSET


class VersionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A particular version; the active one otherwise."""

    version: int | None = None


class PolicyList(msgspec.Struct, frozen=True):
    """Every policy, by kind and name."""

    items: tuple[PolicySummary, ...]


class VersionList(msgspec.Struct, frozen=True):
    """Every version, newest first, and every activation, newest first."""

    items: tuple[PolicyVersion, ...]
    activations: tuple[Activation, ...]


@ROUTES.add("GET", "/v1/policies", scope=Scope.POLICIES_READ, answers={200: PolicyList})
def list_(services: Services, call: Call) -> Answer:
    """List policies with their active and latest versions."""
    del call
    return Answer(200, PolicyList(services.policy_store.list()))


@ROUTES.add(
    "PUT",
    _PATH,
    scope=Scope.POLICIES_WRITE,
    body=PolicyBody,
    answers={201: PolicyVersion},
    problems=(404, 409, 422),
)
def put(services: Services, call: Call) -> Answer:
    """Check, compile and store a version of a policy; activate it if asked to."""
    kind, name = _kind(call), call.path["name"]
    body: PolicyBody = call.body
    text = accept(services, kind, name, body.text)
    _record(services, call, "policy.put", {"digest": PolicySource(kind, text).digest})
    version = services.policy_store.put(kind, name, text, by=call.caller, now=call.now)
    if body.activate:
        version = _activate(services, call, version.version, body.expected)
    return Answer(201, version)


@ROUTES.add(
    "GET",
    _PATH,
    scope=Scope.POLICIES_READ,
    query=VersionQuery,
    answers={200: PolicyVersion},
    problems=(404,),
)
def get(services: Services, call: Call) -> Answer:
    """Get the active version of a policy, or a particular one."""
    kind, name = _kind(call), call.path["name"]
    number = call.query.version
    if number is None:
        return Answer(200, services.policy_store.active(kind, name))
    return Answer(200, services.policy_store.get(kind, name, number))


@ROUTES.add(
    "GET",
    f"{_PATH}/versions",
    scope=Scope.POLICIES_READ,
    answers={200: VersionList},
    problems=(404,),
)
def versions(services: Services, call: Call) -> Answer:
    """List every version of a policy and when each was activated."""
    kind, name = _kind(call), call.path["name"]
    store = services.policy_store
    return Answer(200, VersionList(store.versions(kind, name), store.history(kind, name)))


@ROUTES.add(
    "POST",
    f"{_PATH}/activate",
    scope=Scope.POLICIES_WRITE,
    body=ActivateBody,
    answers={200: PolicyVersion},
    problems=(404, 409, 422),
)
def activate(services: Services, call: Call) -> Answer:
    """Make a version the one that decides."""
    return Answer(200, _activate(services, call, call.body.version, call.body.expected))


@ROUTES.add(
    "POST",
    f"{_PATH}/rollback",
    scope=Scope.POLICIES_WRITE,
    body=RollbackBody,
    answers={200: PolicyVersion},
    problems=(404, 409),
)
def rollback(services: Services, call: Call) -> Answer:
    """Go back to the version that was active before the present one."""
    _record(services, call, "policy.rollback", {})
    version = services.policy_store.rollback(
        _kind(call), call.path["name"], by=call.caller, now=call.now, expected=call.body.expected
    )
    return Answer(200, version)


def accept(services: Services, kind: PolicyKind, name: str, text: str) -> str:
    """The text to store, once the engine (and for trust policies their parser) accepts it.

    Raises:
        PolicySyntax, PolicyRejected: the engine does not.
        StatementError: the trust policy's document or its signatures do not hold.
    """
    if kind is not PolicyKind.TRUST:
        services.engine.compile(PolicySource(kind, text))
        return text
    return services.pipelines.gate.accept(name, text).text


def _activate(
    services: Services, call: Call, version: int, expected: int | msgspec.UnsetType
) -> PolicyVersion:
    """Compile once more, since the engine or its profile may have changed since the version was put."""
    kind, name = _kind(call), call.path["name"]
    text, serial = services.policy_store.get(kind, name, version).text, None
    details: dict[str, object] = {"version": version}
    if kind is PolicyKind.TRUST:
        accepted = services.pipelines.gate.admissible(name, text, call.now)
        serial = accepted.serial
        details |= {"trust_policy": accepted.policy.digest, "signers": list(accepted.signers)}
    else:
        accept(services, kind, name, text)
    _record(services, call, "policy.activate", details)
    return services.policy_store.activate(
        kind, name, version, by=call.caller, now=call.now, expected=expected, serial=serial
    )


def _record(services: Services, call: Call, action: str, details: dict[str, object]) -> None:
    target = f"policy/{_kind(call).value}/{call.path['name']}"
    services.audit.record(AuditEvent(action, call.caller, target, "requested", call.now, details))


def _kind(call: Call) -> PolicyKind:
    try:
        return PolicyKind(call.path["kind"])
    except ValueError as error:
        raise NotFound(
            "no such kind of policy", advice="The kinds are appraisal, release, resource and trust."
        ) from error
