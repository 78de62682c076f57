"""Which clauses decided: the rules that a decision rests on, their values, and the clause behind each.

The rules reachable from the kind's entry points are evaluated one by one on the same input. Of a rule with
several clauses the deciding one is found by evaluating each clause alone: the first (of an ``else`` chain)
or every one (of a set) whose own value is defined; where none is, the default stood. This runs in process
whichever engine decided, and is never used for a decision.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import regorus

from policy.errors import PolicyEvaluationFailed
from policy.port import RuleTrace
from policy.tree import clause_nodes, engine_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy.modules import PreparedPolicy
    from policy.tree import Clause, Rule

_MAX_TEXT = 600
_MAX_TRACES = 200


def trace(prepared: PreparedPolicy, input_json: bytes) -> Sequence[RuleTrace]:
    """The clauses behind a decision, entry points first.

    Raises:
        PolicyEvaluationFailed: the policy cannot be evaluated on this input.
    """
    try:
        return list(_traces(prepared, input_json.decode("utf-8")))[:_MAX_TRACES]
    except (RuntimeError, ValueError) as error:
        raise PolicyEvaluationFailed(f"the policy failed: {engine_message(error)}") from None


def _traces(prepared: PreparedPolicy, document: str) -> Iterator[RuleTrace]:
    whole = _engine(prepared, prepared.source.text, document)
    for name in _reachable(prepared):
        path = f"data.{prepared.package}.{name}"
        clauses = [rule for rule in prepared.module.rules if rule.name == name]
        value = _value(whole, path)
        for rule, clause in _deciding(prepared, clauses, path, value, document):
            text = _text(prepared, clause)
            yield RuleTrace(path, clause.line if clause.is_else else rule.line, text, value)


def _deciding(
    prepared: PreparedPolicy, rules: list[Rule], path: str, value: Any, document: str
) -> Iterator[tuple[Rule, Clause]]:
    if value is None:
        return
    candidates = [(rule, clause) for rule in rules if rule.form != "default" for clause in rule.clauses]
    held = [
        (rule, clause)
        for rule, clause in candidates
        if (len(candidates) == 1 and not _has_default(rules))
        or _holds(prepared, rule, clause, path, document)
    ]
    if held:
        yield from held
        return
    yield from ((rule, rule.clauses[0]) for rule in rules if rule.form == "default")


def _has_default(rules: list[Rule]) -> bool:
    return any(rule.form == "default" for rule in rules)


def _holds(prepared: PreparedPolicy, rule: Rule, clause: Clause, path: str, document: str) -> bool:
    """Whether the clause alone, with every other clause of its name taken out, gives a value."""
    source = bytearray(prepared.source.text.encode("utf-8"))
    for other in prepared.module.rules:
        if other.name != rule.name:
            continue
        for part in other.clauses:
            if part is not clause:
                start, end = _span(source, part)
                source[start:end] = bytes(10 if byte == 10 else 32 for byte in source[start:end])  # noqa: PLR2004
    if clause.is_else:
        return False  # an else cannot stand alone; its chain is reported by the first clause that holds
    try:
        found = _value(_engine(prepared, source.decode("utf-8"), document), path)
    except RuntimeError:
        return False
    return found is not None and found not in ([], {})


def _span(source: bytearray, clause: Clause) -> tuple[int, int]:
    """The clause's bytes, with a `default` keyword in front of it."""
    start = clause.start
    before = bytes(source[:start]).rstrip()
    if before.endswith(b"default"):
        start = len(before) - len(b"default")
    return start, clause.end


def _reachable(prepared: PreparedPolicy) -> list[str]:
    """Rules that the entry points rest on, in the order they are met."""
    own = {rule.name for rule in prepared.module.rules if rule.form != "function"}
    order = [path.rpartition(".")[2] for path in prepared.entry_points]
    for name in order:
        for rule in prepared.module.rules:
            if rule.name != name:
                continue
            for clause in rule.clauses:
                for node in clause_nodes(clause):
                    if node.tag == "Var" and node.value in own and node.value not in order:
                        order.append(str(node.value))
    return order


def _engine(prepared: PreparedPolicy, text: str, document: str) -> regorus.Engine:
    engine = regorus.Engine()
    engine.add_policy("policy.rego", text)
    if prepared.shim is not None:
        engine.add_policy("shim.rego", f"package {prepared.package}\n\n{prepared.shim}")
    engine.set_input_json(document)
    return engine


def _value(engine: regorus.Engine, path: str) -> Any:
    try:
        text = engine.eval_rule_as_json(path)
    except RuntimeError as error:
        if "not a valid rule path" in str(error):
            return None
        raise
    value = json.loads(text)
    return None if value == "<undefined>" else value


def _text(prepared: PreparedPolicy, clause: Clause) -> str:
    source = bytearray(prepared.source.text.encode("utf-8"))
    start, end = _span(source, clause)
    return bytes(source[start:end]).decode("utf-8").strip()[:_MAX_TEXT]
