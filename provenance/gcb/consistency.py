"""What ``gcloud`` prints around a signed payload must say what the payload says.

None of it is signed, and none of it is used; but a person reads it, and tools match images by it. So it
either agrees or the document is refused:

1. the occurrence is a ``BUILD``;
2. the resource's digest and both digests of the image summary are one SHA-256, a subject's;
3. the readable copy is the signed statement.

The comparison of (3) is of JSON values, exact but for two members of v0.1 that the service is known to
print differently, ``recipe.definedInMaterial`` and ``metadata.buildInvocationId``, and for the v0.1
defaults ``completeness`` and ``reproducible`` where one side leaves out what the other states as false.

Source: slsa-framework/slsa-verifier v2.7.1, verifiers/internal/gcb/provenance.go (VerifyMetadata,
VerifySummary, VerifyTextProvenance) and slsaprovenance/v0.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from provenance import statement as in_toto
from provenance.errors import ImageSummaryMismatch, TextMismatch
from provenance.predicates.gcb import PREDICATE_V01

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.checks import Checks
    from provenance.gcb.document import Description, Occurrence
    from provenance.model import Statement

_KIND: Final = "BUILD"
_IMAGE_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})\Z")
_SOURCE: Final = "slsa-verifier v2.7.1, verifiers/internal/gcb/provenance.go"
# The text copy of v0.1 has its predicate under this name.
TEXT_PREDICATE: Final = "slsaProvenance"
_COMPLETENESS: Final = ("arguments", "environment", "materials")


def require(description: Description, occurrence: Occurrence, statement: Statement, checks: Checks) -> None:
    """Hold everything unsigned against the signed statement.

    Raises:
        ImageSummaryMismatch: kind, resource or image summary.
        TextMismatch: the readable copy.
    """
    checks.require(
        "gcb.kind",
        occurrence.kind == _KIND,
        ImageSummaryMismatch,
        expected=_KIND,
        observed=occurrence.kind[:64],
        source=f"{_SOURCE}, VerifyMetadata",
    )
    _require_image(description, occurrence, statement, checks)
    checks.require(
        "gcb.text",
        _text_agrees(occurrence, statement),
        TextMismatch,
        source=f"{_SOURCE}, VerifyTextProvenance",
        note="the readable copy of the statement is not what was signed",
    )


def _require_image(
    description: Description, occurrence: Occurrence, statement: Statement, checks: Checks
) -> None:
    digest = description.summary.digest
    match = _IMAGE_DIGEST.match(digest)
    checks.require(
        "gcb.image_subject",
        match is not None and in_toto.find_subject(statement, "sha256", match[1]) is not None,
        ImageSummaryMismatch,
        expected="the SHA-256 of a subject",
        observed=digest[:128],
        source=f"{_SOURCE}, VerifySummary",
    )
    stated = {
        "resourceUri": occurrence.resource_uri,
        "fully_qualified_digest": description.summary.fully_qualified_digest,
    }
    checks.require(
        "gcb.image_names",
        all(name.endswith(f"@{digest}") for name in stated.values()),
        ImageSummaryMismatch,
        expected=f"...@{digest[:128]}",
        observed={member: name[:512] for member, name in stated.items()},
        source=f"{_SOURCE}, VerifyMetadata and VerifySummary",
    )


def _text_agrees(occurrence: Occurrence, statement: Statement) -> bool:
    old = statement.predicate_type == PREDICATE_V01
    text = occurrence.build.v01 if old else occurrence.build.v1
    if text is None:
        return False
    given = {
        "_type": statement.type,
        "predicateType": statement.predicate_type,
        "subject": [{"name": item.name, "digest": item.digest} for item in statement.subjects],
    }
    member = TEXT_PREDICATE if old else "predicate"
    if set(text) != {*given, member} or any(text[name] != value for name, value in given.items()):
        return False
    if not old:
        return bool(text[member] == statement.predicate)
    return isinstance(text[member], dict) and _comparable(text[member]) == _comparable(statement.predicate)


def _comparable(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """A v0.1 predicate without what the service is known to print differently."""
    value = dict(predicate)
    recipe, metadata = value.get("recipe"), value.get("metadata")
    if isinstance(recipe, dict):
        value["recipe"] = {name: item for name, item in recipe.items() if name != "definedInMaterial"}
    if isinstance(metadata, dict):
        complete = metadata.get("completeness")
        stated = complete if isinstance(complete, dict) else {}
        value["metadata"] = {
            **{name: item for name, item in metadata.items() if name != "buildInvocationId"},
            "completeness": {name: stated.get(name, False) for name in _COMPLETENESS},
            "reproducible": metadata.get("reproducible", False),
        }
    return value
