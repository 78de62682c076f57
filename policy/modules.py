"""From a policy's source to what an engine loads: checks, reference names, helper module, dialects.

Order: lexical gate, parse, package, entry points, profile, reference names. Then ``input`` and ``data`` are
spelt as what they stand for in the one document that an engine is given (``policy.documents``), and, per
engine:

* regorus gets the source with each ``some .. in`` over a reference spelt as the iteration it stands for
  (``v := collection[_]``), since it fails where the collection is a scalar, which OPA and that spelling
  do not; and without ``some x`` declarations, which it takes for duplicates in the second round of an
  iteration (the profile refuses names that would then mean something else).
* OPA gets the source with its package path replaced, since many policies of one package live in one
  server.

Both keep every line on its line. The source itself, its digest and what is stored never change.

Each engine also loads helper modules in the policy's package: ``touchstone_result``, an object that
gives each entry point as a list of no or one value, so that undefined is told apart from every value and
one evaluation answers all; and, where they are used, ``reference_groups`` and CoCo's
``query_reference_value`` over ``input.reference``. ``reference_groups(name, value)`` is the set of groups
that hold a live value; it is empty where no live value of that name is equal. What an administrator
declared goes with every release that the input names, and with all else that is declared. Of
``query_reference_value``:

* values that are members of a set give the list of them;
* one value that is registered as a single value gives that value; several contradict each other, and are
  undefined;
* a name without live values is undefined, so that no condition on it holds, whatever the operator. (CoCo
  gives null there, which every number is greater than: a minimum that nobody set would be met.)

The helpers have no default function and no ``some .. in``: engines differ there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy.claims import CLAIM_NAMES, is_claim_value
from policy.documents import ROOTS
from policy.errors import PolicyRejected
from policy.port import ENTRY_POINTS, PolicyKind, PolicySource
from policy.profile import RESERVED_PREFIX, Problem, problems
from policy.scope import GROUPS, HELPERS, SHIM, all_statements, input_references
from policy.tree import Module, clause_nodes, parse, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from policy.tree import Clause, Node, Rule, Statement

RESULT: Final = "touchstone_result"
# What the first entry point of each kind must be, the second may be.
_FORMS: Final = {
    "trust_claims": ("complete", "object"),
    "extensions": ("complete", "set"),
    "allow": ("complete",),
    "reasons": ("set", "complete"),
    "deny": ("set", "complete"),
}
_CLAIMS: Final = "trust_claims"
_MAX_SHOWN: Final = 20

# Total on purpose: whatever stands under a name, nothing here raises.
_SHIM_TEXT: Final = f"""
{SHIM}(name) := values if {{
	values := [entry.value | entry := input.reference[name][_]; not entry.scalar == true]
	values != []
}}
else := value if {{
	[value] = [entry.value | entry := input.reference[name][_]]
}}
"""
_GROUPS_TEXT: Final = f"""
{GROUPS}(name, value) := {{group |
	entry := input.reference[name][_]
	entry.value == value
	group := entry.groups[_]
}} | {{group |
	entry := input.reference[name][_]
	entry.value == value
	entry.declared == true
	group := input.reference[_][_].groups[_]
}} | {{"declared" |
	entry := input.reference[name][_]
	entry.value == value
	entry.declared == true
}}
"""
_HELPER_TEXTS: Final = {SHIM: _SHIM_TEXT, GROUPS: _GROUPS_TEXT}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A policy that passed every check that needs no engine.

    Attributes:
        source: as given.
        module: its syntax tree.
        reference_names: every reference name it mentions.
        input_names: members of ``input`` it mentions, see ``policy.port.CompiledPolicy``.
        entry_points: those of its kind that it defines.
        helpers: of ``policy.scope.HELPERS`` those that it calls.
    """

    source: PolicySource
    module: Module
    reference_names: frozenset[str]
    input_names: Mapping[str, frozenset[str] | None]
    entry_points: tuple[str, ...]
    helpers: frozenset[str]

    def result_module(self, package: str) -> str:
        """The rule that answers every entry point. It refers to the policy: load it last."""
        fields = ", ".join(
            f'"{entry}": [value | value := {entry.rsplit(".", 1)[1]}]' for entry in self.entry_points
        )
        return f"package {package}\n\n{RESULT} := {{{fields}}}\n"

    def shim_module(self, package: str) -> str | None:
        """The helpers that the policy calls, if any. The policy refers to them: load it first."""
        texts = [_HELPER_TEXTS[name] for name in sorted(self.helpers)]
        return f"package {package}\n{''.join(texts)}" if texts else None


def prepare(source: PolicySource) -> Prepared:
    """Check a policy.

    Raises:
        PolicySyntax: not Rego v1; ``details`` has ``line`` and ``column``.
        PolicyRejected: outside the profile, wrong package, an entry point missing; ``details`` has
            ``problems``, each with line, column, code and message.
    """
    module = parse(source.text)
    found = [*contract_problems(module, source.kind), *problems(module, source.kind)]
    if found:
        raise rejection(found)
    names = reference_names(module) if source.kind is PolicyKind.APPRAISAL else frozenset()
    defined = {rule.name for rule in module.rules}
    entries = tuple(entry for entry in ENTRY_POINTS[source.kind] if entry.rsplit(".", 1)[1] in defined)
    helpers = frozenset(str(call.value) for call in _helper_calls(module))
    return Prepared(source, module, names, input_names(module), entries, helpers)


def rejection(found: list[Problem]) -> PolicyRejected:
    """The error that reports ``found``, worst place first."""
    first = min(found)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    shown = [
        {"line": item.line, "column": item.column, "code": item.code, "message": item.message}
        for item in sorted(found)[:_MAX_SHOWN]
    ]
    return PolicyRejected(
        f"line {first.line}, column {first.column}: {first.message}{more}",
        details={"line": first.line, "column": first.column, "problems": shown},
    )


def contract_problems(module: Module, kind: PolicyKind) -> list[Problem]:
    """Package and entry points against what the kind demands."""
    required, optional = ENTRY_POINTS[kind]
    package = required.split(".")[1]
    if module.package != package:
        message = f"a policy of kind {kind} has package {package}, not {module.package}"
        return [Problem(1, 1, "package", message)]
    found = []
    for entry in (required, optional):
        name = entry.rsplit(".", 1)[1]
        rules = [rule for rule in module.rules if rule.name == name]
        if not rules and entry == required:
            found.append(Problem(1, 1, "entry-point", f"the rule {name} is missing"))
        found += [
            Problem(rule.line, rule.column, "entry-point", f"{name} must not be a {rule.form} rule")
            for rule in rules
            if rule.form not in (*_FORMS[name], "default")
        ]
        if name == _CLAIMS:
            found += [problem for rule in rules for problem in _claim_problems(module, rule)]
    return found


def _claim_problems(module: Module, rule: Rule) -> Iterator[Problem]:
    """Claims that are written out and cannot be: told at upload, not by denying every appraisal."""
    values = [clause.value for clause in rule.clauses if clause.value is not None]
    for value in values:
        if value.tag != "Object":
            continue
        for key, claim in zip(value.children[::2], value.children[1::2], strict=True):
            if key.tag == "String" and key.value not in CLAIM_NAMES:
                message = f"trust_claims has an unknown claim {str(key.value)[:64]!a}"
                yield Problem(key.line, key.column, "claim", message)
            text = module.tokens.text(claim.start, claim.end)
            if claim.tag == "Number" and not is_claim_value(text):
                message = "a trust claim is an integer in -128..127"
                yield Problem(claim.line, claim.column, "claim", message)


def reference_names(module: Module) -> frozenset[str]:
    """Names in calls of the helpers, in ``input.reference.n`` and in ``input.reference["n"]``."""
    names = {str(call.children[0].value) for call in _helper_calls(module) if call.children}
    for clause in _clauses(module):
        for _, path in input_references(clause):
            if len(path) > 1 and path[0] == "reference" and path[1] is not None:
                names.add(path[1])
    return frozenset(names)


def input_names(module: Module) -> dict[str, frozenset[str] | None]:
    """Members of ``input`` that are mentioned, each with its own, or None where it is used whole."""
    found: dict[str, frozenset[str] | None] = {}
    for clause in _clauses(module):
        for _, path in input_references(clause):
            if not path or path[0] is None:
                continue
            known = found.get(path[0], frozenset())
            inner = path[1] if len(path) > 1 else None
            found[path[0]] = None if known is None or inner is None else known | {inner}
    return found


def for_opa(prepared: Prepared, package: str) -> str:
    """The source as OPA loads it: its package path replaced."""
    start, end = prepared.module.package_span
    edits = [(start, end, package), *_respelt_roots(prepared)]
    return _edited(prepared.source.text.encode("utf-8"), 0, edits)


def for_regorus(prepared: Prepared) -> str:
    """The source as regorus loads it."""
    edits = [edit for clause in _clauses(prepared.module) for edit in _respelt_clause(prepared, clause)]
    edits += _root_edits(prepared, _argument_nodes(prepared.module))
    return _edited(prepared.source.text.encode("utf-8"), 0, edits)


def part_for_regorus(prepared: Prepared, clause: Clause, start: int, end: int) -> str:
    """The tokens of a clause that bytes ``start..end`` touch, as regorus loads them inside a query."""
    module = prepared.module
    start, end = module.tokens.span(start, end)
    edits = [
        edit
        for edit in _respelt_clause(prepared, clause, in_query=True)
        if start <= edit[0] and edit[1] <= end
    ]
    return _edited(prepared.source.text.encode("utf-8")[start:end], start, edits)


def _edited(data: bytes, offset: int, edits: list[tuple[int, int, str]]) -> str:
    for start, end, text in sorted(edits, reverse=True):
        data = data[: start - offset] + text.encode("utf-8") + data[end - offset :]
    return data.decode("utf-8")


_Edit = tuple[int, int, str]


def _respelt_clause(prepared: Prepared, clause: Clause, *, in_query: bool = False) -> list[_Edit]:
    """Edits of one clause for regorus. One inside another is made within its text, so none overlap."""
    edits = _root_edits(prepared, clause_nodes(clause))
    # The innermost first: what a statement holds is respelt before the statement is.
    for start, end, text in sorted(
        _respelt_statements(prepared, clause, edits, in_query=in_query), key=_size
    ):
        edits = [edit for edit in edits if not (start <= edit[0] and edit[1] <= end)]
        edits.append((start, end, text))
    return edits


def _size(edit: _Edit) -> int:
    return edit[1] - edit[0]


def _respelt_roots(prepared: Prepared) -> list[_Edit]:
    nodes = (node for clause in _clauses(prepared.module) for node in clause_nodes(clause))
    return _root_edits(prepared, (*nodes, *_argument_nodes(prepared.module)))


def _root_edits(prepared: Prepared, nodes: Iterable[Node]) -> list[_Edit]:
    """``input`` and ``data`` as what they stand for in the document of the policy's kind."""
    roots = ROOTS[prepared.source.kind]
    return sorted(
        {
            (*prepared.module.tokens.span(node.start, node.end), roots[str(node.value)])
            for node in nodes
            if node.tag == "Var" and node.value in roots
        }
    )


def _argument_nodes(module: Module) -> list[Node]:
    return [node for rule in module.rules for argument in rule.args for node in walk(argument)]


def _respelt_statements(
    prepared: Prepared, clause: Clause, inner: list[_Edit], *, in_query: bool
) -> Iterator[_Edit]:
    """Byte range and replacement of the statements that regorus takes otherwise than OPA."""
    module = prepared.module
    for statement in all_statements(clause):
        text = _respelt(prepared, statement, inner)
        if text is None:
            continue
        start, end = module.tokens.span(statement.start, statement.end)
        lines = module.tokens.text(start, end).count("\n")
        # A body without braces takes one literal; this makes several of it.
        if module.tokens.before(start) == "if" and not in_query:
            text = f"{{ {text} }}"
        yield start, end, text + "\n" * lines


def _text(prepared: Prepared, node: Node, edits: list[_Edit]) -> str:
    """One line: the text of an expression, with those of the edits that are inside it."""
    start, end = prepared.module.tokens.span(node.start, node.end)
    data = prepared.source.text.encode("utf-8")[start:end]
    text = _edited(data, start, [edit for edit in edits if start <= edit[0] and edit[1] <= end])
    return " ".join(text.split("\n"))


def _respelt(prepared: Prepared, statement: Statement, inner: list[_Edit]) -> str | None:
    if statement.tag == "SomeVars":
        return "true"
    if statement.tag != "SomeIn":
        return None
    *found, collection = statement.children
    if collection.tag not in ("Var", "RefDot", "RefBrack", "Call"):
        return None  # literals, comprehensions and set operations are collections on both engines
    texts = [_text(prepared, node, inner) for node in statement.children]
    value, member = texts[-2], f"{texts[-1]}[_]"
    key = found[0] if len(found) > 1 else None
    lines = []
    if key is not None and key.tag == "Var" and key.value != "_":
        # A name of its own: the key's could be bound outside, and would then select, not iterate.
        fresh = f"{RESERVED_PREFIX}key_{statement.start}"
        member = f"{texts[-1]}[{fresh}]"
        lines = [f"{texts[0]} := {fresh}"]
    elif key is not None and key.tag != "Var":
        member = f"{texts[-1]}[{texts[0]}]"
    operator = ":=" if found[-1].tag == "Var" and found[-1].value != "_" else "="
    return "; ".join([f"{value} {operator} {member}", *lines])


def _helper_calls(module: Module) -> Iterator[Node]:
    for clause in _clauses(module):
        for node in clause_nodes(clause):
            if node.tag == "Call" and node.value in HELPERS:
                yield node


def _clauses(module: Module) -> Iterator[Clause]:
    for rule in module.rules:
        yield from rule.clauses
