"""A policy made ready for an engine: checked, with the shim beside it, its entry points and names known.

Order: parse, package, the profile (``policy.profile``), the required entry point. What is compiled is the
text as uploaded plus, for appraisal policies, CoCo's ``query_reference_value`` over ``input.reference``.

The shim gives the list of a name's values, or the value itself where it was registered as a single one;
a name without live values is undefined, so that every condition on it fails. (Null, which Rego orders
below every number, would satisfy ``>=``.) Several single values of one name are undefined too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy import profile
from policy.errors import PolicyRejected
from policy.port import ENTRY_POINTS, PolicyKind
from policy.tree import clause_nodes, parse

if TYPE_CHECKING:
    from policy.port import PolicySource
    from policy.tree import Module

PACKAGES: Final = {PolicyKind.APPRAISAL: "policy", PolicyKind.RELEASE: "policy", PolicyKind.TRUST: "trust"}
SHIM_TEXT: Final = """import rego.v1

query_reference_value(name) := values if {
	values := [entry.value | some entry in input.reference[name]; not entry.scalar]
	count(values) > 0
}

query_reference_value(name) := singles[0] if {
	singles := [entry.value | some entry in input.reference[name]; entry.scalar]
	count(singles) == 1
	count(input.reference[name]) == 1
}
"""
_MAX_REPORTED = 8


@dataclass(frozen=True, slots=True)
class PreparedPolicy:
    """A policy that an engine may compile.

    Attributes:
        source: as uploaded.
        module: its syntax tree.
        package: ``policy`` or ``trust``.
        entry_points: those of its kind that it defines.
        reference_names: every reference name that it mentions.
        shim: further module text without a package line, or None.
    """

    source: PolicySource
    module: Module
    package: str
    entry_points: tuple[str, ...]
    reference_names: frozenset[str]
    shim: str | None


def prepare(source: PolicySource) -> PreparedPolicy:
    """Parse and check a policy.

    Raises:
        PolicySyntax: not Rego v1.
        PolicyRejected: outside the profile, of another package, or without its required rule.
    """
    module = parse(source.text)
    package = PACKAGES[source.kind]
    if module.package != package:
        raise PolicyRejected(
            f"a policy of kind {source.kind.value} has package {package}, not {module.package}"
        )
    _enforce_profile(module, source.kind)
    rules = {rule.name for rule in module.rules}
    entry_points = tuple(path for path in ENTRY_POINTS[source.kind] if path.rpartition(".")[2] in rules)
    required = ENTRY_POINTS[source.kind][0]
    if required not in entry_points:
        raise PolicyRejected(f"a policy of kind {source.kind.value} defines {required}")
    names = reference_names(module)
    shim = SHIM_TEXT if source.kind is PolicyKind.APPRAISAL else None
    return PreparedPolicy(source, module, package, entry_points, names, shim)


def reference_names(module: Module) -> frozenset[str]:
    """Names in ``query_reference_value("n")``, ``input.reference.n`` and ``input.reference["n"]``."""
    names: set[str] = set()
    for rule in module.rules:
        for clause in rule.clauses:
            for node in clause_nodes(clause):
                if node.tag == "Call" and node.value == profile.SHIM:
                    names.add(str(node.children[0].value))
            for _, path in profile.input_references(clause):
                if path[0] == "reference" and len(path) > 1 and path[1] is not None:
                    names.add(path[1])
    return frozenset(names)


def _enforce_profile(module: Module, kind: PolicyKind) -> None:
    errors = [problem for problem in profile.problems(module, kind) if problem.severity == "error"]
    if errors:
        lines = [f"line {item.line}: {item.message}" for item in errors[:_MAX_REPORTED]]
        raise PolicyRejected(
            "; ".join(lines),
            details={"line": errors[0].line, "column": errors[0].column, "problems": len(errors)},
        )
