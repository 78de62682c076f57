"""Resource URIs: ``kbs://[host]/repository/type/tag`` and ``kbs+<plugin>://[host]/path[?query]``.

A host is kept and honoured (``guest_agent.kbs_hosts``); no host means the configured KBS. Nothing is
decoded or normalised: a segment has the characters of CoCo's resource paths, a query is ``name=value``
pairs of unreserved characters, so what is asked for is what stands there.

Source: guest-components, ``attestation-agent/deps/resource_uri``.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from common.encoding import resource_path
from common.errors import InvalidIdentifier

RESOURCE_PLUGIN: Final = "resource"
_URI: Final = re.compile(
    r"kbs(?:\+(?P<plugin>[a-z0-9][a-z0-9_-]{0,63}))?://"
    r"(?P<host>[^/?#]*)/(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?\Z"
)
HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z"
)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}\Z")
_QUERY: Final = re.compile(r"[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~-]*(?:&[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~-]*)*\Z")
_MAX_URI: Final = 2048
_MAX_SEGMENTS: Final = 16


class ResourceUri(msgspec.Struct, frozen=True):
    """What is asked for, and where.

    Attributes:
        path: segments below the plugin, without a slash at either end.
        plugin: ``resource``, or another plugin of the KBS.
        host: ``host[:port]`` in lower case; empty for the configured KBS.
        query: ``name=value&...``; empty for none.
    """

    path: str
    plugin: str = RESOURCE_PLUGIN
    host: str = ""
    query: str = ""

    @property
    def target(self) -> str:
        """Path and query below ``/kbs/v0``."""
        return f"/{self.plugin}/{self.path}" + (f"?{self.query}" if self.query else "")


def parse(text: str) -> ResourceUri:
    """A URI, or ``repository/type/tag`` of the configured KBS.

    Raises:
        InvalidIdentifier: neither.
    """
    if len(text) > _MAX_URI:
        raise InvalidIdentifier(f"a resource URI has at most {_MAX_URI} characters")
    if "://" not in text:
        return ResourceUri(resource_path(text.removeprefix("/")))
    match = _URI.match(text)
    if match is None:
        raise InvalidIdentifier(
            "a resource URI is kbs://[host]/repository/type/tag or kbs+plugin://[host]/path[?query]"
        )
    host, path, query = match["host"], match["path"], match["query"] or ""
    if host and not HOST.match(host):
        raise InvalidIdentifier("the host of the resource URI is not a name or address with a port")
    if query and not _QUERY.match(query):
        raise InvalidIdentifier("the query of the resource URI is not name=value pairs of plain characters")
    plugin = match["plugin"] or RESOURCE_PLUGIN
    if plugin == RESOURCE_PLUGIN:
        resource_path(path)
    segments = path.split("/")
    if len(segments) > _MAX_SEGMENTS or ".." in path or not all(map(_SEGMENT.match, segments)):
        raise InvalidIdentifier("a segment of the resource URI's path is not an identifier")
    return ResourceUri(path, plugin, host.lower(), query)
