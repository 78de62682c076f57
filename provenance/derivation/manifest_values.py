"""Rule ``manifest-values``: facts of a manifest become reference values by a mapping in the request.

A manifest names measurements in its issuer's words; which of them is which reference name, of which TEE,
the request says. Nothing is guessed: a fact without a mapping refuses unless the request says ``ignore``, a
mapping without a fact refuses, and so does one that fits facts of several environments without saying so.

Values of one group of the manifest (one CoMID triple, one SWID tag, one platform) are one group here. With
several groups in the manifest, each gets the request's group and its number.

Order: normal form -> mapping -> unsupported content -> every fact to at most one entry -> values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from common.encoding import identifier
from common.errors import InvalidIdentifier
from provenance.derivation.validity import expiry_of, group_of
from provenance.errors import ExpiryInvalid, LaunchShapeInvalid, NotDerivable, PredicateUnexpected
from provenance.instants import earliest, rfc3339
from provenance.manifests import values
from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue
from provenance.predicates import reference, tinfoil

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from provenance.manifests.values import Fact, Manifest

NAME: Final = "manifest-values"
VERSION: Final = 1
MAX_ENTRIES: Final = 256
_SHOWN: Final = 12
# Fields that bound a value from below: the reference value is then a minimum, not a member of a set.
_MINIMUMS: Final = frozenset({"min-svn", "min-integer"})
# Fields that no equality or minimum can stand for.
_INEXPRESSIBLE: Final = frozenset({"masked-value", "max-integer"})


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the mapping.

    Attributes:
        key: the measurement, as the normal form spells it.
        field: the field, as the normal form spells it.
        name: reference name.
        tee: the TEE that it is a value of.
        environment: members that the fact's environment must have; any, if empty.
        every_environment: take the facts of all environments that fit, not of one only.
        endorsed: take endorsed values (instead of reference values).
    """

    key: str
    field: str
    name: str
    tee: str
    environment: dict[str, str] = {}
    every_environment: bool = False
    endorsed: bool = False

    def fits(self, fact: Fact) -> bool:
        """Whether the fact is what this line names."""
        return (fact.key, fact.field, fact.endorsed) == (
            self.key,
            self.field,
            self.endorsed,
        ) and self.environment.items() <= fact.environment.items()


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request's ``launch``.

    Attributes:
        mapping: at least one line.
        unmapped: what to do with facts that no line names.
        unsupported: what to do if the manifest says things that the normal form does not carry.
    """

    mapping: tuple[Entry, ...]
    unmapped: Literal["refuse", "ignore"] = "refuse"
    unsupported: Literal["refuse", "ignore"] = "refuse"


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``).

    Raises:
        PredicateUnexpected: the statement carries no manifest.
        LaunchShapeInvalid: the mapping is malformed, ambiguous, or names what is not there.
        NotDerivable: facts without a mapping, content that is not carried, artefacts, or a field that no
            reference value can express.
        ExpiryInvalid: the request's expiry is not after now.
    """
    manifest = manifest_of(admitted)
    mapping = _mapping(request.launch)
    if artifacts or request.subjects:
        raise NotDerivable("the rule manifest-values takes no artefacts: values are as stated")
    if manifest.unsupported and mapping.unsupported == "refuse":
        raise NotDerivable(
            f"the manifest has content that is not carried: {', '.join(manifest.unsupported[:_SHOWN])}",
            advice='Say "unsupported": "ignore" if the values stand without it.',
        )
    chosen = _chosen(manifest, mapping)
    expires = _expiry(manifest, request, admitted.authentic.signed_at)
    groups = _groups(manifest, group_of(admitted, request))
    common = DerivedValue(
        name="",
        value=None,
        tee="",
        group="",
        rule=f"{NAME}/{VERSION}",
        inputs={"manifest": manifest.about},
        not_before=admitted.authentic.signed_at,
        expires=expires,
    )
    derived = [_value(fact, entry, groups[fact.group], common) for fact, entry in chosen]
    # A manifest may state one value for several instances: it is one reference value of its group.
    return tuple({(item.name, item.tee, item.group, repr(item.value)): item for item in derived}.values())


def manifest_of(admitted: AdmittedStatement) -> Manifest:
    """The normal form of the admitted statement: of a manifest, or of Tinfoil's predicates.

    Raises:
        PredicateUnexpected: it carries neither.
    """
    statement = admitted.authentic.statement
    if statement.predicate_type in tinfoil.PREDICATE_TYPES:
        return tinfoil.manifest_of(statement)
    return values.manifest_of(statement)


def _mapping(launch: dict[str, Any]) -> Mapping:
    try:
        mapping = msgspec.convert(launch, type=Mapping, strict=True)
    except msgspec.ValidationError as error:
        raise LaunchShapeInvalid(f"the mapping cannot be read: {str(error)[:200]}") from error
    if not 1 <= len(mapping.mapping) <= MAX_ENTRIES:
        raise LaunchShapeInvalid(f"the mapping has {len(mapping.mapping)} lines, 1 to {MAX_ENTRIES} may be")
    for entry in mapping.mapping:
        try:
            identifier(entry.name, what="a reference name of the mapping")
        except InvalidIdentifier as error:
            raise LaunchShapeInvalid(error.message) from error
        if entry.tee not in reference.TEES:
            raise LaunchShapeInvalid(f"the mapping's tee is not of {', '.join(reference.TEES)}")
        if entry.field in _INEXPRESSIBLE:
            raise NotDerivable(f"no reference value can express the field {entry.field}")
    return mapping


def _chosen(manifest: Manifest, mapping: Mapping) -> list[tuple[Fact, Entry]]:
    chosen: list[tuple[Fact, Entry]] = []
    unmapped = []
    for fact in manifest.facts:
        fitting = [entry for entry in mapping.mapping if entry.fits(fact)]
        if len({(entry.name, entry.tee) for entry in fitting}) > 1:
            raise LaunchShapeInvalid(f"two lines of the mapping fit {_shown(fact)}")
        if fitting:
            chosen.append((fact, fitting[0]))
        else:
            unmapped.append(fact)
    for entry in mapping.mapping:
        _require_one_environment(entry, [fact for fact, of in chosen if of is entry])
    if unmapped and mapping.unmapped == "refuse":
        names = list(dict.fromkeys(_shown(fact) for fact in unmapped))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise NotDerivable(
            f"the mapping does not name {', '.join(names[:_SHOWN])}{more}",
            advice='Map them, or say "unmapped": "ignore".',
        )
    return chosen


def _require_one_environment(entry: Entry, facts: Sequence[Fact]) -> None:
    if not facts:
        raise LaunchShapeInvalid(
            f"the manifest has no {entry.key!a} {entry.field!a} in the environment that the mapping names"
        )
    environments = {tuple(sorted(fact.environment.items())) for fact in facts}
    if len(environments) > 1 and not entry.every_environment:
        raise LaunchShapeInvalid(
            f"{entry.key!a} {entry.field!a} is stated for {len(environments)} environments",
            advice="Name the one that is meant, or say every_environment.",
        )


def _groups(manifest: Manifest, base: str) -> dict[str, str]:
    names = list(dict.fromkeys(fact.group for fact in manifest.facts))
    if len(names) == 1:
        return {names[0]: base}
    try:
        return {name: identifier(f"{base}.{number}", what="group") for number, name in enumerate(names)}
    except InvalidIdentifier as error:
        raise LaunchShapeInvalid("the group's name is too long to be numbered") from error


def _expiry(manifest: Manifest, request: DerivationRequest, signed_at: datetime) -> datetime | None:
    stated = None
    if manifest.expires is not None:
        stated = rfc3339(manifest.expires)
        if stated is None:
            raise PredicateUnexpected("the manifest's expiry is not an RFC 3339 date-time")
    expires = earliest(expiry_of(request, signed_at), stated)
    if expires is not None and expires <= signed_at:
        raise ExpiryInvalid("the manifest had expired when it was judged")
    return expires


def _value(fact: Fact, entry: Entry, group: str, common: DerivedValue) -> DerivedValue:
    reference.check_value(
        reference.StatedValue(name=entry.name, value=fact.value, tee=entry.tee, group=group)
    )
    own = {
        "measurement": {"key": fact.key, "field": fact.field, "group": fact.group},
        "environment": fact.environment,
    }
    return msgspec.structs.replace(
        common,
        name=entry.name,
        value=fact.value,
        tee=entry.tee,
        group=group,
        inputs=common.inputs | own,
        scalar=fact.field in _MINIMUMS,
    )


def _shown(fact: Fact) -> str:
    return f"{fact.key[:64]!a} {fact.field[:64]!a}" + (" (endorsed)" if fact.endorsed else "")
