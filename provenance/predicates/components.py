"""The components that a bill of materials lists, whichever format it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provenance.predicates import cyclonedx, spdx

if TYPE_CHECKING:
    from provenance.model import Statement
    from provenance.predicates.sbom import Component

TYPES: Final = (*spdx.TYPES, *cyclonedx.TYPES)


def components_of(statement: Statement) -> tuple[Component, ...]:
    """The components, in the document's order; none for a predicate type that is no bill of materials.

    Raises:
        PredicateUnexpected: the document is not of its type's version and schema, has two components of one
            reference, or a digest or package URL that has not its form.
    """
    if statement.predicate_type in spdx.TYPES:
        return spdx.components_of(statement)
    return cyclonedx.components_of(statement)
