"""The port of envelope formats: what came in, who can read it, and what reading gives.

A format is one module with a ``Reader``, listed in ``provenance.readers``. A reader says by the outer
shape alone whether a document is its own (nothing is decided by trying), verifies it against the roots
of the trust policy that are of its kind, and gives an ``AuthenticStatement``: signature, signer, time and
log entry proven, and only then the payload parsed. It opens no connection and runs no command.

A format that signs no in-toto Statement is given as one: its artefacts as subjects, what else it says
as the predicate, under a predicate type of its own that the trust policy must name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from provenance import dsse, statement
from provenance.errors import PayloadTypeWrong
from provenance.steps import step

if TYPE_CHECKING:
    from datetime import datetime

    from common.checks import Checks
    from provenance.model import AuthenticStatement, Statement

_JSON_SPACE = b" \t\r\n"


class Received(msgspec.Struct, frozen=True):
    """An envelope as it came.

    Attributes:
        data: the bytes.
        document: the same as a JSON object; None if the data does not begin as one.
    """

    data: bytes
    document: dict[str, Any] | None


class Reader(Protocol):
    """Reads one format under one trust policy. Thread-safe."""

    def recognises(self, received: Received) -> bool:
        """Whether the document means to be of this format. Never raises."""
        ...

    def authenticate(self, received: Received, now: datetime) -> AuthenticStatement:
        """Verify signature, signer, log entry and time, then parse what was signed.

        Raises:
            StatementError: one of its classes, by the step that failed.
        """
        ...


def receive(data: bytes) -> Received:
    """Decode the outer document, strictly, where it is JSON.

    Raises:
        EnvelopeMalformed: it begins as a JSON object and is none, repeats a member, or is too large.
    """
    if not data.lstrip(_JSON_SPACE).startswith(b"{"):
        dsse.require_size(data)
        return Received(data, None)
    return Received(data, dsse.load_json(data))


def signed_statement(payload_type: str | None, payload: bytes, checks: Checks) -> Statement:
    """The in-toto Statement in a verified envelope.

    Raises:
        PayloadTypeWrong: the envelope says that the payload is something else.
        StatementMalformed: see ``provenance.statement.parse``.
    """
    checks.require(
        "envelope.payload_type",
        payload_type == statement.PAYLOAD_TYPE,
        PayloadTypeWrong,
        expected=statement.PAYLOAD_TYPE,
        observed=payload_type,
        source="in-toto attestation spec/v1/envelope.md",
    )
    with step(checks, "statement.shape", source="in-toto attestation spec/v1/statement.md"):
        return statement.parse(payload)
