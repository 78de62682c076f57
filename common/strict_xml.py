"""XML without what XML can do: no document type, no entity, no network, bounded size and depth.

``lxml`` parses. A document type declaration is refused by its presence in the bytes, before parsing; the
encoding is UTF-8, so that this search sees what the parser sees.

Sources: XML 1.0 section 2.8; OWASP XML External Entity prevention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.errors import Malformed

if TYPE_CHECKING:
    from lxml.etree import XMLParser, _Element

MAX_BYTES: Final = 4 << 20
MAX_ELEMENTS: Final = 20_000
MAX_DEPTH: Final = 32
_DECLARATIONS: Final = (b"<!DOCTYPE", b"<!ENTITY", b"<!ELEMENT", b"<!ATTLIST", b"<!NOTATION")


def strict_parser() -> XMLParser:
    """A parser with entities, DTDs, recovery and network off."""
    from lxml import etree  # noqa: PLC0415 (heavy import)

    return etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        no_network=True,
        recover=False,
        huge_tree=False,
        remove_comments=False,
        remove_pis=False,
        encoding="utf-8",
    )


def parse(data: bytes) -> _Element:
    """The root element.

    Raises:
        Malformed: see the module's text; also comments, CDATA and processing instructions, which a
            canonical form may leave out and a reader may not.
    """
    from lxml import etree  # noqa: PLC0415 (heavy import)

    if not 0 < len(data) <= MAX_BYTES:
        raise Malformed(f"the XML document is empty or larger than {MAX_BYTES} bytes")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("the XML document is not UTF-8") from error
    if b"\x00" in data or any(word in data for word in _DECLARATIONS):
        raise Malformed("the XML document declares a document type or an entity")
    try:
        root = etree.fromstring(data, strict_parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Malformed("the document is not well-formed XML") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise Malformed("the XML document declares a document type")
    for siblings in (root.itersiblings(), root.itersiblings(preceding=True)):
        if next(siblings, None) is not None:
            raise Malformed("the XML document has content outside its root element")
    _bound(root)
    return root


def _bound(root: _Element) -> None:
    pending: list[tuple[_Element, int]] = [(root, 1)]
    count = 0
    while pending:
        element, depth = pending.pop()
        count += 1
        if count > MAX_ELEMENTS or depth > MAX_DEPTH:
            raise Malformed("the XML document has too many elements, or nests too deeply")
        if not isinstance(element.tag, str):
            raise Malformed("the XML document has a comment, an entity or a processing instruction")
        pending += [(child, depth + 1) for child in element]
