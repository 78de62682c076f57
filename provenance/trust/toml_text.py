"""Writes a proposed trust policy as TOML with a comment for each member.

Only strings, integers, booleans, lists and tables of them are written; foreign text stands in quoted
strings alone, never in a comment. Source: TOML v1.0.0, sections String and Inline Table.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from provenance.errors import TrustPolicyInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provenance.trust.proposal import Proposal

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+\Z")
_DELETE: Final = "\x7f"  # the one control character that JSON leaves as it is and TOML does not
_TABLES: Final = ("signers", "builders", "sources")
_COMMENTS: Final[Mapping[str, str]] = {
    "serial": "Raise it with every change: a server never goes back to a lower one.",
    "expires": "From then on the policy admits nothing. Issue it anew before.",
    "predicate_types": "What may be attested, exact.",
    "threshold": "How many of the signers below must have signed one attestation.",
    "external_parameters": "Parameters of this build that have no known meaning: read what they do.",
    "parameter_values": "Parameters that must be there, each with the values that are accepted.",
    "dispatch_inputs": "What a person typed when starting this build. Others are refused.",
    "allow_self_hosted": "MIND: the example was not built on a runner that GitHub hosts (or does not say).",
}
_TABLE_COMMENTS: Final[Mapping[str, str]] = {
    "roots": "Who vouches for signers. Nobody below counts unless one of these proves them.",
    "signers": "Who may sign. `*` stands for any characters but `/`: other workflows are refused.",
    "builders": "Which builder must have built; exact. Without `ref` any tag of it, never a branch.",
    "sources": "From which repository, ref and workflow.",
}


def render(proposal: Proposal, roots: Sequence[Mapping[str, Any]]) -> str:
    """The proposal as TOML.

    Args:
        proposal: what to write.
        roots: its roots as they are to stand in the file (with ``trusted_root_file``, ``key_file``).

    Raises:
        TrustPolicyInvalid: a value that TOML cannot hold.
    """
    lines = [
        f"# Proposed from the attestation {proposal.authentic.attestation}.",
        "# It admits that one and others of its release line. Read every line before you trust it:",
        "# docs/trust-policy.md has every member; `touchstone policy explain` shows what it does.",
        "",
    ]
    for name, value in proposal.members.items():
        if name not in _TABLES:
            if name in _COMMENTS:
                lines.append(f"# {_COMMENTS[name]}")
            lines.append(f"{_key(name)} = {_value(value)}")
    lines += [
        "# Oldest accepted signature, by logged time; a year:",
        "# max_age_seconds = 31536000",
    ]
    lines += _tables("roots", roots)
    for name in _TABLES:
        lines += _tables(name, proposal.members.get(name, ()))
    return "\n".join(lines) + "\n"


def _tables(name: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if entries:
        yield from ("", f"# {_TABLE_COMMENTS[name]}")
    for number, entry in enumerate(entries):
        if number:
            yield ""
        yield f"[[{name}]]"
        for key, value in entry.items():
            if value is not None:
                yield f"{_key(key)} = {_value(value)}"


def _key(name: str) -> str:
    return name if _BARE.match(name) else _string(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    raise TrustPolicyInvalid(
        f"the proposal has a value that TOML cannot hold ({type(value).__name__})",
        advice="Write the policy as JSON by hand: docs/trust-policy.md gives the format.",
    )


def _string(text: str) -> str:
    # Escapes of JSON are a subset of TOML's basic strings.
    return json.dumps(text, ensure_ascii=False).replace(_DELETE, "\\u007F")
