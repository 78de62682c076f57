"""The project's Rego profile: what a policy may use so that both engines answer equally and in time.

Checked on the syntax tree at upload, the same for every engine (``profile.json`` is the list; why each
rule is there, and the measurements behind it, are in docs/policies.md):

1. Calls: only the policy's own functions, ``query_reference_value`` in appraisal policies, and the
   built-ins of the allow-list. No network, clock, environment, randomness, tokens, dynamic policies.
2. No ``with``; no ``data``; no aliases by import.
3. Names: one segment; not a built-in's, not ours; every name used is known.
4. Under ``not`` stands a rule's name or a reference, nothing that has operands of its own: the engines
   differ on undefined operands there.
5. Numbers: no product, no quotient, no literal with a fraction of zero or over 15 digits.
6. Appraisal policies name each member of ``input`` that they use at the top, and each reference name,
   literally.
7. Rules do not depend on themselves, and their cost is bounded (``policy.cost``).

Rules that one policy can break many times are all reported, in source order.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from policy.cost import cost_problem
from policy.port import PolicyKind
from policy.tree import clause_nodes, path_of, statements, walk, walk_statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.tree import Clause, Module, Node, Rule, Statement

_DOCUMENT: Final = json.loads(Path(__file__).with_name("profile.json").read_text("utf-8"))
VERSION: Final[int] = _DOCUMENT["version"]
BUILTINS: Final[frozenset[str]] = frozenset(_DOCUMENT["builtins"])
REFUSED: Final[dict[str, str]] = dict(_DOCUMENT["refused"])
IMPORTS: Final[frozenset[str]] = frozenset(_DOCUMENT["imports"])
_OPERATORS_REFUSED: Final[dict[str, str]] = dict(_DOCUMENT["operators_refused"])

SHIM: Final = "query_reference_value"
RESERVED_PREFIX: Final = "touchstone_"
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{0,5}[1-9])?\Z")
_FORMAT = re.compile(r"(?:[^%]|%v|%%)*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something in a policy that is refused (or, as a warning, worth a look).

    Attributes:
        line: 1-based.
        column: 1-based.
        code: stable name of the rule of the profile, or of the error.
        message: one sentence.
        severity: ``error`` or ``warning``.
    """

    line: int
    column: int
    code: str
    message: str
    severity: str = "error"


def problems(module: Module, kind: PolicyKind) -> list[Problem]:
    """Everything in ``module`` that is outside the profile, in source order."""
    return sorted(set(_Profile(module, kind).run()))


class _Profile:
    def __init__(self, module: Module, kind: PolicyKind) -> None:
        self._module = module
        self._kind = kind
        self._rules = {rule.name for rule in module.rules}
        self._functions = {rule.name for rule in module.rules if rule.form == "function"}

    def run(self) -> Iterator[Problem]:
        for path, line in self._module.imports:
            if path not in IMPORTS:
                yield Problem(line, 1, "import", f"import of {path} is refused: only rego.v1 and keywords")
        for rule in self._module.rules:
            yield from self._rule(rule)
        expensive = cost_problem(self._module)
        if expensive is not None:
            line, message = expensive
            yield Problem(line, 1, "cost", message)

    def _rule(self, rule: Rule) -> Iterator[Problem]:
        def at(code: str, message: str) -> Problem:
            return Problem(rule.line, rule.column, code, message)

        if rule.dotted:
            yield at("name", f"rule {rule.name}: a rule's name is a single identifier")
        if rule.name.startswith(RESERVED_PREFIX) or rule.name == SHIM:
            yield at("name", f"the name {rule.name} is reserved")
        if rule.name in BUILTINS or rule.name in REFUSED or rule.name in ("input", "data"):
            yield at("name", f"the name {rule.name} belongs to Rego")
        if rule.form == "default" and rule.args:
            yield at("default", "default functions are refused: the engines differ on them")
        forms = {other.form for other in self._module.rules if other.name == rule.name} - {"default"}
        if len(forms) > 1:
            yield at("name", f"rule {rule.name} is written in more than one form")
        for clause in rule.clauses:
            yield from self._clause(rule, clause)

    def _clause(self, rule: Rule, clause: Clause) -> Iterator[Problem]:
        local = local_names(rule, clause)
        for node in (*(part for arg in rule.args for part in walk(arg)), *clause_nodes(clause)):
            yield from self._node(node, local)
        yield from self._inputs(clause)
        for statement in statements(clause.body):
            if statement.overrides:
                yield Problem(statement.line, statement.column, "with", "the `with` modifier is refused")
        yield from self._comprehension_overrides(clause)
        yield from _negations(clause)
        yield from self._head_iteration(clause, local)

    def _comprehension_overrides(self, clause: Clause) -> Iterator[Problem]:
        for node in clause_nodes(clause):
            for statement in node.body:
                if statement.overrides:
                    yield Problem(
                        statement.line, statement.column, "with", "the `with` modifier is refused"
                    )

    def _node(self, node: Node, local: frozenset[str]) -> Iterator[Problem]:
        def at(code: str, message: str) -> Problem:
            return Problem(node.line, node.column, code, message)

        if node.tag == "Call":
            yield from self._call(node)
        elif node.tag == "Var":
            name = str(node.value)
            if name == "data":
                yield at(
                    "data", "`data` is refused: name rules directly, reference values are in the input"
                )
            elif name not in self._rules | local and name not in ("input", "_"):
                yield at("unknown", f"nothing here is called {name}")
            elif name in self._functions and name not in local:
                yield at("unknown", f"{name} is a function: call it")
        elif node.tag == "Number" and not _NUMBER.match(self._module.tokens.text(node.start, node.end)):
            yield at("number", "write the number as an integer of at most 15 digits, or a short decimal")
        elif node.tag == "UnaryExpr":
            yield at("operator", "a minus sign stands before number literals only")
        elif node.tag == "ArithExpr" and node.value in _OPERATORS_REFUSED:
            yield at("operator", _OPERATORS_REFUSED[str(node.value)])

    def _call(self, node: Node) -> Iterator[Problem]:
        name = str(node.value)
        if name in self._functions:
            return
        if name == SHIM:
            if self._kind is not PolicyKind.APPRAISAL:
                yield Problem(node.line, node.column, "builtin", f"{SHIM} belongs to appraisal policies")
            elif len(node.children) != 1 or node.children[0].tag not in ("String", "RawString"):
                yield Problem(node.line, node.column, "reference", f"{SHIM} takes one literal name")
            return
        if name not in BUILTINS:
            yield Problem(node.line, node.column, "builtin", f"{name} is refused: {_why(name)}")
        elif name == "sprintf" and not _plain_format(node):
            message = "sprintf takes a literal format with %v only: other verbs differ between the engines"
            yield Problem(node.line, node.column, "builtin", message)

    def _inputs(self, clause: Clause) -> Iterator[Problem]:
        if self._kind is not PolicyKind.APPRAISAL:
            return
        for node, path in input_references(clause):
            if not path or path[0] is None:
                message = "name the member of input that is meant: a whole or computed input is refused"
                yield Problem(node.line, node.column, "input", message)
            elif path[0] == "reference" and (len(path) == 1 or path[1] is None):
                message = "a reference name must be literal: input.reference.NAME"
                yield Problem(node.line, node.column, "reference", message)

    def _head_iteration(self, clause: Clause, local: frozenset[str]) -> Iterator[Problem]:
        bound = _bound_in_body(clause) | {name for name in local if name not in _iterated(clause)}
        for head in (clause.key, clause.value):
            if head is None:
                continue
            for node in walk(head):
                if node.tag == "RefBrack" and node.children[1].tag == "Var":
                    name = str(node.children[1].value)
                    if (
                        name not in self._rules
                        and (name == "_" or name not in bound)
                        and not _inside(head, node)
                    ):
                        yield Problem(
                            node.line, node.column, "iteration", "iterate in the body, not in the head"
                        )


def local_names(rule: Rule, clause: Clause) -> frozenset[str]:
    """Every variable that the clause may bind: arguments, ``some``, ``every``, assignments, indexes."""
    names = {str(node.value) for arg in rule.args for node in walk(arg) if node.tag == "Var"}
    names |= _iterated(clause) | _bound_in_body(clause)
    for node in clause_nodes(clause):
        for statement in statements(node.body):
            names |= _declared(statement)
    return frozenset(names)


def input_references(clause: Clause) -> Iterator[tuple[Node, tuple[str | None, ...]]]:
    """Each outermost reference that starts at ``input``, with its segments."""
    pending: list[Node] = [head for head in (clause.key, clause.value) if head is not None]
    pending += [child for statement in clause.body for child in _top_level(statement)]
    while pending:
        node = pending.pop()
        path = path_of(node)
        if path is not None:
            if path[0] == "input":
                yield node, path[1]
            pending += _indexes(node)
            continue
        pending += node.children
        pending += [child for statement in node.body for child in _top_level(statement)]


def _top_level(statement: Statement) -> list[Node]:
    found = list(statement.children)
    for inner in statement.body:
        found += _top_level(inner)
    return found


def _indexes(node: Node) -> list[Node]:
    found = []
    while node.tag in ("RefDot", "RefBrack"):
        if node.tag == "RefBrack":
            found.append(node.children[1])
        node = node.children[0]
    return found


def _iterated(clause: Clause) -> set[str]:
    return {
        str(node.children[1].value)
        for node in clause_nodes(clause)
        if node.tag == "RefBrack" and node.children[1].tag == "Var"
    }


def _bound_in_body(clause: Clause) -> set[str]:
    """Variables that the body's own statements bind, at any depth."""
    names: set[str] = set()
    for statement in statements(clause.body):
        names |= _declared(statement)
    return names


def _declared(statement: Statement) -> set[str]:
    """Variables that a statement declares or assigns."""
    names = set(statement.names)
    if statement.tag == "SomeIn":
        names |= {
            str(node.value) for part in statement.children[:-1] for node in walk(part) if node.tag == "Var"
        }
    for child in statement.children:
        for node in walk(child):
            if node.tag == "AssignExpr":
                names |= {str(part.value) for part in walk(node.children[0]) if part.tag == "Var"}
    return names


def _negations(clause: Clause) -> Iterator[Problem]:
    bodies = [clause.body, *(node.body for node in clause_nodes(clause) if node.body)]
    for body in bodies:
        for statement in statements(body):
            if statement.tag == "NotExpr" and path_of(statement.children[0]) is None:
                yield Problem(
                    statement.line,
                    statement.column,
                    "not",
                    "under `not` name a rule or a reference: put the condition into a rule of its own",
                )


def _inside(head: Node, node: Node) -> bool:
    """Whether ``node`` stands in a comprehension of ``head``, which iterates by itself."""
    return any(
        node in list(walk_statement(statement)) or node in list(walk(part.children[0]))
        for part in walk(head)
        if part.body
        for statement in part.body
    )


def _plain_format(node: Node) -> bool:
    return (
        bool(node.children)
        and node.children[0].tag == "String"
        and bool(_FORMAT.match(str(node.children[0].value)))
    )


def _why(name: str) -> str:
    return REFUSED.get(name) or REFUSED.get(name.partition(".")[0]) or "it is not on the allow-list"
