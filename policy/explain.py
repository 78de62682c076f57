"""Which clause decided, and where the others failed: from the syntax tree and from evaluating the parts.

For every rule that the entry points rest on, in the order in which they mention it:

* each clause that held, with its value (of an ``else`` chain the first that held);
* where none held, the default, or nothing if the rule is undefined;
* for each clause that did not hold, the first statement at which it failed (``decided`` is false); not of
  clauses that say in so many words that they are about another TEE (``input.verification.tee == "..."``).

The parts are the policy's own text, evaluated one by one beside the whole policy; a part that cannot
stand alone is left out. Functions are not traced: their calls are, in the clauses that make them.
This serves both engines (they answer equally) and decides nothing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import regorus

from common.errors import Malformed
from policy.modules import for_regorus, part_for_regorus
from policy.port import RuleTrace
from policy.scope import HELPERS
from policy.tree import clause_nodes, engine_message, is_engine_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.modules import Prepared
    from policy.tree import Clause, Module, Node, Rule, Statement

_MAX_TEXT: Final = 600
_PART: Final = "touchstone_part"
_UNDEFINED: Final = object()
_OTHER_TEE: Final = re.compile(r'input\.verification\.tee == "[a-z-]+"')


def explain(prepared: Prepared, input_json: bytes) -> tuple[RuleTrace, ...]:
    """The trace of ``prepared`` on an input.

    Raises:
        Malformed: the input is not JSON.
    """
    return tuple(_Tracer(prepared, input_json).run())


class _Tracer:
    """Evaluates parts of one policy on one input."""

    def __init__(self, prepared: Prepared, input_json: bytes) -> None:
        self._prepared = prepared
        self._package = prepared.module.package
        base = regorus.Engine()
        base.add_policy("policy.rego", for_regorus(prepared))
        shim = prepared.shim_module(self._package)
        if shim is not None:
            base.add_policy("shim.rego", shim)
        try:
            base.set_input_json(input_json.decode("utf-8"))
        except (RuntimeError, UnicodeDecodeError) as error:
            raise Malformed(f"the policy input is not JSON: {engine_message(error)}") from None
        self._base = base

    def run(self) -> Iterator[RuleTrace]:
        for name in _rule_order(self._prepared):
            rules = [rule for rule in self._prepared.module.rules if rule.name == name]
            if rules[0].form != "function":
                yield from self._rule(name, rules)

    def _rule(self, name: str, rules: list[Rule]) -> Iterator[RuleTrace]:
        held = False
        for rule in rules:
            for clause in rule.clauses if rule.form != "default" else ():
                values = self._values(rule.form, clause)
                if values:
                    held = True
                    yield self._trace(name, clause, _shown_value(rule.form, values))
                    break  # what follows in the chain is not tried
                yield from self._failed(name, clause)
        if not held:
            for rule in rules:
                if rule.form == "default":
                    value = self._whole(name)
                    yield self._trace(name, rule.clauses[0], None if value is _UNDEFINED else value)

    def _values(self, form: str, clause: Clause) -> list[Any]:
        """What the clause alone yields: no value, one, or of a set or object rule many."""
        head = "true" if clause.value is None else self._slice(clause, clause.value)
        if clause.key is not None:
            key = self._slice(clause, clause.key)
            head = key if form == "set" else f"[{key}, {head}]"
        return self._part(clause, head, len(clause.body)) or []

    def _failed(self, name: str, clause: Clause) -> Iterator[RuleTrace]:
        """The first statement without which the clause would go on."""
        for count, statement in enumerate(clause.body, 1):
            found = self._part(clause, "true", count)
            if found is None:
                return
            if not found:
                text = self._prepared.module.tokens.text(statement.start, statement.end)
                if _OTHER_TEE.fullmatch(text):
                    return
                yield RuleTrace(self._path(name), statement.line, text[:_MAX_TEXT], None, decided=False)
                return

    def _part(self, clause: Clause, head: str, count: int) -> list[Any] | None:
        """Solutions of the first ``count`` statements; None where they cannot stand alone."""
        statements = [self._slice(clause, item) for item in clause.body[:count]]
        lines = ["true", *statements, f"touchstone_value := {head}"]
        return self._solutions("touchstone_value", "\n\t".join(lines))

    def _whole(self, name: str) -> Any:
        found = self._solutions("touchstone_value", f"touchstone_value := {name}")
        return found[0] if found else _UNDEFINED

    def _solutions(self, term: str, query: str) -> list[Any] | None:
        """Every solution of a query beside the policy; None where the engine refuses it or fails."""
        engine = self._base.clone()
        try:
            engine.add_policy(
                "part.rego", f"package {self._package}\n\n{_PART} := [{term} |\n\t{query}\n]\n"
            )
            found = json.loads(engine.eval_rule_as_json(f"data.{self._package}.{_PART}"))
        except BaseException as error:
            if not is_engine_failure(error):
                raise
            return None
        return found if isinstance(found, list) else None

    def _trace(self, name: str, clause: Clause, value: Any) -> RuleTrace:
        text = self._prepared.module.tokens.text(clause.start, clause.end)
        return RuleTrace(self._path(name), clause.line, text[:_MAX_TEXT], value)

    def _path(self, name: str) -> str:
        return f"data.{self._package}.{name}"

    def _slice(self, clause: Clause, part: Node | Statement) -> str:
        return part_for_regorus(self._prepared, clause, part.start, part.end)


def _shown_value(form: str, values: list[Any]) -> Any:
    if form == "set":
        return values
    if form == "object":
        return {str(key): value for key, value in values}
    return values[0]


def _rule_order(prepared: Prepared) -> list[str]:
    """Entry points, each followed by the rules it mentions, depth first in source order."""
    mentions = _mentions(prepared.module)
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            order.append(name)
            for mentioned in mentions[name]:
                visit(mentioned)

    for entry in prepared.entry_points:
        visit(entry.rsplit(".", 1)[1])
    return order


def _mentions(module: Module) -> dict[str, list[str]]:
    names = {rule.name for rule in module.rules}
    found: dict[str, list[str]] = {name: [] for name in names}
    for rule in module.rules:
        nodes = [node for clause in rule.clauses for node in clause_nodes(clause)]
        for node in sorted(nodes, key=lambda item: item.start):
            name = str(node.value)
            if node.tag in ("Var", "Call") and name in names and name not in HELPERS:
                found[rule.name].append(name)
    return found
