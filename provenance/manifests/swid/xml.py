"""Strict XML (``common.strict_xml``) with this room's error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import strict_xml
from common.errors import Malformed
from provenance.errors import ManifestMalformed

if TYPE_CHECKING:
    from lxml.etree import _Element


def parse(data: bytes) -> _Element:
    """The root element.

    Raises:
        ManifestMalformed: not XML of the strict kind.
    """
    try:
        return strict_xml.parse(data)
    except Malformed as error:
        raise ManifestMalformed(error.message) from error
