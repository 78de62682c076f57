"""Warnings on an appraisal policy that is accepted: what is likely not meant. Nothing here refuses.

* ``absent-reference``: a condition that a reference service which gives null for an unknown name would
  let hold where nobody set the value (``!=``, ``<``, negation). Here an unknown name is undefined, and the
  condition then fails, or under ``not`` holds.
* ``two-forms``: one name is compared with ``==`` and looked into with ``in``: as registered it can be only
  one of both, a single value or a list.
* ``empty-data``: ``data`` holds nothing in an appraisal policy; reference values are asked for by name.

A call counts through the local variable that it is assigned to, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy.port import PolicyKind
from policy.profile import Problem
from policy.scope import SHIM, all_statements, references
from policy.tree import clause_nodes, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.tree import Clause, Module, Node

_ORDERING: Final = frozenset({"Lt", "Le", "Gt", "Ge", "Ne"})
_EQUAL: Final = "Eq"


def warnings(module: Module, kind: PolicyKind) -> list[Problem]:
    """Every warning, in source order."""
    if kind is not PolicyKind.APPRAISAL:
        return []
    found: set[Problem] = set()
    forms: dict[str, dict[str, Node]] = {}
    for rule in module.rules:
        for clause in rule.clauses:
            found.update(_clause(clause, forms))
    for name, places in forms.items():
        if len(places) > 1:
            node = max(places.values(), key=lambda item: item.start)
            message = f"{name} is compared with == and with in: registered in one form, only one can hold"
            found.add(Problem(node.line, node.column, "two-forms", message))
    return sorted(found)


def _clause(clause: Clause, forms: dict[str, dict[str, Node]]) -> Iterator[Problem]:
    yield from _negations(clause)
    held = _assigned(clause)
    for node in clause_nodes(clause):
        if node.tag == "Membership":
            for name in _direct(node.children[-1], held):
                forms.setdefault(name, {}).setdefault("in", node)
        elif node.tag == "BoolExpr":
            yield from _comparison(node, held, forms)
    for node, _ in references(clause, "data"):
        message = "`data` is empty here: ask for reference values with query_reference_value"
        yield Problem(node.line, node.column, "empty-data", message)


def _negations(clause: Clause) -> Iterator[Problem]:
    """A variable that holds a value is defined: only a call under the `not` itself may not be."""
    for statement in all_statements(clause):
        if statement.tag != "NotExpr":
            continue
        for name in sorted({name for child in statement.children for name in _names(child)}):
            message = f"under `not`, this holds where {name} has no live value"
            yield Problem(statement.line, statement.column, "absent-reference", message)


def _comparison(node: Node, held: dict[str, str], forms: dict[str, dict[str, Node]]) -> Iterator[Problem]:
    for name in [name for child in node.children for name in _direct(child, held)]:
        if node.value == _EQUAL:
            forms.setdefault(name, {}).setdefault("==", node)
        elif node.value in _ORDERING:
            message = (
                f"{name} without a live value is undefined here, and the condition fails; the reference"
                " service compares with null, which every number is greater than"
            )
            yield Problem(node.line, node.column, "absent-reference", message)


def _assigned(clause: Clause) -> dict[str, str]:
    """Local variables that hold a reference value, with its name."""
    held: dict[str, str] = {}
    for statement in all_statements(clause):
        for child in statement.children:
            if child.tag == "AssignExpr" and child.children[0].tag == "Var":
                for name in _direct(child.children[1], {}):
                    held[str(child.children[0].value)] = name
    return held


def _direct(node: Node, held: dict[str, str]) -> list[str]:
    """The reference name that an expression is the value of, if it is one."""
    if node.tag == "Call" and node.value == SHIM and node.children:
        return [str(node.children[0].value)]
    if node.tag == "Var" and str(node.value) in held:
        return [held[str(node.value)]]
    return []


def _names(node: Node) -> set[str]:
    return {name for part in walk(node) for name in _direct(part, {})}
