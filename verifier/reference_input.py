"""Reference values as a policy sees them (``policy.port.ReferenceEntry``), and the groups they share.

A release matches as a whole: each value comes with the names of the groups (releases) that hold it, so that
a policy can demand one group for all that it compares (``reference_groups``). Groups are those of the rows
that count now; of a value that very many releases share, those that matter to the rest of the evidence
(``rvps.lookup``), which is what bounds their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from policy.port import ReferenceEntry, canonical_key
from verifier.reference_names import IDENTITIES, observed_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rvps.model import DeclaredReference, ReferenceValue


def entries(
    values: Iterable[ReferenceValue], declared: Iterable[DeclaredReference] = ()
) -> dict[str, dict[str, ReferenceEntry]]:
    """Entries by name and canonical text of the value.

    Of what is both verified and declared one entry stands, with the groups of the one and the mark of the
    other. Values that share their text and not their type (``3`` and ``"3"``) share an entry's place: what
    is declared then stands beside it, under a key that no text has.
    """
    found: dict[str, dict[str, ReferenceEntry]] = {}
    for value in values:
        shelf = found.setdefault(value.name, {})
        key = canonical_key(value.value)
        known = shelf.get(key)
        if known is None or type(known.value) is not type(value.value):
            shelf[key] = ReferenceEntry(value.value, value.scalar, value.group, (value.group,))
        else:
            groups = known.groups if value.group in known.groups else (*known.groups, value.group)
            # In order, so that equal values give equal documents, however they were read.
            shelf[key] = replace(
                known, scalar=value.scalar, group=min(groups), groups=tuple(sorted(groups))
            )
    for word in declared:
        shelf = found.setdefault(word.name, {})
        for number, member in enumerate(word.members):
            _declare(shelf, member, f"{word.id}#{number}", scalar=word.scalar)
    return found


def _declare(shelf: dict[str, ReferenceEntry], member: Any, other_key: str, *, scalar: bool) -> None:
    key = canonical_key(member)
    known = shelf.get(key)
    if known is None:
        shelf[key] = ReferenceEntry(member, scalar, declared=True)
    elif type(known.value) is type(member) and known.value == member:
        shelf[key] = replace(known, scalar=known.scalar and scalar, declared=True)
    else:
        shelf[other_key] = ReferenceEntry(member, scalar, declared=True)


def groups_met(
    values: Sequence[ReferenceValue], names: Iterable[str], claims: Mapping[str, Any]
) -> dict[str, frozenset[str]]:
    """Of each well-known name that the evidence meets a value of: the groups that hold it.

    Names of identities are left out: which machine it is, no release says.
    """
    found: dict[str, frozenset[str]] = {}
    for name in names:
        observed = observed_value(name, claims)
        if observed is None or name in IDENTITIES:
            continue
        claim = observed[1]
        groups = frozenset(
            value.group
            for value in values
            if value.name == name and value.value == claim and type(value.value) is type(claim)
        )
        if groups:
            found[name] = groups
    return found
