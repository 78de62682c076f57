r"""Patterns of the administrators' rules: regular expressions that match a whole path, in linear time.

A pattern starts with ``^/kbs/`` and ends with ``$``, as in the reference implementation's configuration.
What stands between is the part of regular expressions that such rules need: literals, ``.``, ``[...]``,
``\d \w \s`` and their capitals, escaped punctuation, groups, ``|`` inside a group, and the quantifiers
``* + ? {m} {m,} {m,n}``. Everything else is refused when the pattern is read.

Invariants:

* The whole path matches or nothing does: ``|`` outside a group is refused, because ``^/kbs/a|.*$`` would
  allow every path; so is ``\$`` at the end.
* No path makes a pattern slow. All states are advanced together (Thompson 1968): time is at most the
  length of the path times the size of the pattern, both bounded. There is no backtracking.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from coco.errors import CocoSetting

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PATH: Final = 1024
_MAX_PATTERN: Final = 512
_MAX_PROGRAM: Final = 512
_MAX_DEPTH: Final = 16
_START: Final = "^/kbs/"
_PUNCTUATION: Final = frozenset("^$.|?*+(){}[]\\/-_~:@!&'=;,%#")
_CLASSES: Final = frozenset("dDwWsS")
_COUNT: Final = re.compile(r"\{(\d{1,3})(?:(,)(\d{1,3})?)?\}")
# A bracket expression: no second bracket and none of the set operators that dialects disagree about.
_BRACKETS: Final = re.compile(r"\[\^?(?:[^\]\[\\^]|\\[dDwWsS.\-\]\[\\^/_])+\]")
_SET_OPERATORS: Final = ("--", "&&", "~~", "||")


class _Match(NamedTuple):
    """One character: the expression that it must match."""

    expression: re.Pattern[str]


class _Split(NamedTuple):
    """Go on at both instructions."""

    first: int
    second: int


_Step = _Match | _Split


class _Sequence(NamedTuple):
    parts: tuple[_Node, ...]


class _Choice(NamedTuple):
    parts: tuple[_Node, ...]


class _Repeat(NamedTuple):
    part: _Node
    least: int
    most: int | None


_Node = _Match | _Sequence | _Choice | _Repeat


class EndpointPattern:
    """A pattern that was read.

    Args:
        text: the pattern.

    Raises:
        CocoSetting: not anchored, not of the subset, or too large.
    """

    def __init__(self, text: str) -> None:
        """Read and compile."""
        self.text = text
        if len(text) > _MAX_PATTERN:
            raise CocoSetting(f"allowed_endpoints has more than {_MAX_PATTERN} characters")
        if not text.startswith(_START) or not text.endswith("$"):
            raise CocoSetting(f"allowed_endpoints must start with {_START} and end with $")
        node = _Parser(text[1:-1]).whole()
        self._steps: list[_Step] = []
        self._emit(node)

    def matches(self, path: str) -> bool:
        """Whether the whole path matches; a path over ``MAX_PATH`` characters does not."""
        if len(path) > MAX_PATH:
            return False
        states = self._closure([0])
        for character in path:
            states = self._closure(
                state + 1
                for state in states
                if state < len(self._steps)
                and isinstance(step := self._steps[state], _Match)
                and step.expression.match(character)
            )
            if not states:
                return False
        return len(self._steps) in states

    def _closure(self, states: Iterable[int]) -> set[int]:
        """What is reached without a character and waits for one, or is the end."""
        waiting, seen, stack = set(), set[int](), list(states)
        while stack:
            state = stack.pop()
            if state in seen:
                continue
            seen.add(state)
            step = self._steps[state] if state < len(self._steps) else None
            if isinstance(step, _Split):
                stack += step
            else:
                waiting.add(state)
        return waiting

    def _emit(self, node: _Node) -> None:
        if isinstance(node, _Match):
            self._add(node)
        elif isinstance(node, _Sequence):
            for part in node.parts:
                self._emit(part)
        elif isinstance(node, _Choice):
            self._emit_choice(node)
        else:
            self._emit_repeat(node)

    def _emit_choice(self, node: _Choice) -> None:
        ends = []
        for part in node.parts[:-1]:
            split = self._add(_Split(0, 0))
            self._emit(part)
            ends.append(self._add(_Split(0, 0)))
            self._steps[split] = _Split(split + 1, len(self._steps))
        self._emit(node.parts[-1])
        for end in ends:
            self._steps[end] = _Split(len(self._steps), len(self._steps))

    def _emit_repeat(self, node: _Repeat) -> None:
        for _ in range(node.least):
            self._emit(node.part)
        if node.most is None:
            split = self._add(_Split(0, 0))
            self._emit(node.part)
            self._add(_Split(split, split))
            self._steps[split] = _Split(split + 1, len(self._steps))
            return
        splits = []
        for _ in range(node.most - node.least):
            splits.append(self._add(_Split(0, 0)))
            self._emit(node.part)
        for split in splits:
            self._steps[split] = _Split(split + 1, len(self._steps))

    def _add(self, step: _Step) -> int:
        if len(self._steps) >= _MAX_PROGRAM:
            raise CocoSetting("allowed_endpoints is too large when its counts are written out")
        self._steps.append(step)
        return len(self._steps) - 1


class _Parser:
    """Recursive descent over what stands between the anchors."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> _Node:
        node = self._sequence(0)
        if self._at < len(self._text):
            if self._text[self._at] == "|":
                _refuse("alternatives outside a group leave an end unanchored: write ^/kbs/(?:a|b)$")
            _refuse("a bracket does not fit")
        return node

    def _choice(self, depth: int) -> _Node:
        parts = [self._sequence(depth)]
        while self._take("|"):
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else _Choice(tuple(parts))

    def _sequence(self, depth: int) -> _Node:
        parts = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._quantified(depth))
        if not parts:
            _refuse("an alternative or group is empty")
        return _Sequence(tuple(parts))

    def _quantified(self, depth: int) -> _Node:
        atom = self._atom(depth)
        bounds = self._quantifier()
        if bounds is None:
            return atom
        if self._at < len(self._text) and self._text[self._at] in "*+?{":
            _refuse("lazy, possessive and doubled quantifiers are not offered")
        least, most = bounds
        if most is not None and (most < least or most == 0):
            _refuse("a count is not a range")
        return _Repeat(atom, least, most)

    def _quantifier(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        count = _COUNT.match(self._text, self._at)
        if count is None:
            return None
        self._at = count.end()
        least, comma, most = count.groups()
        if most is not None:
            return int(least), int(most)
        return int(least), None if comma else int(least)

    def _atom(self, depth: int) -> _Node:
        if self._take("("):
            return self._group(depth + 1)
        character = self._text[self._at]
        if character == "[":
            return self._brackets()
        self._at += 1
        if character == "\\":
            return self._escape()
        if character == ".":
            return _Match(re.compile("."))
        if character in "^$*+?{}]" or not character.isprintable() or not character.isascii():
            _refuse("an anchor, quantifier or bracket stands where a character should; escape it")
        return _Match(re.compile(re.escape(character)))

    def _group(self, depth: int) -> _Node:
        if depth > _MAX_DEPTH:
            _refuse("groups are nested too deep")
        if self._take("?") and not self._take(":"):
            _refuse("of groups only (...) and (?:...) are offered")
        node = self._choice(depth)
        if not self._take(")"):
            _refuse("a group is not closed")
        return node

    def _escape(self) -> _Match:
        character = self._text[self._at : self._at + 1]
        self._at += 1
        if character in _CLASSES and character:
            return _Match(re.compile("\\" + character, re.ASCII))
        if character in _PUNCTUATION:
            return _Match(re.compile(re.escape(character)))
        return _refuse("a backslash stands before a character that needs none")

    def _brackets(self) -> _Match:
        found = _BRACKETS.match(self._text, self._at)
        if found is None or any(sign in found.group() for sign in _SET_OPERATORS):
            _refuse("a bracket expression is not of a plain form")
        self._at = found.end()
        try:
            return _Match(re.compile(found.group(), re.ASCII))
        except re.error:
            return _refuse("a bracket expression is not of a plain form")

    def _take(self, sign: str) -> bool:
        taken = self._text.startswith(sign, self._at)
        self._at += len(sign) if taken else 0
        return taken


def _refuse(reason: str) -> NoReturn:
    raise CocoSetting(f"allowed_endpoints: {reason}")
