"""Checks a policy as an upload would, and reports every problem with its line instead of the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.errors import PolicyError
from policy import lint, modules, profile
from policy.port import PolicyKind, PolicySource
from policy.tree import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy.port import PolicyEngine


class PolicyProblem(msgspec.Struct, frozen=True):
    """One problem.

    Attributes:
        line: 1-based.
        column: 1-based.
        code: rule of the profile (``builtin``, ``with``, ``cost`` ...), or the error's code.
        message: one sentence.
        engine: who says so; empty for the profile itself.
    """

    line: int
    column: int
    code: str
    message: str
    engine: str = ""


class PolicyReport(msgspec.Struct, frozen=True):
    """What a check found.

    Attributes:
        digest: SHA-256 of the source.
        ok: nothing refuses it.
        problems: in source order.
        reference_names: every reference name that it mentions.
        profile: version of the project's Rego profile.
        warnings: what is accepted and likely not meant (``policy.lint``), in source order.
    """

    digest: str
    ok: bool
    problems: tuple[PolicyProblem, ...]
    reference_names: tuple[str, ...]
    profile: int
    warnings: tuple[PolicyProblem, ...] = ()


def check(text: str, kind: PolicyKind, engines: Sequence[PolicyEngine] = ()) -> PolicyReport:
    """Check ``text`` against the profile and with every engine given; nothing is stored.

    Raises:
        PolicyEngineUnavailable: an engine does not answer.
    """
    source = PolicySource(kind, text)
    found, names, warned = _against_profile(source)
    if not found:
        for engine in engines:
            try:
                engine.compile(source)
            except PolicyError as error:
                found.append(_problem(error, engine.name))
    return PolicyReport(
        source.digest, not found, tuple(found), tuple(sorted(names)), profile.VERSION, tuple(warned)
    )


def _against_profile(
    source: PolicySource,
) -> tuple[list[PolicyProblem], frozenset[str], list[PolicyProblem]]:
    try:
        module = parse(source.text)
        found = [
            *modules.contract_problems(module, source.kind),
            *profile.problems(module, source.kind),
        ]
        if not found:
            names = modules.prepare(source).reference_names
            return [], names, _shown(lint.warnings(module, source.kind))
    except PolicyError as error:
        return [_problem(error, "")], frozenset(), []
    return _shown(sorted(found)), frozenset(), []


def _shown(found: list[profile.Problem]) -> list[PolicyProblem]:
    return [PolicyProblem(item.line, item.column, item.code, item.message) for item in found]


def _problem(error: PolicyError, engine: str) -> PolicyProblem:
    def place(name: str) -> int:
        value = error.details.get(name, 1)
        return value if isinstance(value, int) else 1

    return PolicyProblem(place("line"), place("column"), error.code, error.message, engine)
