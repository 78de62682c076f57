"""Rule ``reference-values``: takes over the values of our own predicate, as stated.

Nothing is computed here: whoever signed the statement vouches for the values, and the trust policy has
decided to take that signer's word. The attestations that the statement names as its sources go into the
inputs, so that retracting one of them can find the values.

Order: predicate -> nothing else may be given -> expiry -> values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from provenance.derivation.validity import expiry_of, group_of
from provenance.errors import ExpiryInvalid, LaunchShapeInvalid, NotDerivable
from provenance.instants import earliest
from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue
from provenance.predicates import reference as reference_predicate

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME: Final = "reference-values"
VERSION: Final = 1


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): every value that the statement states.

    The request's ``group`` replaces the stated ones; its ``expires`` can only shorten the stated one.

    Raises:
        PredicateUnexpected: the statement does not carry our predicate.
        LaunchShapeInvalid: the request has a launch shape, which could change nothing.
        ExpiryInvalid: the request's or the statement's expiry is not after its signature.
        NotDerivable: artefacts or subject names are given, which could change nothing either.
    """
    stated = reference_predicate.parse(admitted.authentic.statement)
    if request.launch:
        raise LaunchShapeInvalid("the rule reference-values takes no launch shape: values are as stated")
    if artifacts or request.subjects:
        raise NotDerivable("the rule reference-values takes no artefacts: values are as stated")
    signed_at = admitted.authentic.signed_at
    expires = earliest(expiry_of(request, signed_at), stated.expires)
    if expires is not None and expires <= signed_at:
        raise ExpiryInvalid("the stated values had expired when the statement was signed")
    inputs: dict[str, Any] = {
        "statedRule": stated.rule,
        "derivedFrom": [msgspec.to_builtins(source) for source in stated.derived_from],
    }
    group = group_of(admitted, request) if request.group is not None else None
    return tuple(
        DerivedValue(
            name=value.name,
            value=value.value,
            tee=value.tee,
            group=group or value.group,
            rule=f"{NAME}/{VERSION}",
            inputs=inputs | {"stated": stated.inputs | value.inputs},
            not_before=signed_at,
            expires=expires,
            scalar=value.scalar,
        )
        for value in stated.values
    )
