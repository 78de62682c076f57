"""``kbs[+plugin]://[host[:port]]/path[?query]``: how guests name what a KBS has.

For plugin ``resource`` (the default) the path is ``repository/type/tag``. A path of another plugin has
one or more segments of the same characters. Nothing is decoded or normalised: what could be read in two
ways (percent signs, dots alone, empty segments) is refused.

Source: Confidential Containers, resource URI; kbs/docs of Trustee.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from common.encoding import resource_path
from common.errors import InvalidIdentifier

DEFAULT_PLUGIN: Final = "resource"
_URI: Final = re.compile(
    r"kbs(?:\+(?P<plugin>[a-z0-9][a-z0-9_-]{0,63}))?://"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?(?::[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](?::[0-9]{1,5})?)?"
    r"/(?P<path>[^?#\s]+)(?:\?(?P<query>[A-Za-z0-9_.~=&-]{0,1024}))?\Z"
)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}\Z")
_MAX_SEGMENTS: Final = 16
_MAX_URI: Final = 4096


class ResourceUri(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed URI.

    Attributes:
        path: without a leading slash.
        plugin: ``resource`` unless the scheme names one.
        host: ``host[:port]``, lower case; empty for the guest's only or first KBS.
        query: without the question mark; may be empty.
    """

    path: str
    plugin: str = DEFAULT_PLUGIN
    host: str = ""
    query: str = ""

    def __str__(self) -> str:
        """The URI."""
        scheme = "kbs" if self.plugin == DEFAULT_PLUGIN else f"kbs+{self.plugin}"
        return f"{scheme}://{self.host}/{self.path}" + (f"?{self.query}" if self.query else "")


def parse(text: str) -> ResourceUri:
    """A URI in its parts.

    Raises:
        InvalidIdentifier: not of the form.
    """
    match = _URI.match(text) if len(text) <= _MAX_URI else None
    if match is None:
        raise InvalidIdentifier("a resource is named kbs:///repository/type/tag")
    plugin = match["plugin"] or DEFAULT_PLUGIN
    return ResourceUri(
        path=_path(match["path"], plugin),
        plugin=plugin,
        host=(match["host"] or "").lower(),
        query=match["query"] or "",
    )


def of_path(path: str) -> ResourceUri:
    """``repository/type/tag`` of the guest's own KBS.

    Raises:
        InvalidIdentifier: another form.
    """
    return ResourceUri(path=resource_path(path))


def _path(text: str, plugin: str) -> str:
    if plugin == DEFAULT_PLUGIN:
        return resource_path(text)
    segments = text.split("/")
    if len(segments) > _MAX_SEGMENTS or ".." in text or not all(_SEGMENT.match(part) for part in segments):
        raise InvalidIdentifier("a segment of the resource's path is not an identifier")
    return text
