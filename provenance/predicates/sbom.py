"""What a bill of materials says of one component, in one form for SPDX and CycloneDX.

Only identity is taken over: names, versions, package URLs, digests. Licences, relations,
vulnerabilities and everything else in the document stay where they are.

Digest algorithms get the names of in-toto's DigestSet (digest_set.md) where it has one. A digest of a
length that is not its algorithm's, that is not hex, or that contradicts another of the same component
is refused; ADLER32, MD2, MD4 and MD6 identify nothing and are left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from provenance.errors import PredicateUnexpected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_COMPONENTS: Final = 16384
MAX_TEXT: Final = 4096
# purl-spec: scheme, type, and a name in the last segment; nothing of it is resolved.
_PURL: Final = re.compile(r"pkg:/{0,2}[A-Za-z][A-Za-z0-9.+-]*/[^\s]+\Z")
_HEX: Final = re.compile(r"[0-9A-Fa-f]+\Z")
# Characters of hex that a digest of this algorithm has.
_LENGTHS: Final[Mapping[str, int]] = {
    "md5": 32,
    "sha1": 40,
    "sha224": 56,
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha3_256": 64,
    "sha3_384": 96,
    "sha3_512": 128,
    "blake2b_256": 64,
    "blake2b_384": 96,
    "blake2b_512": 128,
    "blake3": 64,
}


class Component(msgspec.Struct, frozen=True):
    """One component.

    Attributes:
        ref: ``SPDXID`` or ``bom-ref``, unique in the document; None where a CycloneDX component has none.
        name: as stated.
        version: as stated, None if absent.
        purls: package URLs, as stated; several in SPDX, at most one in CycloneDX.
        digests: algorithm to lower-case hex.
        described: the document says that this is what it describes.
    """

    ref: str | None
    name: str
    version: str | None
    purls: tuple[str, ...]
    digests: dict[str, str]
    described: bool


def digests_of(pairs: Iterable[tuple[str, str]], names: Mapping[str, str | None]) -> dict[str, str]:
    """The digests of one component.

    Args:
        pairs: algorithm as the document names it, and hex.
        names: the format's algorithms to ours; None for those that identify nothing.

    Raises:
        PredicateUnexpected: an algorithm that the format does not have, a digest that is none of it, or
            two of one algorithm that differ.
    """
    found: dict[str, str] = {}
    for stated, value in pairs:
        if stated not in names:
            raise PredicateUnexpected(
                "a component has a digest of an algorithm that its format does not have"
            )
        algorithm = names[stated]
        if algorithm is None:
            continue
        if len(value) != _LENGTHS[algorithm] or not _HEX.match(value):
            raise PredicateUnexpected(f"a component's {algorithm} digest is not hex of its length")
        if found.setdefault(algorithm, value.lower()) != value.lower():
            raise PredicateUnexpected(f"a component has two {algorithm} digests")
    return found


def purl(value: str) -> str:
    """A package URL, checked for its form only.

    Raises:
        PredicateUnexpected: it is none.
    """
    if not _PURL.match(text(value, "a package URL")):
        raise PredicateUnexpected("a component's package URL is none")
    return value


def text(value: str, what: str) -> str:
    """A text that identifies: not empty, of bounded length, printable.

    Raises:
        PredicateUnexpected: it is not.
    """
    if not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise PredicateUnexpected(f"{what} is empty, too long, or not printable")
    return value


def optional_text(value: str | None, what: str) -> str | None:
    """The same for a text that may be absent; an empty one says nothing and counts as absent."""
    return text(value, what) if value else None


def require_unique(refs: Iterable[str | None]) -> None:
    """Refuse two components of one reference, and more than ``MAX_COMPONENTS``.

    Raises:
        PredicateUnexpected: there are.
    """
    seen: set[str] = set()
    for count, ref in enumerate(refs, 1):
        if count > MAX_COMPONENTS:
            raise PredicateUnexpected(f"the bill of materials has more than {MAX_COMPONENTS} components")
        if ref is not None and ref in seen:
            raise PredicateUnexpected("two components of the bill of materials have one reference")
        if ref is not None:
            seen.add(ref)
