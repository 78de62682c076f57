"""What bills of materials and attribute reports state, for a trust policy's Rego.

Strict whether or not a policy asks: a malformed document of these predicate types is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from provenance.predicates import components, scai

if TYPE_CHECKING:
    from provenance.model import Statement
    from provenance.predicates.sbom import Component


class Contents(NamedTuple):
    """What a statement states of its subject, beside how it was built.

    Attributes:
        components: of a bill of materials; None for another predicate type.
        report: SCAI's; None for another predicate type.
    """

    components: tuple[Component, ...] | None = None
    report: scai.Report | None = None


def contents_of(statement: Statement) -> Contents:
    """The contents; both None for other predicate types.

    Raises:
        PredicateUnexpected: the predicate is not of its type's schema.
    """
    if statement.predicate_type in components.TYPES:
        return Contents(components=components.components_of(statement))
    return Contents(report=scai.report_of(statement))
