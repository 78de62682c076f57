"""What derivation rules share at their end: derived values with lineage, and stated sets of shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from provenance.derivation.validity import expiry_of, group_of
from provenance.errors import LaunchShapeInvalid, NotDerivable
from provenance.model import DerivedValue
from provenance.predicates.reference import TEES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from provenance.derivation.subjects import BoundInput
    from provenance.model import AdmittedStatement, DerivationRequest

_T = TypeVar("_T")
MAX_STATED: Final = 64  # members of a stated set, each of which is a value


class Output:
    """Makes the values of one application of a rule.

    Args:
        admitted: the statement.
        request: the request; its expiry and group are read here.
        rule: name and version of the rule (``tdx-mrtd/1``).

    Raises:
        ExpiryInvalid, LaunchShapeInvalid: the request's expiry or group is malformed.
    """

    def __init__(self, admitted: AdmittedStatement, request: DerivationRequest, rule: str) -> None:
        """Read expiry and group."""
        self._not_before: datetime = admitted.authentic.signed_at
        self._expires = expiry_of(request, self._not_before)
        self._group = group_of(admitted, request)
        self._rule = rule

    def value(
        self, name: str, value: str | int, tee: str, inputs: Mapping[str, Any], *, scalar: bool = False
    ) -> DerivedValue:
        """One value of the group, with what it was derived from."""
        return DerivedValue(
            name=name,
            value=value,
            tee=tee,
            group=self._group,
            rule=self._rule,
            inputs=dict(inputs),
            not_before=self._not_before,
            expires=self._expires,
            scalar=scalar,
        )


def convert(launch: Mapping[str, Any], kind: type[_T]) -> _T:
    """The launch shape as a strict structure.

    Raises:
        LaunchShapeInvalid: a missing, unknown or ill-typed member.
    """
    try:
        return msgspec.convert(dict(launch), type=kind, strict=True)
    except msgspec.ValidationError as error:
        raise LaunchShapeInvalid(f"launch shape: {error}") from error


def one_or_many(stated: _T | list[_T], what: str) -> tuple[_T, ...]:
    """A member that is one thing or a list of different ones, as a tuple in the stated order.

    Raises:
        LaunchShapeInvalid: an empty or over-long list, or one thing twice.
    """
    members: tuple[_T, ...] = tuple(stated) if isinstance(stated, list) else (stated,)
    if not 1 <= len(members) <= MAX_STATED or len(set(members)) != len(members):
        raise LaunchShapeInvalid(f"launch shape: {what} lists 1 to {MAX_STATED} different members")
    return members


def check_tee(tee: str) -> None:
    """Demand that a stated TEE is one that reference values are kept for.

    Raises:
        LaunchShapeInvalid: it is not.
    """
    if tee not in TEES:
        raise LaunchShapeInvalid(f"launch shape: tee is not one of {', '.join(TEES)}")


def check_roles(inputs: Mapping[str, BoundInput], known: Iterable[str], what: str) -> None:
    """Demand that every artefact has a role that the rule measures.

    Raises:
        NotDerivable: another role, which would be unmeasured.
    """
    unknown = ", ".join(ascii(role[:64]) for role in sorted(inputs.keys() - set(known)))
    if unknown:
        raise NotDerivable(f"artefacts that do not enter {what}: {unknown}")


def data_of(inputs: Mapping[str, BoundInput], role: str) -> bytes:
    """The bytes of an artefact.

    Raises:
        NotDerivable: it is not given, or only its digest.
    """
    given = inputs.get(role)
    if given is None:
        raise NotDerivable(f"an artefact of role {role[:64]!a} is needed")
    if given.data is None:
        raise NotDerivable(f"the bytes of {role[:64]!a} are needed, its digest does not suffice")
    return given.data


def record(inputs: Mapping[str, BoundInput]) -> dict[str, Any]:
    """Role to SHA-256, for lineage."""
    return {role: inputs[role].sha256.hex() for role in sorted(inputs)}
