"""SCAI attribute reports, v0.2 and v0.3: what a producer asserts of the subject, with its evidence.

Both versions have one shape; only the predicate type differs. Types are strict where a member is read;
members that the specification does not name are ignored, as it demands of consumers. A digest of a
target, of evidence or of the producer is lower-case hex of its algorithm's length, where that is known.

An attribute is the producer's word. Nothing here fetches or verifies evidence.

Source: in-toto attestation spec/predicates/scai.md (v0.2, v0.3), spec/v1/resource_descriptor.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from provenance import statement as statements
from provenance.errors import PredicateUnexpected, StatementMalformed

if TYPE_CHECKING:
    from provenance.model import Statement

TYPES: Final = (
    "https://in-toto.io/attestation/scai/attribute-report/v0.2",
    "https://in-toto.io/attestation/scai/v0.3",
)
MAX_ATTRIBUTES: Final = 1024
MAX_TEXT: Final = 4096


class Resource(msgspec.Struct, frozen=True, rename="camel"):
    """A ResourceDescriptor; at least one of ``name``, ``uri``, ``digest`` and ``content`` is there.

    Attributes:
        name: name.
        uri: where it can be found; never fetched.
        digest: algorithm to lower-case hex.
        media_type: of the resource.
        download_location: where it can be fetched; never fetched.
        content: the resource itself, base64; not decoded.
        annotations: not interpreted.
    """

    name: str | None = None
    uri: str | None = None
    digest: dict[str, str] | None = None
    media_type: str | None = None
    download_location: str | None = None
    content: str | None = None
    annotations: dict[str, Any] | None = None


class Attribute(msgspec.Struct, frozen=True):
    """One attribute assertion.

    Attributes:
        attribute: what is asserted.
        target: what it applies to; the subject, if None.
        conditions: under which it holds; not interpreted.
        evidence: for it.
    """

    attribute: str
    target: Resource | None = None
    conditions: dict[str, Any] | None = None
    evidence: Resource | None = None


class Report(msgspec.Struct, frozen=True):
    """An attribute report.

    Attributes:
        attributes: the assertions, at least one.
        producer: who made the subject.
    """

    attributes: tuple[Attribute, ...]
    producer: Resource | None = None


def report_of(statement: Statement) -> Report | None:
    """The attribute report; None for another predicate type.

    Raises:
        PredicateUnexpected: the predicate is not of the schema, asserts nothing, or names a resource by
            nothing.
    """
    if statement.predicate_type not in TYPES:
        return None
    try:
        report = msgspec.convert(statement.predicate, Report)
    except msgspec.ValidationError as error:
        raise PredicateUnexpected(f"the attribute report is malformed: {str(error)[:200]}") from error
    if not 0 < len(report.attributes) <= MAX_ATTRIBUTES:
        raise PredicateUnexpected(f"an attribute report has 1 to {MAX_ATTRIBUTES} attributes")
    for item in report.attributes:
        if not 0 < len(item.attribute) <= MAX_TEXT or not item.attribute.isprintable():
            raise PredicateUnexpected("an attribute is empty, too long, or not printable")
        _check(item.target, "target")
        _check(item.evidence, "evidence")
    _check(report.producer, "producer")
    return report


def _check(resource: Resource | None, what: str) -> None:
    if resource is None:
        return
    # resource_descriptor.md: name is the weakest of what may identify a resource.
    if not (resource.name or resource.uri or resource.digest or resource.content):
        raise PredicateUnexpected(f"an attribute report's {what} has neither name, uri, digest nor content")
    if resource.digest:
        try:
            statements.check_digest_forms(resource.digest)
        except StatementMalformed as error:
            raise PredicateUnexpected(f"an attribute report's {what}: {error.message}") from error
