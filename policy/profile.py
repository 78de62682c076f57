"""The project's Rego profile: what a policy may use so that both engines answer equally and in time.

Checked on the syntax tree at upload, the same for every engine (``profile.json`` is the list; why each
rule is there, and the measurements behind it, are in docs/policies.md):

1. Calls: only the policy's own functions, ``query_reference_value`` and ``reference_groups`` in appraisal
   policies, and the built-ins of the allow-list. No network, clock, environment, randomness, tokens, or
   dynamic policies.
2. No ``with``; no import but that of the language version; ``data`` only where ``policy.documents`` gives
   it a meaning, and there by the literal name of a member that is not a rule.
3. Names: one segment; not a built-in's, not ours; every name used is known.
4. Under ``not``, and as a value, only operands that cannot be undefined stand in calls and ``in``.
5. Numbers: no product, no quotient, no literal with a fraction of zero or over 15 digits.
6. Appraisal policies name each member of ``input`` that they use at the top, and each reference name,
   literally.
7. Rules do not depend on themselves, and their cost is bounded (``policy.cost``).

Everything that is outside the profile is reported, not just the first finding.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from policy.cost import excessive
from policy.documents import ROOTS
from policy.patterns import portable_pattern
from policy.port import PolicyKind
from policy.scope import (
    HELPERS,
    SHELVES,
    all_statements,
    argument_names,
    bound_in_body,
    declared,
    declared_anew,
    definite_names,
    flat,
    input_references,
    local_names,
    patterns,
    references,
    undefined_operands,
)
from policy.tree import LITERALS, clause_nodes, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.tree import Clause, Module, Node, Rule, Statement

_DOCUMENT: Final = json.loads(Path(__file__).with_name("profile.json").read_text("utf-8"))
VERSION: Final[int] = _DOCUMENT["version"]
BUILTINS: Final[frozenset[str]] = frozenset(_DOCUMENT["builtins"])
REFUSED: Final[dict[str, str]] = dict(_DOCUMENT["refused"])
IMPORTS: Final[frozenset[str]] = frozenset(_DOCUMENT["imports"])
_OPERATORS_REFUSED: Final[dict[str, str]] = dict(_DOCUMENT["operators_refused"])

RESERVED_PREFIX: Final = "touchstone_"
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{0,5}[1-9])?\Z")
_FORMAT = re.compile(r"(?:[^%]|%v|%%)*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something in a policy that is refused.

    Attributes:
        line: 1-based.
        column: 1-based.
        code: stable name of the rule of the profile, or the code of the error.
        message: one sentence.
    """

    line: int
    column: int
    code: str
    message: str


def problems(module: Module, kind: PolicyKind) -> list[Problem]:
    """Everything in ``module`` that is outside the profile, in source order."""
    return sorted(set(_Profile(module, kind).run()))


class _Profile:
    """One run over one module."""

    def __init__(self, module: Module, kind: PolicyKind) -> None:
        self._module = module
        self._kind = kind
        self._rules = frozenset(rule.name for rule in module.rules)
        self._functions = frozenset(rule.name for rule in module.rules if rule.form == "function")
        self._definite = definite_names(module)

    def run(self) -> Iterator[Problem]:
        for path, line in self._module.imports:
            if path not in IMPORTS:
                yield Problem(line, 1, "import", f"import of {path} is refused: only rego.v1 and keywords")
        for rule in self._module.rules:
            yield from self._head(rule)
            for clause in rule.clauses:
                yield from self._clause(rule, clause)
        for rule, message in excessive(self._module):
            yield Problem(rule.line, rule.column, "cost", message)

    def _head(self, rule: Rule) -> Iterator[Problem]:
        def at(code: str, message: str) -> Problem:
            return Problem(rule.line, rule.column, code, message)

        if rule.dotted:
            yield at("name", f"rule {rule.name}: a rule's name is a single identifier")
        if rule.name.startswith(RESERVED_PREFIX) or rule.name in HELPERS:
            yield at("name", f"the name {rule.name} is reserved")
        if rule.name in BUILTINS or rule.name in REFUSED or rule.name in ("input", "data"):
            yield at("name", f"the name {rule.name} belongs to Rego")
        if rule.form == "default" and rule.args:
            yield at("default", "default functions are refused: the engines differ on them")
        forms = {other.form for other in self._module.rules if other.name == rule.name} - {"default"}
        if len(forms) > 1:
            yield at("name", f"rule {rule.name} is written in more than one form")

    def _clause(self, rule: Rule, clause: Clause) -> Iterator[Problem]:
        local = local_names(rule, clause, self._rules)
        arguments = (part for arg in rule.args for part in walk(arg))
        for node in (*arguments, *clause_nodes(clause)):
            yield from self._node(node, local)
        yield from self._statements(rule, clause)
        for node, message in undefined_operands(clause, local | self._definite):
            yield Problem(node.line, node.column, "undefined-operand", message)
        yield from self._inputs(clause)
        yield from self._data(clause)
        yield from self._head_iteration(rule, clause)

    def _statements(self, rule: Rule, clause: Clause) -> Iterator[Problem]:
        times = Counter(argument_names(rule))
        found = list(all_statements(clause))
        for statement in found:
            times.update(declared_anew(statement))
        for name in sorted({"input", "data"} & times.keys()):
            yield Problem(clause.line, 1, "name", f"the name {name} belongs to Rego")
        for statement in found:
            twice = {name for name in statement.names if times[name] > 1 and statement.tag == "SomeVars"}
            for code, message in (*_forms(statement), *self._declarations(statement, twice)):
                yield Problem(statement.line, statement.column, code, message)

    def _declarations(self, statement: Statement, twice: set[str]) -> Iterator[tuple[str, str]]:
        for name in sorted(declared(statement, frozenset()) & self._rules):
            yield "name", f"the variable {name} has the name of a rule"
        for name in sorted(twice):
            yield "name", f"the variable {name} is declared twice in this clause"

    def _node(self, node: Node, local: frozenset[str]) -> Iterator[Problem]:
        if node.tag == "Call":
            yield from self._call(node)
        elif node.tag == "Var":
            yield from self._variable(node, local)
        elif node.tag == "Number" and not _NUMBER.match(self._module.tokens.text(node.start, node.end)):
            message = "write the number as an integer of at most 15 digits, or a short decimal"
            yield Problem(node.line, node.column, "number", message)
        else:
            message = _operator(node)
            if message:
                yield Problem(node.line, node.column, "operator", message)

    def _variable(self, node: Node, local: frozenset[str]) -> Iterator[Problem]:
        name = str(node.value)
        if name == "data":
            if "data" in ROOTS[self._kind]:
                return  # held to ``_data``
            message = "`data` is refused: call rules by name; reference values are in input"
            yield Problem(node.line, node.column, "data", message)
        elif name in self._functions and name not in local:
            yield Problem(node.line, node.column, "unknown", f"{name} is a function: call it")
        elif name not in self._rules | local and name not in ("input", "_"):
            yield Problem(node.line, node.column, "unknown", f"nothing here is called {name}")

    def _call(self, node: Node) -> Iterator[Problem]:
        def at(code: str, message: str) -> Problem:
            return Problem(node.line, node.column, code, message)

        name = str(node.value)
        if name in self._functions:
            return
        if name in HELPERS:
            if self._kind is not PolicyKind.APPRAISAL:
                yield at("builtin", f"{name} belongs to appraisal policies")
            elif len(node.children) != HELPERS[name] or node.children[0].tag not in ("String", "RawString"):
                yield at("reference", f"{name} takes one literal name{_further(name)}")
        elif name not in BUILTINS:
            yield at("builtin", f"{name} is refused: {_why(name)}")
        elif name == "sprintf" and not _plain_format(node):
            yield at("builtin", "sprintf takes a literal format with %v only: engines differ on the rest")
        elif name == "regex.match" and not _plain_pattern(node):
            yield at("builtin", "regex.match takes a literal pattern of what both engines read alike")

    def _inputs(self, clause: Clause) -> Iterator[Problem]:
        if self._kind is not PolicyKind.APPRAISAL:
            return
        for node, path in input_references(clause):
            if not path or path[0] is None:
                message = "name the member of input that is meant: a whole or computed input is refused"
                yield Problem(node.line, node.column, "input", message)
            elif path[0] in SHELVES and (len(path) == 1 or path[1] is None):
                message = f"a reference name must be literal: input.{path[0]}.NAME"
                yield Problem(node.line, node.column, "reference", message)

    def _data(self, clause: Clause) -> Iterator[Problem]:
        if "data" not in ROOTS[self._kind]:
            return
        for node, path in references(clause, "data"):
            message = ""
            if not path or path[0] is None:
                message = "name the member of data that is meant: a whole or computed data is refused"
            elif path[0] == self._module.package.split(".", 1)[0]:
                message = "`data` does not reach the policy's own package: call rules by name"
            if message:
                yield Problem(node.line, node.column, "data", message)

    def _head_iteration(self, rule: Rule, clause: Clause) -> Iterator[Problem]:
        bound = bound_in_body(rule, clause, self._rules) | self._rules
        for head in (clause.key, clause.value):
            for node in flat(head) if head is not None else ():
                index = node.children[1] if node.tag == "RefBrack" else node
                if node.tag == "RefBrack" and index.tag == "Var" and str(index.value) not in bound:
                    yield Problem(node.line, node.column, "iteration", "iterate in the body, not the head")


_MEMBER_AND_COLLECTION: Final = 2
_TEXTS: Final = ("String", "RawString")


def _further(name: str) -> str:
    return " and a value" if HELPERS[name] > 1 else ""


def _forms(statement: Statement) -> Iterator[tuple[str, str]]:
    if statement.overrides:
        yield "with", "the `with` modifier is refused"
    if any(_is_object_pattern(node) for node in patterns(statement)):
        yield "pattern", "object patterns are refused: the engines differ on further members"
    if statement.tag == "SomeIn" and any(_is_compound(node) for node in statement.children[:-1]):
        yield "pattern", "`some .. in` takes variables and literals: take members apart after it"


def _operator(node: Node) -> str:
    if node.tag == "UnaryExpr":
        return "a minus sign stands before number literals only"
    if node.tag == "Membership" and len(node.children) > _MEMBER_AND_COLLECTION:
        return "`key, value in` is refused: the engines differ on undefined operands"
    return _OPERATORS_REFUSED.get(str(node.value), "") if node.tag == "ArithExpr" else ""


def _is_object_pattern(node: Node) -> bool:
    """An object with variables where something is matched against it, alone or in arrays."""
    if node.tag == "Array":
        return any(_is_object_pattern(child) for child in node.children)
    return node.tag == "Object" and any(part.tag == "Var" for part in walk(node))


def _is_compound(node: Node) -> bool:
    return node.tag != "Var" and node.tag not in LITERALS


def _why(name: str) -> str:
    """The reason that the profile gives for a built-in, or for the family it belongs to."""
    return REFUSED.get(name) or REFUSED.get(name.split(".", 1)[0]) or "it is not on the profile's list"


def _plain_pattern(node: Node) -> bool:
    pattern = node.children[0] if node.children else None
    return pattern is not None and pattern.tag in _TEXTS and portable_pattern(str(pattern.value))


def _plain_format(node: Node) -> bool:
    literal = bool(node.children) and node.children[0].tag in _TEXTS
    return literal and bool(_FORMAT.match(str(node.children[0].value)))
