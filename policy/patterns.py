r"""Which regular expressions mean the same to both engines: dialects are RE2 (OPA) and Rust's (regorus).

Admitted: printable ASCII; letters and digits that stand for themselves; ``.``, ``^``, ``$``, ``|``; groups
without flags or names; classes of literals and ranges, negated or not; ``\`` before punctuation; ``*``,
``+``, ``?``, ``{n}``, ``{n,m}`` with counts up to ``MAX_COUNT``, each once, and counts not after a group.

Not admitted: ``\d``, ``\w``, ``\b`` and the like (ASCII in one dialect, Unicode in the other), flags,
class operators (``&&``, ``--``, ``~~``, nested classes: Rust's), counts of counts (their size differs).

Both match in time that is linear in the text, whatever the pattern.
"""

from __future__ import annotations

import re
from typing import Final

MAX_PATTERN: Final = 256
MAX_COUNT: Final = 128

# A member of a class: a literal, or an escaped punctuation mark; ``-``, ``]`` and ``^`` by escape only, but
# for one ``-`` at either end.
_MEMBER: Final = r"(?:[A-Za-z0-9_/:.,;@%#=+*?!(){}|<>$ '\"]|\\[-\]\[\\^./+*?$|(){}])"
_CLASS: Final = rf"\[\^?-?(?:{_MEMBER}-{_MEMBER}|{_MEMBER})+-?\]"
_ATOM: Final = rf"(?:[A-Za-z0-9_/:,;@%#=!<>' \"-]|\.|\\[-\]\[\\^./+*?$|(){{}}]|{_CLASS})"
_COUNT: Final = r"\{(?P<low>[0-9]{1,3})(?:,(?P<high>[0-9]{1,3})?)?\}"
_PIECE: Final = re.compile(
    r"(?:(?P<group>\((?!\?))|(?P<close>\)(?:[*+?](?![*+?{]))?(?!\{))"
    r"|(?P<anchor>[\^$](?![*+?{]))|(?P<alternative>\|)"
    rf"|(?P<atom>{_ATOM})(?:[*+?]|{_COUNT})?(?![*+?{{]))"
)
_RANGE: Final = re.compile(r"(\\?.)-(\\?[^\]])")


def portable_pattern(pattern: str) -> bool:
    """Whether both engines read ``pattern`` alike."""
    if len(pattern) > MAX_PATTERN or not pattern.isascii() or not pattern.isprintable():
        return False
    position, depth = 0, 0
    fresh = True  # nothing stands yet that a repetition could repeat, or an alternative could lack
    while position < len(pattern):
        piece = _PIECE.match(pattern, position)
        if piece is None or not _counts_hold(piece) or not _ranges_hold(piece["atom"]):
            return False
        if fresh and (piece["close"] or piece["alternative"]):
            return False
        depth += bool(piece["group"]) - bool(piece["close"])
        if depth < 0:
            return False
        fresh = bool(piece["group"] or piece["alternative"])
        position = piece.end()
    return depth == 0 and not fresh


def _counts_hold(piece: re.Match[str]) -> bool:
    low, high = piece["low"], piece["high"]
    if low is None:
        return True
    return int(low) <= int(high or low) <= MAX_COUNT


def _ranges_hold(atom: str | None) -> bool:
    if atom is None or not atom.startswith("["):
        return True
    return all(low[-1] <= high[-1] for low, high in _RANGE.findall(atom[1:-1]))
