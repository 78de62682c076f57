"""The in-toto Statement, strictly: what a signature layer lets through is refused here.

Signature verification says nothing about duplicate JSON members, empty subject lists, digests that are
not hex or digests of broken algorithms; each would let one signed payload be read in two ways, or
bind nothing. Order: JSON (size, depth, duplicates) -> shape -> type -> subjects.

Not done here: the meaning of a predicate (``provenance.predicates.slsa``) and trust (``provenance.trust``).

Sources: in-toto attestation framework, spec/v1/statement.md, spec/v1/digest_set.md,
spec/v1/resource_descriptor.md; v0.1: spec/v0.1.0/statement.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.errors import InputError
from provenance.errors import StatementMalformed
from provenance.model import Statement, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STATEMENT_V1: Final = "https://in-toto.io/Statement/v1"
STATEMENT_V01: Final = "https://in-toto.io/Statement/v0.1"
# in-toto attestation, spec/v1/envelope.md: the payloadType of a DSSE envelope.
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_STATEMENT_BYTES: Final = 4 << 20
MAX_SUBJECTS: Final = 4096

# Characters of hex that a digest of this algorithm has (digest_set.md). SHA-1 and MD5 are read but
# never suffice.
_HEX_LENGTH: Final = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
STRONG_ALGORITHMS: Final = ("sha256", "sha384", "sha512")
_HEX = re.compile(r"[0-9a-f]+\Z")
# Verification summaries are also issued for what has an identifier and no digest (a cloud's disk image).
# Whether such a subject counts is the trust policy's word (``provenance.trust.vsa_rules``); no artefact
# at hand ever matches one.
OPAQUE_SUBJECT_TYPES: Final = (
    "https://slsa.dev/verification_summary/v1",
    "https://slsa.dev/verification_summary/v0.2",
)

_MEMBERS = frozenset({"_type", "subject", "predicateType", "predicate"})
# ResourceDescriptor: further members carry no identity and are ignored, others are refused.
_SUBJECT_MEMBERS = frozenset(
    {"name", "digest", "uri", "content", "downloadLocation", "mediaType", "annotations"}
)


def parse(payload: bytes) -> Statement:
    """Parse the payload of a verified envelope.

    Args:
        payload: the signed bytes, UTF-8 JSON.

    Raises:
        StatementMalformed: not JSON, a duplicate or unknown member, another type, no subject, a
            subject without a SHA-256, SHA-384 or SHA-512 digest in lower-case hex, one subject name
            with two digests, or no predicate object.
    """
    try:
        document = strict_json.loads(payload, what="the statement", max_bytes=MAX_STATEMENT_BYTES)
    except InputError as error:
        raise StatementMalformed(error.message) from error
    if not isinstance(document, dict):
        raise StatementMalformed("the statement is not an object")
    return from_document(document)


def from_document(document: Mapping[str, Any]) -> Statement:
    """The statement that a decoded payload is, for formats that wrap it.

    Args:
        document: the payload as ``strict_json`` decoded it.

    Raises:
        StatementMalformed: see ``parse``.
    """
    unknown = set(document) - _MEMBERS
    if unknown:
        raise StatementMalformed(f"the statement has unknown members: {_names(unknown)}")
    kind = document.get("_type")
    if kind not in (STATEMENT_V1, STATEMENT_V01):
        raise StatementMalformed("_type is neither Statement v1 nor v0.1")
    # in-toto spec/v1/statement.md: "Unset is treated the same as set-but-empty"; cosign leaves it out.
    predicate = document.get("predicate", {})
    if not isinstance(predicate, dict):
        raise StatementMalformed("the predicate is not an object")
    predicate_type = _text(document.get("predicateType"), "predicateType")
    return Statement(
        type=kind,
        subjects=_subjects(document.get("subject"), opaque=predicate_type in OPAQUE_SUBJECT_TYPES),
        predicate_type=predicate_type,
        predicate=predicate,
    )


def find_subject(statement: Statement, algorithm: str, digest: str) -> Subject | None:
    """The first subject with this digest (lower-case hex), or None."""
    for subject in statement.subjects:
        if subject.digest.get(algorithm) == digest:
            return subject
    return None


def check_digests(value: object) -> dict[str, str]:
    """A digest set that identifies an artefact, as a subject's must.

    Raises:
        StatementMalformed: not an object of strings, known algorithms not in lower-case hex of their
            length, or no SHA-256, SHA-384 or SHA-512 digest.
    """
    return _digest_set(value)


def check_digest_forms(digests: Mapping[str, str]) -> None:
    """Digests of a resource that need not identify an artefact by themselves (a Git commit).

    Raises:
        StatementMalformed: one is empty, or of a known algorithm and not in lower-case hex of its length.
    """
    for algorithm, digest in digests.items():
        _check_digest(algorithm, digest)


def _subjects(value: object, *, opaque: bool) -> tuple[Subject, ...]:
    if not isinstance(value, list) or not value:
        raise StatementMalformed("the statement has no subject")
    if len(value) > MAX_SUBJECTS:
        raise StatementMalformed(f"the statement has {len(value)} subjects, the limit is {MAX_SUBJECTS}")
    subjects = tuple(_subject(item, opaque=opaque) for item in value)
    _refuse_ambiguity(subjects)
    return subjects


def _subject(value: object, *, opaque: bool) -> Subject:
    if not isinstance(value, dict):
        raise StatementMalformed("a subject is not an object")
    unknown = set(value) - _SUBJECT_MEMBERS
    if unknown:
        raise StatementMalformed(f"a subject has unknown members: {_names(unknown)}")
    name = value.get("name", "")
    if not isinstance(name, str):
        raise StatementMalformed("a subject's name is not a string")
    return Subject(name=name, digest=_digest_set(value.get("digest"), opaque=opaque))


def _digest_set(value: object, *, opaque: bool = False) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise StatementMalformed("a subject has no digest")
    for algorithm, digest in value.items():
        _check_digest(algorithm, digest)
    named = opaque and not _HEX_LENGTH.keys() >= value.keys()
    if not named and not any(algorithm in value for algorithm in STRONG_ALGORITHMS):
        raise StatementMalformed(
            "a subject has only digests weaker than SHA-256 or of algorithms that are not known"
        )
    return dict(value)


def _check_digest(algorithm: str, digest: Any) -> None:
    if not isinstance(digest, str) or not digest:
        raise StatementMalformed("a subject's digest is not a string")
    length = _HEX_LENGTH.get(algorithm)
    if length is not None and (len(digest) != length or not _HEX.match(digest)):
        raise StatementMalformed(
            f"a subject's {algorithm} digest is not {length} lower-case hex characters"
        )


def _refuse_ambiguity(subjects: Iterable[Subject]) -> None:
    # A name that stands for two artefacts lets a caller pick the one it likes.
    seen: dict[str, dict[str, str]] = {}
    for subject in subjects:
        if subject.name and seen.setdefault(subject.name, subject.digest) != subject.digest:
            raise StatementMalformed("one subject name has two digests")


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise StatementMalformed(f"{what} is not a string")
    return value


def _names(names: Iterable[str]) -> str:
    # Bounded and printable: the names come from a foreign document and go into a message.
    return ", ".join(ascii(name[:64]) for name in sorted(names)[:4])
