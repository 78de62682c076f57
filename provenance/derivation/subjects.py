"""Binds artefacts to subjects of the statement: nothing enters a derivation that was not attested.

* An artefact at hand is hashed here; a subject must state that digest. Where the request names the
  subject (``subjects``), it must be that one. A subject that states several strong digests must
  agree with the artefact on all of them: one of two that fits is a contradiction, not a match.
* A role without bytes is known by the SHA-256 of the subject that the request names for it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from provenance.errors import NotDerivable, SubjectMismatch
from provenance.statement import STRONG_ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, Statement, Subject


class BoundInput(msgspec.Struct, frozen=True):
    """One input of a derivation that the statement attests.

    Attributes:
        role: ``firmware``, ``kernel`` ...
        sha256: digest, 32 bytes.
        data: the bytes, or None where only the digest is known.
    """

    role: str
    sha256: bytes
    data: bytes | None


def bind(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> dict[str, BoundInput]:
    """Every input of the request, by role.

    Raises:
        SubjectMismatch: an artefact is not a subject, or not the one that the request names.
        NotDerivable: two artefacts of one role; a named subject that does not exist or states no
            SHA-256 where the artefact is not at hand.
    """
    statement = admitted.authentic.statement
    bound: dict[str, BoundInput] = {}
    for artifact in artifacts:
        if artifact.role in bound:
            raise NotDerivable(f"two artefacts have the role {_shown(artifact.role)}")
        bound[artifact.role] = _with_bytes(statement, artifact, request.subjects)
    for role, name in request.subjects.items():
        if role not in bound:
            bound[role] = _by_digest(statement, role, name)
    return bound


def _with_bytes(statement: Statement, artifact: Artifact, names: Mapping[str, str]) -> BoundInput:
    # SHA-256 always (it is recorded, and hashed into the launch); the wider ones if a subject needs them.
    digests = {"sha256": hashlib.sha256(artifact.data).hexdigest()}
    wanted = names.get(artifact.role)
    for subject in statement.subjects:
        if wanted in (None, subject.name) and _matches(subject, artifact.data, digests):
            return BoundInput(artifact.role, bytes.fromhex(digests["sha256"]), artifact.data)
    raise SubjectMismatch(
        f"the artefact of role {_shown(artifact.role)} is not a subject of the statement"
        if wanted is None
        else f"the artefact of role {_shown(artifact.role)} is not the subject that the request names",
        details={"role": _shown(artifact.role), "sha256": digests["sha256"]},
    )


def _matches(subject: Subject, data: bytes, digests: dict[str, str]) -> bool:
    stated = [name for name in STRONG_ALGORITHMS if name in subject.digest]
    for name in stated:
        if name not in digests:
            digests[name] = hashlib.new(name, data).hexdigest()
        if subject.digest[name] != digests[name]:
            return False
    return bool(stated)


def named_subject(statement: Statement, role: str, name: str) -> Subject:
    """The subject that the request names for a role.

    Raises:
        NotDerivable: the statement has none of that name.
    """
    # `provenance.statement` refuses one name with two digests, so the first is the only one. The empty
    # name is no name: any number of subjects may have it.
    subject = next((item for item in statement.subjects if name and item.name == name), None)
    if subject is None:
        raise NotDerivable(f"the statement has no subject of the name given for {_shown(role)}")
    return subject


def _by_digest(statement: Statement, role: str, name: str) -> BoundInput:
    digest = named_subject(statement, role, name).digest.get("sha256")
    if digest is None:
        raise NotDerivable(f"the subject for {_shown(role)} states no SHA-256, which the rule needs")
    return BoundInput(role, bytes.fromhex(digest), None)


def _shown(role: str) -> str:
    return ascii(role[:64])
