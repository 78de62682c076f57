"""Artefact rules: parsing, and applying them to the artefacts of one step or inspection.

A queue begins with all materials (or products) of the item; rules are applied in order. MATCH, CREATE,
DELETE, MODIFY and ALLOW take artefacts from the queue, DISALLOW refuses what its pattern still finds,
REQUIRE refuses unless the file is still there. What no rule takes is permitted: a list of rules should end
with ``DISALLOW *``, as the specification says.

What takes artefacts is in-toto's own (``in_toto.verifylib``, pure functions). The queue and the two
refusing rules are written here: the library's keep their trace in a module global, which two threads
would share. ``*`` in a pattern crosses ``/``, as the library's does.

Source: in-toto specification v1.0, section 4.3.3.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, Final

from provenance.errors import ArtifactRuleFailed, LayoutMalformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.layout.model import Artifacts, Link

MAX_WORD: Final = 1024
_SHOWN: Final = 4


def parse(rule: Sequence[str]) -> dict[str, Any]:
    """The parts of a rule, as ``in_toto.rulelib.unpack_rule`` names them.

    Raises:
        LayoutMalformed: it is of no form of the specification, or a word of it is too long.
    """
    from in_toto.rulelib import unpack_rule  # noqa: PLC0415 (only layouts need it)
    from securesystemslib.exceptions import FormatError  # noqa: PLC0415

    if any(len(word) > MAX_WORD for word in rule):
        raise LayoutMalformed(f"an artefact rule has a word of more than {MAX_WORD} characters")
    try:
        parts: dict[str, Any] | None = unpack_rule(list(rule))
    except FormatError as error:
        raise LayoutMalformed("an artefact rule is of no form of the specification") from error
    if parts is None or not parts["pattern"]:
        raise LayoutMalformed("an artefact rule has no pattern")
    return parts


def apply(
    where: str, kind: str, listed: Sequence[Sequence[str]], item: Link, links: Mapping[str, Link]
) -> None:
    """Apply the rules of one step or inspection to its materials or products.

    Args:
        where: the item, for messages.
        kind: ``materials`` or ``products``: whose queue, and which of the item's rules ``listed`` are.
        listed: the rules, in order.
        item: what the item recorded.
        links: by step (and inspection) name, what MATCH may refer to. A MATCH with another name takes
            nothing.

    Raises:
        ArtifactRuleFailed: a DISALLOW finds something, or a REQUIRE does not.
    """
    artifacts: Artifacts = getattr(item, kind)
    queue = set(artifacts)
    for rule in listed:
        parts = parse(rule)
        pattern = parts["pattern"]
        if parts["rule_type"] == "disallow":
            found = sorted(fnmatch.filter(queue, pattern))
            if found:
                raise _refusal(where, kind, rule, f"finds {_names(found)}")
        elif parts["rule_type"] == "require":
            if pattern not in queue:
                raise _refusal(where, kind, rule, "does not find the file")
        else:
            queue -= _taken(parts, queue, artifacts, item, links)


def _taken(
    parts: Mapping[str, Any], queue: set[str], artifacts: Artifacts, item: Link, links: Mapping[str, Link]
) -> set[str]:
    from in_toto import verifylib  # noqa: PLC0415 (only layouts need it)

    materials, products, pattern = item.materials, item.products, parts["pattern"]
    taken: set[str]
    match parts["rule_type"]:
        case "match":
            taken = verifylib.verify_match_rule(parts, queue, artifacts, links)
        case "create":
            taken = verifylib.verify_create_rule(pattern, queue, set(materials), set(products))
        case "delete":
            taken = verifylib.verify_delete_rule(pattern, queue, set(materials), set(products))
        case "modify":
            taken = verifylib.verify_modify_rule(pattern, queue, materials, products)
        case _:
            taken = verifylib.verify_allow_rule(pattern, queue)
    return taken


def _refusal(where: str, kind: str, rule: Sequence[str], why: str) -> ArtifactRuleFailed:
    return ArtifactRuleFailed(f"{where}, {kind}: rule {' '.join(rule)[:200]!a} {why}")


def _names(paths: Sequence[str]) -> str:
    shown = ", ".join(ascii(path[:64]) for path in paths[:_SHOWN])
    return shown if len(paths) <= _SHOWN else f"{shown} and {len(paths) - _SHOWN} more"
