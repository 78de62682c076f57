"""Names and references in a clause: what it binds, what it reads from the input, what may be undefined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy.tree import LITERALS, clause_nodes, path_of, statements, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from policy.tree import Clause, Module, Node, Rule, Statement

SHIM: Final = "query_reference_value"
GROUPS: Final = "reference_groups"
# Functions that the engines bring for appraisal policies, each with its number of arguments; the first is
# the literal name of a reference value.
HELPERS: Final = {SHIM: 1, GROUPS: 2}
# Members of an appraisal's input that hold reference values by name.
SHELVES: Final = frozenset({"reference", "unverified_reference"})
COMPREHENSIONS: Final = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
_COLLECTIONS: Final = frozenset({"Array", "Set", "Object"})
_REFERENCES: Final = frozenset({"RefDot", "RefBrack"})


def flat(node: Node) -> Iterator[Node]:
    """The expression without what stands inside comprehensions, which have a scope of their own."""
    yield node
    if node.tag not in COMPREHENSIONS:
        for child in node.children:
            yield from flat(child)


def local_names(rule: Rule, clause: Clause, rules: Iterable[str]) -> frozenset[str]:
    """Every variable that the clause may bind: arguments, ``some``, ``every``, assignments, indexes."""
    known = frozenset(rules)
    names = _variables(rule.args)
    names |= _index_variables(clause_nodes(clause)) - known
    for statement in all_statements(clause):
        names |= declared(statement, known)
    return frozenset(names)


def bound_in_body(rule: Rule, clause: Clause, rules: Iterable[str]) -> frozenset[str]:
    """Variables that the head may use: arguments, and what the body's own statements bind."""
    known = frozenset(rules)
    names = _variables(rule.args)
    for statement in clause.body:
        if statement.tag != "Every":
            names |= declared(statement, known)
        names |= _index_variables(node for child in statement.children for node in flat(child)) - known
    return frozenset(names)


def declared(statement: Statement, rules: frozenset[str]) -> set[str]:
    """Variables that one statement declares; a rule's name unifies with the rule, it is not bound."""
    names = set(statement.names)
    if statement.tag == "SomeIn":
        return names | _variables(statement.children[:-1])
    if statement.tag in ("Expr", "NotExpr") and statement.children[0].tag == "AssignExpr":
        left, right = statement.children[0].children
        if statement.children[0].value == "ColEq":
            return names | _pattern(left)
        return names | ((_pattern(left) | _pattern(right)) - rules)
    return names


def declared_anew(statement: Statement) -> set[str]:
    """Variables that one statement introduces, whatever stands outside; ``=`` introduces none."""
    is_unification = (
        statement.tag == "Expr"
        and statement.children[0].tag == "AssignExpr"
        and statement.children[0].value != "ColEq"
    )
    return set() if is_unification else declared(statement, frozenset())


def patterns(statement: Statement) -> tuple[Node, ...]:
    """Expressions of a statement that something is matched against."""
    if statement.tag == "SomeIn":
        return statement.children[:-1]
    if statement.tag in ("Expr", "NotExpr") and statement.children[0].tag == "AssignExpr":
        sides = statement.children[0].children
        return sides[:1] if statement.children[0].value == "ColEq" else sides
    return ()


def argument_names(rule: Rule) -> set[str]:
    """Variables among a function's arguments."""
    return _variables(rule.args)


def input_references(clause: Clause) -> Iterator[tuple[Node, tuple[str | None, ...]]]:
    """Each outermost reference that starts at ``input``, with its segments (None: computed)."""
    return references(clause, "input")


def references(clause: Clause, root: str) -> Iterator[tuple[Node, tuple[str | None, ...]]]:
    """Each outermost reference that starts at the variable ``root``, with its segments (None: computed)."""
    pending = [head for head in (clause.key, clause.value) if head is not None]
    pending += _expressions(clause.body)
    while pending:
        node = pending.pop()
        path = path_of(node)
        if path is None:
            pending += node.children
            pending += _expressions(node.body)
            continue
        if path[0] == root:
            yield node, path[1]
        while node.tag in _REFERENCES:
            pending += node.children[1:]
            node = node.children[0]


def definite_names(module: Module) -> frozenset[str]:
    """Rules that are defined whatever the input is: sets, objects, facts of literals, and defaults."""
    names = set()
    for rule in module.rules:
        always = rule.form in ("set", "object") or (rule.form == "default" and not rule.args)
        fact = rule.form == "complete" and not rule.clauses[0].body
        value = rule.clauses[0].value
        if always or (fact and (value is None or _is_definite(value, frozenset()))):
            names.add(rule.name)
    return frozenset(names)


def undefined_operands(clause: Clause, definite: frozenset[str]) -> Iterator[tuple[Node, str]]:
    """Operands that may be undefined where the engines then differ.

    Under ``not``, OPA evaluates the operands of calls and of ``in`` outside the negation, so that an
    undefined one fails the body; the other engine evaluates them inside, so that it holds. An ``in``
    used as a value is undefined on one and false on the other.

    Args:
        clause: the clause.
        definite: local variables and rules that are never undefined.
    """
    direct: set[int] = set()
    for statement in all_statements(clause):
        if statement.tag == "NotExpr":
            child = statement.children[0]
            direct.add(id(child))
            yield from ((node, _UNDER_NOT) for node in _doubtful(child, definite))
        elif statement.tag == "Expr" and statement.children[0].tag == "Membership":
            direct.add(id(statement.children[0]))
    for node in clause_nodes(clause):
        if node.tag == "Membership" and id(node) not in direct:
            yield from (
                (operand, _AS_VALUE) for operand in node.children if not _is_definite(operand, definite)
            )


_UNDER_NOT: Final = "under `not` this may be undefined: assign it to a variable first, and negate that"
_AS_VALUE: Final = "an `in` used as a value needs operands that cannot be undefined: assign them first"


def _doubtful(node: Node, definite: frozenset[str]) -> Iterator[Node]:
    if node.tag == "BoolExpr":
        for side in node.children:
            yield from _doubtful_reference(side, definite)
    elif node.tag in ("Call", "Membership", "ArithExpr", "BinExpr", "AssignExpr"):
        yield from (child for child in node.children if not _is_definite(child, definite))
    else:
        yield from _doubtful_reference(node, definite)


def _doubtful_reference(node: Node, definite: frozenset[str]) -> Iterator[Node]:
    """A plain reference may be undefined itself; what it is indexed by may not."""
    while node.tag in _REFERENCES:
        for index in node.children[1:]:
            if not _is_definite(index, definite) and not _wildcard(index):
                yield index
        node = node.children[0]
    if node.tag != "Var" and not _is_definite(node, definite):
        yield node


def _is_definite(node: Node, definite: frozenset[str]) -> bool:
    if node.tag in LITERALS or node.tag in COMPREHENSIONS:
        return True
    if node.tag == "Var":
        return str(node.value) in definite
    return node.tag in _COLLECTIONS and all(_is_definite(child, definite) for child in node.children)


def _wildcard(node: Node) -> bool:
    return node.tag == "Var" and node.value == "_"


def all_statements(clause: Clause) -> Iterator[Statement]:
    """Every statement of a clause, those inside ``every`` and comprehensions included."""
    yield from statements(clause.body)
    for head in (clause.key, clause.value):
        for node in walk(head) if head is not None else ():
            yield from statements(node.body)


def _expressions(body: Iterable[Statement]) -> list[Node]:
    found: list[Node] = []
    for statement in body:
        found += statement.children
        found += _expressions(statement.body)
    return found


def _variables(nodes: Iterable[Node]) -> set[str]:
    found = {str(part.value) for node in nodes for part in walk(node) if part.tag == "Var"}
    return found - {"_"}


def _index_variables(nodes: Iterable[Node]) -> set[str]:
    return _variables(
        node.children[1] for node in nodes if node.tag == "RefBrack" and node.children[1].tag == "Var"
    )


def _pattern(node: Node) -> set[str]:
    """Variables that unification binds: alone, or as members of array and object patterns."""
    if node.tag == "Var":
        return {str(node.value)} - {"_"}
    if node.tag == "Array":
        return set().union(*(_pattern(child) for child in node.children))
    if node.tag == "Object":
        return set().union(*(_pattern(child) for child in node.children[1::2]))
    return set()
