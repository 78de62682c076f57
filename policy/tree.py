"""The syntax tree of a policy, typed, from the parser's JSON.

Sources: regorus 0.13 ``Engine.get_ast_as_json`` (node tags and members). A tag that is not known here
is refused, so that a newer parser cannot let something through that no check has looked at.

Offsets are bytes of the UTF-8 source; lines and columns start at 1.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import regorus

from policy.errors import PolicyRejected, PolicySyntax
from policy.lexical import MAX_LINE_BYTES, MAX_LINES, MAX_SOURCE_BYTES, Tokens, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RULES: Final = 300
_LOCATION = re.compile(r"-->[^\n]*?:(\d+):(\d+)\n")
_ERROR = re.compile(r"error: ([^\n]*)")
_MAX_MESSAGE = 200
_TAB_COLUMNS: Final = 4  # as the parser counts them

LITERALS: Final = frozenset({"String", "RawString", "Number", "Bool", "Null"})
_BINARY: Final = frozenset({"BinExpr", "BoolExpr", "ArithExpr", "AssignExpr"})


@dataclass(frozen=True, slots=True)
class Node:
    """An expression.

    Attributes:
        tag: the parser's tag (``Var``, ``RefDot``, ``Call``...).
        value: name of a variable, field of a ``RefDot``, dotted name of a call, literal, operator.
        children: sub-expressions in source order.
        body: the query of a comprehension.
        start: first byte.
        end: byte after the last.
        line: of the start.
        column: of the start.
    """

    tag: str
    value: Any
    children: tuple[Node, ...]
    body: tuple[Statement, ...]
    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One literal of a query: ``Expr``, ``NotExpr``, ``SomeVars``, ``SomeIn``, ``Every``.

    Attributes:
        tag: the parser's tag.
        names: variables that ``some`` or ``every`` declares by name.
        children: expressions; of ``SomeIn`` the patterns, then the collection.
        body: of ``Every``.
        overrides: it has a ``with`` modifier.
        start: first byte.
        end: byte after the last.
        line: of the start.
        column: of the start.
    """

    tag: str
    names: tuple[str, ...]
    children: tuple[Node, ...]
    body: tuple[Statement, ...]
    overrides: bool
    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Clause:
    """A head with one body. An ``else`` is a clause of its own, after the one it belongs to.

    Attributes:
        value: the head's value; None stands for ``true``.
        key: of a set or object rule.
        body: statements; empty for a fact.
        is_else: it is tried only where the clause before did not hold.
        start: first byte.
        end: byte after the last.
        line: of the start.
    """

    value: Node | None
    key: Node | None
    body: tuple[Statement, ...]
    is_else: bool
    start: int
    end: int
    line: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as written: a head and a chain of clauses.

    Attributes:
        name: first segment of its name.
        form: ``complete``, ``set``, ``object``, ``function`` or ``default``.
        dotted: the name has more than one segment.
        args: of a function.
        clauses: at least one.
        line: of the start.
        column: of the start.
    """

    name: str
    form: str
    dotted: bool
    args: tuple[Node, ...]
    clauses: tuple[Clause, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed policy.

    Attributes:
        package: dotted path.
        package_span: bytes of the path in the source.
        imports: dotted paths; with ``as`` where an alias is given.
        rules: in source order.
        tokens: of the source.
    """

    package: str
    package_span: tuple[int, int]
    imports: tuple[tuple[str, int], ...]
    rules: tuple[Rule, ...]
    tokens: Tokens


def parse(text: str) -> Module:
    """Parse Rego v1.

    Raises:
        PolicySyntax: not Rego v1; ``details`` has ``line`` and ``column``.
        PolicyRejected: over a limit, or a construct that this project does not know.
    """
    tokens = scan(text)
    source = text.encode("utf-8")
    engine = regorus.Engine()
    try:
        engine.set_policy_length_config(
            max_col=MAX_LINE_BYTES, max_file_bytes=MAX_SOURCE_BYTES, max_lines=MAX_LINES
        )
        engine.add_policy("policy.rego", text)
        tree = json.loads(engine.get_ast_as_json())[0]["ast"]
    except RuntimeError as error:
        raise syntax_error(error, text) from None
    return _Reader(source, tokens).module(tree)


def syntax_error(error: BaseException, text: str) -> PolicySyntax:
    """The parser's error with its place in ``text``, without its backtrace."""
    place = _LOCATION.search(str(error))
    line, column = (int(place[1]), int(place[2])) if place else (1, 1)
    lines = text.split("\n")
    before = lines[line - 1] if 0 < line <= len(lines) else ""
    column -= (_TAB_COLUMNS - 1) * before[: column // _TAB_COLUMNS].count("\t")
    column = max(column, 1)
    return PolicySyntax(
        f"line {line}, column {column}: {engine_message(error)}", details={"line": line, "column": column}
    )


def engine_message(error: BaseException) -> str:
    """The one-line cause in an engine error."""
    text = str(error)
    cause = _ERROR.search(text)
    message = cause[1] if cause else text.strip().split("\n", 1)[0]
    return "".join(letter for letter in message if letter.isprintable())[:_MAX_MESSAGE]


def is_engine_failure(error: BaseException) -> bool:
    """Whether the binding raised it: ``RuntimeError``, or ``PanicException`` where its Rust code panics."""
    return isinstance(error, Exception) or type(error).__module__.startswith("pyo3")


def walk(node: Node) -> Iterator[Node]:
    """The expression and everything in it, comprehension bodies included."""
    yield node
    for child in node.children:
        yield from walk(child)
    for statement in node.body:
        yield from walk_statement(statement)


def walk_statement(statement: Statement) -> Iterator[Node]:
    """Every expression in a statement."""
    for child in statement.children:
        yield from walk(child)
    for inner in statement.body:
        yield from walk_statement(inner)


def statements(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement of a query, those of ``every`` and of comprehensions included."""
    for statement in body:
        yield statement
        yield from statements(statement.body)
        for child in statement.children:
            yield from _inner_statements(child)


def _inner_statements(node: Node) -> Iterator[Statement]:
    yield from statements(node.body)
    for child in node.children:
        yield from _inner_statements(child)


def clause_nodes(clause: Clause) -> Iterator[Node]:
    """Every expression of a clause: key, value, body."""
    for head in (clause.key, clause.value):
        if head is not None:
            yield from walk(head)
    for statement in clause.body:
        yield from walk_statement(statement)


def path_of(node: Node) -> tuple[str, tuple[str | None, ...]] | None:
    """Root variable and segments of a reference; a segment that is not a literal string is None.

    None where the expression is not a reference that starts at a variable.
    """
    segments: list[str | None] = []
    while node.tag in ("RefDot", "RefBrack"):
        if node.tag == "RefDot":
            segments.append(str(node.value))
        else:
            index = node.children[1]
            segments.append(str(index.value) if index.tag in ("String", "RawString") else None)
        node = node.children[0]
    if node.tag != "Var":
        return None
    return str(node.value), tuple(reversed(segments))


class _Reader:
    """Turns the parser's JSON into the typed tree."""

    def __init__(self, source: bytes, tokens: Tokens) -> None:
        self._source = source
        self._tokens = tokens

    def module(self, tree: dict[str, Any]) -> Module:
        rules = tree["rules"]
        if len(rules) > MAX_RULES:
            raise PolicyRejected(f"the policy has {len(rules)} rules, the limit is {MAX_RULES}")
        path = self.node(tree["package"]["refr"])
        root = path_of(path)
        segments = (root[0], *root[1]) if root else ("",)
        return Module(
            package=".".join("?" if part is None else part for part in segments),
            package_span=(path.start, path.end),
            imports=tuple(self._import(item) for item in tree["imports"]),
            rules=tuple(self._rule(rule) for rule in rules),
            tokens=self._tokens,
        )

    def node(self, raw: dict[str, Any]) -> Node:  # noqa: C901, PLR0912 (one branch per tag of the parser)
        tag, body = _single(raw)
        span = body["span"]
        value: Any = None
        children: tuple[Node, ...] = ()
        query: tuple[Statement, ...] = ()
        if tag in LITERALS or tag == "Var":
            value = body.get("value")
        elif tag in ("Array", "Set"):
            children = tuple(self.node(item) for item in body["items"])
        elif tag == "Object":
            children = tuple(self.node(part) for field in body["fields"] for part in field[1:])
        elif tag in ("ArrayCompr", "SetCompr"):
            children, query = (self.node(body["term"]),), self.query(body["query"])
        elif tag == "ObjectCompr":
            children = (self.node(body["key"]), self.node(body["value"]))
            query = self.query(body["query"])
        elif tag == "Call":
            value = self._called(self.node(body["fcn"]))
            children = tuple(self.node(item) for item in body["params"])
        elif tag == "UnaryExpr":
            children = (self.node(body["expr"]),)
        elif tag == "RefDot":
            value, children = body["field"][1], (self.node(body["refr"]),)
        elif tag == "RefBrack":
            children = (self.node(body["refr"]), self.node(body["index"]))
        elif tag in _BINARY:
            value, children = body["op"], (self.node(body["lhs"]), self.node(body["rhs"]))
        elif tag == "Membership":
            parts = (body["key"], body["value"], body["collection"])
            children = tuple(self.node(part) for part in parts if part is not None)
        else:
            raise PolicyRejected(f"line {span['line']}: {tag} is not part of this project's Rego profile")
        start = span["start"]
        if children and children[0].start <= start:
            # The parser points an object at its last member.
            first = children[0].start
            start = self._tokens.start_before(first) if tag == "Object" else first
        line, column = self._tokens.place(start)
        return Node(tag, value, children, query, start, span["end"], line, column)

    def query(self, raw: dict[str, Any]) -> tuple[Statement, ...]:
        return tuple(self._statement(item) for item in raw["stmts"])

    def _statement(self, raw: dict[str, Any]) -> Statement:
        tag, body = _single(raw["literal"])
        span = raw["span"]
        names: tuple[str, ...] = ()
        query: tuple[Statement, ...] = ()
        if tag in ("Expr", "NotExpr"):
            children: tuple[Node, ...] = (self.node(body["expr"]),)
        elif tag == "SomeVars":
            children, names = (), tuple(self._slice(item) for item in _listed(body["vars"]))
        elif tag == "SomeIn":
            parts = (body["key"], body["value"], body["collection"])
            children = tuple(self.node(part) for part in parts if part is not None)
        elif tag == "Every":
            names = tuple(self._slice(item) for item in (body["key"], body["value"]) if item is not None)
            children, query = (self.node(body["domain"]),), self.query(body["query"])
        else:
            raise PolicyRejected(f"line {span['line']}: {tag} is not part of this project's Rego profile")
        overrides = bool(raw.get("with_mods"))
        line, column = self._tokens.place(span["start"])
        return Statement(tag, names, children, query, overrides, span["start"], span["end"], line, column)

    def _rule(self, raw: dict[str, Any]) -> Rule:
        tag, body = _single(raw)
        span = body["span"]
        if tag == "Default":
            name, dotted, _ = self._name(body["refr"])
            value = self.node(body["value"])
            clause = Clause(
                value, None, (), is_else=False, start=span["start"], end=value.end, line=span["line"]
            )
            args = tuple(self.node(item) for item in body["args"])
            return Rule(name, "default", dotted, args, (clause,), span["line"], span["col"])
        form, head = _single(body["head"])
        name, dotted, key = self._name(head["refr"])
        args = ()
        if form == "Set":
            key = self.node(head["key"])
        elif form == "Func":
            args = tuple(self.node(item) for item in head["args"])
        assign = head.get("assign")
        value_node = None if assign is None else self.node(assign["value"])
        kind = {"Set": "set", "Func": "function"}.get(form, "complete" if key is None else "object")
        clauses = self._clauses(body, value_node, key)
        return Rule(name, kind, dotted, args, clauses, span["line"], span["col"])

    def _clauses(self, raw: dict[str, Any], value: Node | None, key: Node | None) -> tuple[Clause, ...]:
        span = raw["span"]
        bodies = raw["bodies"]
        if not bodies:
            return (
                Clause(
                    value, key, (), is_else=False, start=span["start"], end=span["end"], line=span["line"]
                ),
            )
        found = []
        for body in bodies:
            is_else = bool(body["is_else"])
            where = body["span"] if is_else else span
            head = value
            if is_else:
                head = None if body["assign"] is None else self.node(body["assign"]["value"])
            query = self.query(body["query"])
            end = body["span"]["end"]
            found.append(Clause(head, key, query, is_else, where["start"], end, where["line"]))
        return tuple(found)

    def _name(self, raw: dict[str, Any]) -> tuple[str, bool, Node | None]:
        node = self.node(raw)
        if node.tag == "RefBrack" and node.children[0].tag == "Var":
            return str(node.children[0].value), False, node.children[1]
        root = path_of(node)
        if root is None:
            raise PolicyRejected(f"line {node.line}: a rule's name does not start with an identifier")
        return root[0], bool(root[1]), None

    def _import(self, raw: dict[str, Any]) -> tuple[str, int]:
        root = path_of(self.node(raw["refr"]))
        parts = (root[0], *root[1]) if root else ("?",)
        path = ".".join("?" if part is None else part for part in parts)
        alias = raw.get("as")
        line = int(raw["span"]["line"])
        return (f"{path} as {self._slice(alias)}" if alias else path), line

    def _called(self, function: Node) -> str:
        root = path_of(function)
        if root is None or None in root[1]:
            raise PolicyRejected(f"line {function.line}: the called function is not a plain name")
        return ".".join((root[0], *(part for part in root[1] if part is not None)))

    def _slice(self, span: dict[str, int]) -> str:
        return self._source[span["start"] : span["end"]].decode("utf-8")


def _single(raw: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    ((tag, body),) = raw.items()
    return tag, body


def _listed(value: Any) -> list[dict[str, int]]:
    return value if isinstance(value, list) else [value]
