"""Errors of the policy room."""

from __future__ import annotations

from common.errors import PolicyError, UnavailableError


class PolicySyntax(PolicyError):
    """The text is not Rego v1."""

    code = "policy.syntax"
    advice = "Run `touchstone policy check FILE`: it names line and column."


class PolicyRejected(PolicyError):
    """Valid Rego, but outside the project's profile or without the rules its kind needs."""

    code = "policy.rejected"
    advice = "docs/policies.md lists the allowed built-ins, packages and entry points."


class PolicyEvaluationFailed(PolicyError):
    """Evaluation raised an error or ran out of its limits; the decision is a denial."""

    code = "policy.evaluation"
    advice = "Run `touchstone policy test` or `policy explain` with the same input."


class PolicyResultInvalid(PolicyError):
    """The policy returned something outside its contract; the decision is a denial."""

    code = "policy.result"
    advice = "Return integers of AR4SI's enumeration under its eight claim names, nothing else."


class PolicyNotFound(PolicyError):
    """No policy of that name and kind is active."""

    code = "policy.not_found"
    advice = "List policies with `touchstone policy list`; put and activate one."


class PolicyStale(PolicyError):
    """A policy changed between reading and writing it."""

    code = "policy.conflict"
    advice = "Read the present version and decide again."


class PolicyCorrupt(PolicyError):
    """A stored policy's text is not the one its digest names; it is not used."""

    code = "policy.corrupt"
    advice = "Someone or something changed the database; restore it, or put and activate the policy anew."


class PolicySerialStale(PolicyError):
    """A policy with a serial below, or equal to and other than, one that was active before."""

    code = "policy.serial"
    advice = "Issue the policy with a higher serial; what was active once is never undercut."


class PolicyRollbackRefused(PolicyError):
    """The policy is one with serials: there is no way back, only a next one."""

    code = "policy.rollback_refused"
    advice = "Issue the earlier content again with a higher serial, and activate that."


class PolicyEngineUnavailable(UnavailableError):
    """The OPA server does not answer; the decision is a denial."""

    code = "unavailable.policy_engine"
    advice = "Check [policy.opa] url, token and CA, and that the OPA server is up."
