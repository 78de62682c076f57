"""Lexical gate: bounds on a policy's text that hold before any parser sees it.

Why: the in-process parser is native code. Measured on it: nested array and set literals take time
that doubles with every level, long operator chains exhaust its stack, and a stack overflow kills the
process. So size, line length, nesting, and chain length are bounded by one linear scan first.

The scan also gives token boundaries, because the parser's spans leave out the quotes of strings;
``Tokens.text`` snaps a span outward to whole tokens.

Not done here: syntax. Whatever passes may still be refused by the parser.
"""

from __future__ import annotations

import bisect
import re
from typing import Final, NamedTuple

from policy.errors import PolicyRejected, PolicySyntax

MAX_SOURCE_BYTES: Final = 64 << 10
MAX_LINES: Final = 4000
MAX_LINE_BYTES: Final = 1024
MAX_NESTING: Final = 24
# Sum over tokens of 2 ** (open brackets and braces): what the parser's backtracking costs, at about
# 3 microseconds a unit.
MAX_PARSE_COST: Final = 100_000
# Operators, dots and brackets in one expression, which the parser and evaluator recurse over.
MAX_CHAIN: Final = 256

_TOKEN = re.compile(
    rb"(?P<space>[ \t\r]+)|(?P<newline>\n)|(?P<comment>\#[^\n]*)"
    rb'|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<raw>`[^`]*`)'
    rb"|(?P<open>[\[({])|(?P<close>[\])}])"
    rb"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    rb"|(?P<operator>:=|[!=<>]=|[-+*/%|&=<>.:])|(?P<separator>[,;])|(?P<other>.)",
    re.DOTALL,
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]")
_CONTINUING_WORDS: Final = frozenset({b"in", b"not", b"some", b"if", b"else", b"as", b"with"})


class Token(NamedTuple):
    """A token that is neither blank nor comment; offsets in UTF-8 bytes, the end exclusive."""

    kind: str
    start: int
    end: int


class Tokens:
    """The tokens of one source text.

    Args:
        source: UTF-8 bytes.
    """

    __slots__ = ("_lines", "_source", "_starts", "items")

    def __init__(self, source: bytes, items: tuple[Token, ...]) -> None:
        """Index the tokens."""
        self._source = source
        self.items = items
        self._starts = [token.start for token in items]
        self._lines = [0, *(match.end() for match in re.finditer(rb"\n", source))]

    def place(self, start: int) -> tuple[int, int]:
        """Line and column (both from 1, in characters) of the token that holds byte ``start``."""
        first, _ = self.span(start, start)
        line = bisect.bisect_right(self._lines, first)
        column = len(self._source[self._lines[line - 1] : first].decode("utf-8", "replace")) + 1
        return line, column

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The byte range of whole tokens that ``start..end`` touches."""
        first = self.items[max(bisect.bisect_right(self._starts, start) - 1, 0)]
        last = self.items[max(bisect.bisect_left(self._starts, max(end, start + 1)) - 1, 0)]
        return first.start, max(last.end, first.end)

    def start_before(self, start: int) -> int:
        """First byte of the token before the one that holds byte ``start``."""
        index = bisect.bisect_right(self._starts, start) - 2
        return self.items[max(index, 0)].start

    def before(self, start: int) -> str:
        """Text of the token before the one at byte ``start``; empty at the beginning."""
        index = bisect.bisect_left(self._starts, start) - 1
        if index < 0:
            return ""
        return self._source[self.items[index].start : self.items[index].end].decode("utf-8", "replace")

    def text(self, start: int, end: int) -> str:
        """Source text of the tokens that the byte range ``start..end`` touches."""
        first, last = self.span(start, end)
        return self._source[first:last].decode("utf-8")


def scan(text: str) -> Tokens:
    """Check every bound and return the tokens.

    Raises:
        PolicyRejected: too large, too deep, or a control character.
        PolicySyntax: an unterminated string.
    """
    source = _bounded_source(text)
    items: list[Token] = []
    line, line_start = 1, 0
    gate = _Gate()
    for match in _TOKEN.finditer(source):
        kind = match.lastgroup or "other"
        if kind == "newline":
            line, line_start = line + 1, match.end()
            gate.newline()
            continue
        if kind in ("space", "comment"):
            continue
        if match.group() in (b'"', b"`"):
            column = match.start() - line_start + 1
            raise PolicySyntax("a string does not end", details={"line": line, "column": column})
        items.append(Token(kind, match.start(), match.end()))
        gate.token(kind, match.group(), line)
        line += match.group().count(b"\n")
    return Tokens(source, tuple(items))


def _bounded_source(text: str) -> bytes:
    try:
        source = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PolicySyntax("the policy is not valid Unicode") from error
    if len(source) > MAX_SOURCE_BYTES:
        raise PolicyRejected(f"the policy has {len(source)} bytes, the limit is {MAX_SOURCE_BYTES}")
    if _CONTROL.search(text):
        raise PolicySyntax("the policy has a control character or a byte order mark")
    lines = source.split(b"\n")
    if len(lines) > MAX_LINES:
        raise PolicyRejected(f"the policy has {len(lines)} lines, the limit is {MAX_LINES}")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_BYTES:
            raise PolicyRejected(
                f"line {number} has {len(line)} bytes, the limit is {MAX_LINE_BYTES}",
                details={"line": number, "column": 1},
            )
    return source


class _Gate:
    """Running totals of nesting, parse cost and chain length."""

    def __init__(self) -> None:
        self._depth = 0
        self._cost = 0
        self._chains = [0]
        self._pending_newline = False
        self._continues = False
        self._open: list[bytes] = []

    def newline(self) -> None:
        # A line break ends an expression unless an operator stands on either side of it.
        self._pending_newline = True

    def token(self, kind: str, text: bytes, line: int) -> None:
        operator = kind == "operator"
        if (self._pending_newline and not self._continues and not operator) or kind == "separator":
            self._chains[-1] = 0
        self._pending_newline = False
        self._continues = operator or kind in ("open", "separator") or text in _CONTINUING_WORDS
        if operator or kind == "open" or text in _CONTINUING_WORDS:
            self._chains[-1] += 1
        if kind == "open":
            self._open.append(text)
            self._chains.append(0)
            self._depth += text != b"("
        elif kind == "close" and self._open:
            self._depth -= self._open.pop() != b"("
            self._chains.pop()
        self._cost += 1 << min(self._depth, MAX_NESTING)
        self._refuse_excess(line)

    def _refuse_excess(self, line: int) -> None:
        where = {"line": line, "column": 1}
        if len(self._open) > MAX_NESTING or self._cost > MAX_PARSE_COST:
            raise PolicyRejected(f"line {line}: brackets are nested too deep", details=where)
        if self._chains[-1] > MAX_CHAIN:
            raise PolicyRejected(f"line {line}: an expression has too many operators", details=where)
