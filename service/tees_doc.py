"""Generates ``docs/tees.md`` from the records of the TEEs, so that the two cannot differ.

``python -m service.tees_doc > docs/tees.md``; a test holds the file against ``render``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

from verifier.tees import TEES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verifier.tee import Tee

_HEAD = """# TEEs

Generated from the folders of `verifier/` by `python -m service.tees_doc`; do not edit by hand.

Of each TEE: what is checked, in order, and by which source; what is not checked; its evidence document, its
claims (`input.<name>` in an appraisal policy) and the reference names that the shipped policies and
explanations know. What most TEEs can say stands under `input.common` too, in one spelling.
"""


def render() -> str:
    """The whole page."""
    lines = [_HEAD, "| TEE | name | Confidential Containers | settings |", "|---|---|---|---|"]
    for tee in TEES.values():
        known = "yes" if tee.coco is not None else "no"
        lines.append(f"| [{tee.title}](#{_anchor(tee)}) | `{tee.name}` | {known} | {_section(tee)} |")
    for tee in TEES.values():
        lines += ["", *_page(tee)]
    return "\n".join(lines) + "\n"


def _anchor(tee: Tee) -> str:
    kept = (letter for letter in tee.title.lower() if letter.isalnum() or letter in " -_")
    return "".join(kept).replace(" ", "-")


def _section(tee: Tee) -> str:
    name = tee.name.replace("-", "_")
    return f"[`[{name}]`](configuration.md#{name})"


def _page(tee: Tee) -> Iterator[str]:
    yield f"## {tee.title}"
    yield ""
    yield from ("| checked, in order | source |", "|---|---|")
    yield from (f"| {what} | {source} |" for what, source in tee.checks)
    yield ""
    yield "Not checked:"
    yield ""
    yield from (f"- {sentence}" for sentence in tee.unchecked)
    yield ""
    yield f'Evidence document (`"tee": "{tee.name}"`): {_members(tee)}. Binding: {tee.binding_size} bytes.'
    options = sorted(_option(item) for item in tee.inspects)
    if options:
        yield ""
        yield f"`touchstone verify` takes with it: {', '.join(options)}."
    yield ""
    yield from ("<details><summary>Claims</summary>", "")
    yield from ("| claim | type |", "|---|---|")
    yield from (f"| `{name}` | {kind} |" for name, kind in _claims(tee.claims))
    yield from ("", "</details>")
    if tee.reference_names:
        yield from ("", "| reference name | held against |", "|---|---|")
        yield from (f"| `{name}` | `{tee.name}.{claim}` |" for name, claim in _names(tee))


def _names(tee: Tee) -> Iterator[tuple[str, str]]:
    yield from sorted(tee.reference_names.items())


def _members(tee: Tee) -> str:
    fields = msgspec.structs.fields(tee.evidence)
    return ", ".join(f"`{field.name}`" + ("" if field.required else " (optional)") for field in fields)


def _option(item: str) -> str:
    role = item.removeprefix("files.")
    if role != item:
        return f"`--with {role}=FILE`"
    return {
        "certificates": "`--certificate`",
        "anchors": "`--anchor`",
        "ek_roots": "`--ek-root`",
        "attestation_keys": "`--trusted-ak`",
        "pcr_selection": "`--pcrs`",
    }.get(item, f"`--{item.replace('_', '-')}`")


def _claims(kind: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, hint in get_type_hints(kind, include_extras=True).items():
        optional = get_origin(hint) is NotRequired
        member = get_args(hint)[0] if optional else hint
        if is_typeddict(member):
            yield from _claims(member, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _type(member) + (", where there is one" if optional else "")


def _type(kind: Any) -> str:
    plain = {str: "text", int: "number", bool: "boolean", type(None): "null", Any: "any"}
    if kind in plain:
        return plain[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is dict:
        return "object"
    if origin in (list, tuple):
        inner = arguments[0]
        return "list of objects" if is_typeddict(inner) else f"list of {_type(inner)}"
    return " or ".join(_type(argument) for argument in arguments)


if __name__ == "__main__":
    sys.stdout.write(render())
