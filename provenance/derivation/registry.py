"""The derivation rules by name, each with its version: a rule that changes gets a new version.

Order: the rule is looked up -> the rule binds artefacts to subjects -> parses -> derives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from provenance.derivation import snp_launch, stated
from provenance.errors import RuleUnknown
from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

Apply = Callable[[AdmittedStatement, DerivationRequest, Sequence[Artifact]], tuple[DerivedValue, ...]]


class Rule(msgspec.Struct, frozen=True):
    """One derivation rule.

    Attributes:
        name: as requests name it.
        version: raised whenever the same input would give another value.
        apply: the rule itself.
    """

    name: str
    version: int
    apply: Apply


_RULES: Final = {
    rule.name: rule
    for rule in (
        Rule(snp_launch.NAME, snp_launch.VERSION, snp_launch.apply),
        Rule(stated.NAME, stated.VERSION, stated.apply),
    )
}


def rules() -> tuple[Rule, ...]:
    """Every rule there is, by name."""
    return tuple(_RULES[name] for name in sorted(_RULES))


def derive(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """Derive the values that an admitted statement, a launch shape and artefacts determine.

    Args:
        admitted: the statement; every artefact must be one of its subjects.
        request: rule, launch shape, subject names, group and expiry (docs/formats.md).
        artifacts: artefacts at hand.

    Returns:
        At least one value; validity starts at the statement's ``signed_at``.

    Raises:
        RuleUnknown: no rule of that name.
        SubjectMismatch: an artefact is not a subject of the statement.
        DerivationError: the inputs do not determine a measurement, or are malformed.
        PredicateUnexpected: the statement does not carry the predicate that the rule takes over.
    """
    rule = _RULES.get(request.rule)
    if rule is None:
        raise RuleUnknown(f"no derivation rule of that name; there are: {', '.join(sorted(_RULES))}")
    return rule.apply(admitted, request, artifacts)
