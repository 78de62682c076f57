"""An upper bound on a policy's work, from its text alone: hostile loops are refused at upload.

A clause's cost is the product of the sizes of everything it iterates over, nested comprehensions included.
A collection of the input counts ``INPUT_ITEMS``; a literal its items; a rule what its clauses can build.
The bound is coarse on purpose: a policy over it can be written with fewer nested loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy.tree import clause_nodes, path_of, statements

if TYPE_CHECKING:
    from policy.tree import Clause, Module, Node, Rule

# Event logs are the largest collections in a policy input; verifiers cap them at this many entries.
INPUT_ITEMS: Final = 256
MAX_COST: Final = 1_000_000
_LITERALS: Final = ("Array", "Set", "Object")


class _Recursive(Exception):
    """A rule depends on itself."""


def cost_problem(module: Module) -> tuple[int, str] | None:
    """Line and message of the first rule that is recursive or may cost too much; None if all are fine."""
    rules: dict[str, list[Rule]] = {}
    for rule in module.rules:
        rules.setdefault(rule.name, []).append(rule)
    sizes: dict[str, int] = {}
    total = 0
    for name, found in rules.items():
        try:
            total += _cost_of(name, rules, sizes, ())
        except _Recursive:
            return found[0].line, f"rule {name} depends on itself"
        if total > MAX_COST:
            return found[0].line, f"rule {name} iterates too much: nest fewer loops"
    return None


def _cost_of(name: str, rules: dict[str, list[Rule]], sizes: dict[str, int], path: tuple[str, ...]) -> int:
    if name in path:
        raise _Recursive
    if name not in sizes:
        sizes[name] = sum(
            _clause_cost(clause, rules, sizes, (*path, name))
            for rule in rules[name]
            for clause in rule.clauses
        )
    return sizes[name]


def _clause_cost(
    clause: Clause, rules: dict[str, list[Rule]], sizes: dict[str, int], path: tuple[str, ...]
) -> int:
    cost = 1
    called = 1
    for node in clause_nodes(clause):
        if node.tag in ("Var", "Call") and node.value in rules:
            called = max(called, _cost_of(str(node.value), rules, sizes, path))
        if node.tag == "RefBrack" and node.children[1].tag == "Var" and node.children[1].value not in rules:
            cost = min(cost * _size(node.children[0], sizes), MAX_COST + 1)
    bodies = [clause.body, *(node.body for node in clause_nodes(clause) if node.body)]
    for statement in (item for body in bodies for item in statements(body)):
        if statement.tag in ("SomeIn", "Every"):
            cost = min(cost * _size(statement.children[-1], sizes), MAX_COST + 1)
    return min(cost * (called if _has_function(clause, rules) else 1), MAX_COST + 1)


def _has_function(clause: Clause, rules: dict[str, list[Rule]]) -> bool:
    """A function is evaluated for each iteration; a rule's value is computed once."""
    return any(
        node.tag == "Call" and any(rule.form == "function" for rule in rules.get(str(node.value), ()))
        for node in clause_nodes(clause)
    )


def _size(collection: Node, sizes: dict[str, int]) -> int:
    if collection.tag in _LITERALS:
        return max(1, len(collection.children))
    path = path_of(collection)
    if path is not None and path[0] in sizes and not path[1]:
        return max(1, sizes[path[0]])
    return INPUT_ITEMS
