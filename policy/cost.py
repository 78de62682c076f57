"""A static bound on what evaluating a policy can cost: the gate against policies that never end.

Neither engine can be relied on for a time limit (the in-process one has none), so the bound is computed
from the text, before anything runs. Assumptions: a collection of the input has at most ``MEMBERS``
members, one inside such a member ``INNER_MEMBERS``, a name's reference values ``REFERENCE_VALUES``.

* A rule is evaluated once; a function at each call. Statements of a body run once per combination of
  what the iterations before them yield; ``in`` over a list looks at each member.
* The size of a rule's value is bounded too, so that no chain of rules doubles a value at each step.

One pass over an input collection is allowed, also one with a pass over the small collections inside its
members; a join of two input collections is not: evidence could be made to fill both. Dependency cycles
are refused here as well (the in-process engine overflows its stack on them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy.scope import COMPREHENSIONS, HELPERS, SHELVES, declared, flat
from policy.tree import LITERALS, clause_nodes, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.tree import Clause, Module, Node, Rule, Statement

MEMBERS: Final = 4096
INNER_MEMBERS: Final = 16
REFERENCE_VALUES: Final = 64
# Steps at some tens to hundreds of nanoseconds each; below MEMBERS squared.
MAX_STEPS: Final = 16_000_000
# Members of one rule's value.
MAX_SIZE: Final = MEMBERS * INNER_MEMBERS * INNER_MEMBERS

_Scope = dict[str, int]


def excessive(module: Module) -> Iterator[tuple[Rule, str]]:
    """Rules that depend on themselves, or whose bound is over the limits."""
    graph = dependencies(module)
    cyclic = [rule for rule in module.rules if rule.name in _reachable(graph, rule.name)]
    if cyclic:
        yield from ((rule, f"rule {rule.name} depends on itself") for rule in cyclic)
        return
    estimate = _Estimate(module)
    total = 0
    for rule in module.rules:
        steps, size = estimate.rule(rule)
        total += steps if rule.form != "function" else 0
        if size > MAX_SIZE:
            yield rule, f"rule {rule.name} can build a value of too many members"
        elif steps > MAX_STEPS:
            yield rule, f"rule {rule.name} can take too many steps: make one pass over one collection"
    if total > MAX_STEPS:
        yield module.rules[0], "together the rules can take too many steps"


def dependencies(module: Module) -> dict[str, set[str]]:
    """Rule name to the names of the rules and functions that it mentions."""
    names = {rule.name for rule in module.rules}
    found: dict[str, set[str]] = {name: set() for name in names}
    for rule in module.rules:
        for clause in rule.clauses:
            for node in clause_nodes(clause):
                if node.tag in ("Var", "Call") and str(node.value) in names:
                    found[rule.name].add(str(node.value))
    return found


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    pending = list(graph[start])
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += graph[name]
    return seen


class _Estimate:
    """Bounds per rule and function name, each computed once. The dependency graph has no cycle."""

    def __init__(self, module: Module) -> None:
        self._by_name: dict[str, list[Rule]] = {}
        for rule in module.rules:
            self._by_name.setdefault(rule.name, []).append(rule)
        self._known = frozenset(self._by_name)
        self._sizes: dict[str, int] = {}
        self._calls: dict[str, int] = {}

    def rule(self, rule: Rule) -> tuple[int, int]:
        """Steps and size of one rule as written, capped just above the limits."""
        steps = size = 0
        for clause in rule.clauses:
            scope = dict.fromkeys((str(node.value) for arg in rule.args for node in flat(arg)), MEMBERS)
            clause_steps, yields = self._query(clause.body, scope)
            steps += clause_steps
            size = max(size, self._head(clause, scope) * (yields if rule.form in ("set", "object") else 1))
            steps += yields * sum(self._steps(head, scope) for head in _heads(clause))
        return min(steps, MAX_STEPS + 1), min(size, MAX_SIZE + 1)

    def _head(self, clause: Clause, scope: _Scope) -> int:
        return sum(self._size(head, scope) for head in _heads(clause)) or 1

    def _rule_size(self, name: str) -> int:
        if name not in self._sizes:
            self._sizes[name] = sum(self.rule(rule)[1] for rule in self._by_name[name])
        return self._sizes[name]

    def _call_steps(self, name: str) -> int:
        if name not in self._calls:
            self._calls[name] = sum(self.rule(rule)[0] for rule in self._by_name[name])
        return self._calls[name]

    def _query(self, body: tuple[Statement, ...], scope: _Scope) -> tuple[int, int]:
        """Steps of a query, and how many solutions it can have; names it binds are added to ``scope``."""
        steps, yields = 0, 1
        for statement in body:
            each = 1 + sum(self._steps(child, scope) for child in statement.children)
            factor = self._iterations(statement, scope)
            if statement.tag == "Every":
                inner = scope | dict.fromkeys(statement.names, INNER_MEMBERS)
                each += factor * self._query(statement.body, inner)[0]
                factor = 1
            self._bind(statement, scope)
            steps += yields * (each + factor)
            yields *= factor
        return steps, yields

    def _iterations(self, statement: Statement, scope: _Scope) -> int:
        factor = 1
        if statement.tag in ("SomeIn", "Every"):
            factor = self._members(statement.children[-1], scope)
        for child in statement.children:
            for node in flat(child):
                if node.tag == "RefBrack" and node.children[1].tag == "Var":
                    name = str(node.children[1].value)
                    if name == "_" or (name not in scope and name not in self._known):
                        factor *= self._members(node.children[0], scope)
                        scope[name] = 1
        scope.pop("_", None)
        return factor

    def _bind(self, statement: Statement, scope: _Scope) -> None:
        size = INNER_MEMBERS
        if statement.tag == "Expr" and statement.children[0].tag == "AssignExpr":
            right = statement.children[0].children[1]
            size = self._members(right, scope)
        for name in declared(statement, self._known):
            scope[name] = size

    def _members(self, node: Node, scope: _Scope) -> int:
        """Members of a collection; of one inside a member of an input collection, few."""
        path = path_of(node)
        if path is None or path[0] in scope:
            return self._size(node, scope)
        if path[0] not in ("input", "data"):
            return self._rule_size(path[0]) if path[0] in self._known else INNER_MEMBERS
        if path[1] and path[1][0] in SHELVES:
            return REFERENCE_VALUES
        return INNER_MEMBERS if _computed_index(node) else MEMBERS

    def _size(self, node: Node, scope: _Scope) -> int:
        if node.tag in LITERALS or node.tag in ("BoolExpr", "Membership", "ArithExpr"):
            return (
                1 if node.tag != "ArithExpr" else sum(self._size(child, scope) for child in node.children)
            )
        if node.tag in COMPREHENSIONS:
            inner = dict(scope)
            yields = self._query(node.body, inner)[1]
            return yields * sum(self._size(child, inner) for child in node.children)
        if node.tag == "Call":
            return self._call_size(node, scope)
        path = path_of(node)
        if path is None:
            return 1 + sum(self._size(child, scope) for child in node.children)
        if path[0] in scope:
            return scope[path[0]]
        return self._members(node, scope)

    def _call_size(self, node: Node, scope: _Scope) -> int:
        name = str(node.value)
        if name in HELPERS:
            return REFERENCE_VALUES
        if name in self._known:
            return self._rule_size(name)
        sizes = [self._size(child, scope) for child in node.children]
        if name == "concat":  # the delimiter stands between every two members
            return sizes[0] * sum(sizes[1:]) if sizes else 1
        return max(sum(sizes), 1)

    def _steps(self, node: Node, scope: _Scope) -> int:
        if node.tag in COMPREHENSIONS:
            inner = dict(scope)
            steps, yields = self._query(node.body, inner)
            return steps + yields * sum(self._steps(child, inner) for child in node.children)
        steps = 1 + sum(self._steps(child, scope) for child in node.children)
        if node.tag == "Membership":
            steps += self._lookup(node.children[-1], scope)
        elif node.tag == "Call":
            name = str(node.value)
            if name in self._known:
                steps += self._call_steps(name)
            else:
                steps += sum(self._size(child, scope) for child in node.children)
        return steps

    def _lookup(self, collection: Node, scope: _Scope) -> int:
        """``in`` over a set is a look-up; over anything else each member is looked at."""
        if collection.tag == "Var" and str(collection.value) in self._known:
            rules = self._by_name[str(collection.value)]
            if all(rule.form == "set" or _is_set(rule) for rule in rules):
                return 1
        return 1 if collection.tag == "SetCompr" else self._members(collection, scope)


def _is_set(rule: Rule) -> bool:
    value = rule.clauses[0].value
    return len(rule.clauses) == 1 and value is not None and value.tag in ("Set", "SetCompr")


def _heads(clause: Clause) -> list[Node]:
    return [head for head in (clause.key, clause.value) if head is not None]


def _computed_index(node: Node) -> bool:
    while node.tag in ("RefDot", "RefBrack"):
        if node.tag == "RefBrack" and node.children[1].tag not in LITERALS:
            return True
        node = node.children[0]
    return False
