"""Supply-chain bundles: a layout and its links as one document, so that one digest covers everything.

``{"format": FORMAT, "layout": {...}, "links": {path: {...}}}``. ``layout`` and each link stand as
in-toto wrote them, Metablock or DSSE envelope. A path is the name that in-toto gives the file, relative
to the layout: ``step.keyid8.link``, and for links of a sublayout ``step.keyid8/inner.keyid8.link``
(keyid8: the first eight characters of the functionary's key id). docs/formats.md specifies it.

``assemble`` is pure: what reads the files is the command line.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.errors import InputError
from provenance.errors import LayoutMalformed
from provenance.layout import parsing
from provenance.layout.model import Metadata  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = "urn:touchstone:in-toto-supply-chain:v1"
MAX_LINKS: Final = 512
_MEMBERS: Final = frozenset({"format", "layout", "links"})
_SEGMENT: Final = re.compile(r"(?P<name>.+)\.[0-9a-f]{8}\Z", re.DOTALL)


class SupplyChain(msgspec.Struct, frozen=True):
    """A parsed bundle; nothing in it is verified.

    Attributes:
        layout: the layout.
        links: links and sublayouts by path.
    """

    layout: Metadata
    links: dict[str, Metadata]


def is_bundle(document: Mapping[str, Any]) -> bool:
    """Whether a document means to be a bundle."""
    return document.get("format") == FORMAT


def parse(document: Mapping[str, Any]) -> SupplyChain:
    """Parse a bundle.

    Args:
        document: the decoded JSON, without duplicate members.

    Raises:
        LayoutMalformed: a missing or unknown member, a path that is none, or a layout or link that is not
            strict.
    """
    if set(document) != _MEMBERS or document["format"] != FORMAT:
        raise LayoutMalformed("a supply-chain bundle has format, layout and links, nothing else")
    links = document["links"]
    if not isinstance(links, dict) or len(links) > MAX_LINKS:
        raise LayoutMalformed(f"links is not an object of at most {MAX_LINKS} members")
    for path in links:
        check_path(path)
    return SupplyChain(
        layout=parsing.metadata(document["layout"]),
        links={path: parsing.metadata(value) for path, value in links.items()},
    )


def check_path(path: str) -> None:
    """Refuse a path that in-toto would not give a link.

    Raises:
        LayoutMalformed: it is none.
    """
    if not path.endswith(".link"):
        raise LayoutMalformed("a link's path does not end in .link")
    for segment in path.removesuffix(".link").split("/"):
        match = _SEGMENT.match(segment)
        if match is None:
            raise LayoutMalformed("a link's path is not made of step.keyid8, the key id in lower-case hex")
        parsing.check_name(match["name"])


def is_link_path(path: str) -> bool:
    """Whether in-toto would give this path to a link (an inspection's ``name.link`` has no key id)."""
    try:
        check_path(path)
    except LayoutMalformed:
        return False
    return True


def assemble(layout: bytes, links: Mapping[str, bytes]) -> bytes:
    """Make a bundle.

    Args:
        layout: content of ``root.layout``.
        links: content of the link files by path relative to the layout, ``/`` between folders.

    Returns:
        UTF-8 JSON, the same for the same files.

    Raises:
        LayoutMalformed: a file is not a strict layout or link, repeats a member, or has another name.
    """
    document = {
        "format": FORMAT,
        "layout": _load(layout, "the layout"),
        "links": {path: _load(data, ascii(path[:128])) for path, data in links.items()},
    }
    parse(document)
    return json.dumps(document, ensure_ascii=False, sort_keys=True, indent=1).encode("utf-8") + b"\n"


def _load(data: bytes, what: str) -> Any:
    try:
        return strict_json.loads(data, what=what)
    except InputError as error:
        raise LayoutMalformed(error.message) from error
