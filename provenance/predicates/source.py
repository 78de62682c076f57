"""Source repositories, refs and globs: one spelling for each, so that comparisons mean something.

A source URI stands in four spellings in the wild (``github.com/a/b``, ``https://github.com/a/b``,
``git+https://github.com/a/b@refs/tags/v1``, ``git+https://...git``); ``normalise`` gives
``https://github.com/a/b``. Nothing else is folded: paths keep their case, and other schemes are refused.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from provenance.errors import SourceUntrusted

_SPDX_GIT_PREFIX: Final = "git+"  # SPDX download-location syntax, used by SLSA resource descriptors
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?\Z")
_PATH = re.compile(r"[A-Za-z0-9_.~/+-]+\Z")


class SourceRef(msgspec.Struct, frozen=True):
    """A source URI taken apart.

    Attributes:
        uri: normalised, without ref.
        ref: what followed ``@`` (``refs/tags/v1``), if anything.
    """

    uri: str
    ref: str | None


def split(text: str) -> SourceRef:
    """Take a source URI apart and normalise it.

    Raises:
        SourceUntrusted: another scheme, user information, a query, a fragment, ``.`` or ``..`` in the
            path, or characters outside the unreserved set.
    """
    rest = text.removeprefix(_SPDX_GIT_PREFIX)
    if "://" in rest:
        scheme, _, rest = rest.partition("://")
        if scheme != "https":
            raise SourceUntrusted("a source URI is not https")
    elif text.startswith(_SPDX_GIT_PREFIX):
        raise SourceUntrusted("a source URI has no scheme")
    location, at, ref = rest.partition("@")
    host, _, path = location.partition("/")
    path = path.rstrip("/").removesuffix(".git")
    if not _HOST.match(host) or not _PATH.match(path):
        raise SourceUntrusted("a source URI is not https://host/path")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise SourceUntrusted("a source URI has an empty or relative path segment")
    return SourceRef(uri=f"https://{host.lower()}/{path}", ref=ref if at else None)


def normalise(text: str) -> str:
    """The normalised URI without its ref.

    Raises:
        SourceUntrusted: see ``split``.
    """
    return split(text).uri


def glob_matches(pattern: str, text: str) -> bool:
    """Whether ``text`` matches ``pattern``, in which ``*`` stands for any characters but ``/``.

    Nothing else is special. ``*`` never crosses a slash: ``.../build.yml@refs/tags/*`` does not match
    ``.../build.yml@refs/tags/v1/../../heads/evil``.
    """
    # The pieces are matched left to right without a regular expression, so that a pattern of many
    # stars cannot backtrack; slashes split the text first because no star may cross one.
    wanted, given = pattern.split("/"), text.split("/")
    return len(wanted) == len(given) and all(map(_segment_matches, wanted, given))


def _segment_matches(pattern: str, text: str) -> bool:
    head, *middle = pattern.split("*")
    if not middle:
        return pattern == text
    tail = middle.pop()
    if not text.startswith(head) or not text.endswith(tail) or len(text) < len(head) + len(tail):
        return False
    position, end = len(head), len(text) - len(tail)
    for piece in middle:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
