"""The reference-value provider service: messages in, values out, as the reference service speaks.

A message is ``{"version": "0.1.0", "type", "payload"}``. Two kinds of types:

* Unsigned (``sample``, ``swid``, ``corim`` without a signature): nobody vouches for the values but who
  sends them. They become declared values (``rvps.declared``), and are refused where the deployment does
  not let declared values count.
* Signed (``sigstore-bundle``, ``in-toto``, ``slsa``, ``vsa``, ``dsse``, ``corim`` with a signature): the
  payload is an envelope that is admitted under the deployment's trust policy, as a submission to
  ``/v1/attestations`` is; or a JSON object of the ``envelope`` and the ``derivation`` that is asked for.

Order: message -> version -> type -> payload -> (unsigned) allowed, extracted, checked, stored; (signed)
admitted, type held to what it is, derived, stored. What is stored is committed with its audit record or not
at all, all names of a message together.

A query answers what counts now: verified values as ``query_reference_value`` gives them, and declared ones
where they count. An expired or retracted value is never among them.

Source: coco-wire section 3; error texts that clients show are the reference's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from coco import extractors
from coco.errors import ExtractorUnknown, MessageMalformed, UnsignedRefused
from coco.messages import SignedPayload, decoded, parse, signed_payload
from common.errors import TooLarge
from kms.audit import AuditEvent
from kms.recorded import ingest_recorded
from policy.port import canonical_key
from provenance.errors import NotDerivable, PredicateUnexpected
from provenance.model import DerivationRequest
from provenance.predicates.reference import PREDICATE_TYPE
from rvps import declared
from rvps.queries import MAX_PAGE, list_reference_values
from rvps.records import ValueState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from kms.audit import AuditLog
    from provenance.model import AdmittedStatement
    from provenance.pipeline import Pipeline
    from rvps.declared import DeclaredValue
    from rvps.records import ValueRecord
    from storage.database import Database

# Values that one answer holds: of a larger store the caller asks by name.
MAX_LISTED: Final = 10_000
_SLSA: Final = "https://slsa.dev/provenance/"
_VSA: Final = "https://slsa.dev/verification_summary/"
_BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
_CORIM: Final = "corim"
# Signed types, each with what the predicate type must start with.
_SIGNED: Final[Mapping[str, str]] = {
    "sigstore-bundle": "",
    "in-toto": "",
    "slsa": _SLSA,
    "vsa": _VSA,
    "dsse": "",
}
_MAX_VALUE_AUDITED: Final = 8 << 10
_STATED: Final = DerivationRequest(rule="reference-values")


class Pipelines(Protocol):
    """Gives the pipelines of the trust policies in force."""

    def of(self, name: str) -> Pipeline:
        """That of the trust policy of a name."""


class ReferenceValueService:
    """Registers, answers, lists and deletes reference values. Thread-safe.

    Args:
        database: the stores.
        audit: its log.
        pipelines: of the trust policies in force, for signed types.
        trust_policy: which of them decides about signed messages.
        declared_values: whether declared values count here; unsigned messages are refused if not.
    """

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        *,
        declared_values: bool,
        pipelines: Pipelines,
        trust_policy: str = "default",
    ) -> None:
        """Keep them."""
        self._database = database
        self._audit = audit
        self._pipelines = pipelines
        self._trust_policy = trust_policy
        self._declared_values = declared_values

    def register(self, message: str, *, by: str, now: datetime) -> None:
        """Take a message: every value of it, or none.

        Args:
            message: JSON text.
            by: who sends it, for the record.
            now: aware UTC.

        Raises:
            MessageMalformed: not a message.
            MessageVersion: of another version.
            ExtractorUnknown: of a type that nobody reads.
            UnsignedRefused: of an unsigned type, where declared values do not count.
            InputError, StatementError, DerivationError, ReferenceValueError: the payload is not what its
                type says, or is not admitted.
            UnavailableError: nothing was stored.
        """
        parsed = parse(message)
        if parsed.type in _SIGNED:
            self._take_signed(parsed.type, signed_payload(parsed.payload), by, now)
            return
        extract = extractors.EXTRACTORS.get(parsed.type)
        if extract is None:
            raise ExtractorUnknown(f"Could not find extractor for {ascii(parsed.type[:64])[1:-1]}")
        if parsed.type == _CORIM:
            signed = signed_payload(parsed.payload)
            if signed.requests is not None or extractors.is_signed_corim(signed.envelope):
                self._take_signed(_CORIM, signed, by, now)
                return
        if not self._declared_values:
            raise UnsignedRefused(
                f"messages of type {parsed.type} are not signed, and this server takes none"
            )
        values = extract(decoded(parsed.payload, "payload"), now)
        self.declare(values, kind=parsed.type, by=by, now=now)

    def declare(
        self,
        values: Mapping[str, Any],
        *,
        kind: str,
        by: str,
        now: datetime,
        expires: datetime | None = None,
    ) -> None:
        """Declare every value, in place of what its name had: all of them, or none.

        Raises:
            MessageMalformed: too many names.
            Malformed, TooLarge: a name or a value that cannot be stored.
            AuditUnavailable: nothing was stored.
        """
        if len(values) > extractors.MAX_NAMES:
            raise MessageMalformed(f"a message has at most {extractors.MAX_NAMES} names")
        for name, value in values.items():
            declared.check(name, value)
        with self._database.write() as connection:
            for name in sorted(values):
                made = declared.register_in(
                    connection, name, values[name], kind=kind, by=by, now=now, expires=expires
                )
                self._audit.append(connection, declared_event(made, by, now))

    def query(self, name: str, now: datetime) -> Any | None:
        """What counts under a name: a list, or the one value where it is registered as one; None: nothing.

        Raises:
            TooLarge: more than ``MAX_LISTED`` values.
        """
        values = _verified(self._database, now, name)
        words: Iterable[DeclaredValue] = ()
        if self._declared_values:
            with self._database.read() as connection:
                words = declared.live_by_name(connection, [name], now).values()
        return _merged(values, words).get(name)

    def list(self, now: datetime) -> dict[str, Any]:
        """Everything that counts, by name.

        Raises:
            TooLarge: more than ``MAX_LISTED`` values.
        """
        values = _verified(self._database, now)
        words: Iterable[DeclaredValue] = ()
        if self._declared_values:
            with self._database.read() as connection:
                words = declared.everything(connection, now)
        return _merged(values, words)

    def delete(self, name: str, *, by: str, now: datetime) -> bool:
        """Take a declared value away; whether there was one. A verified value is retracted, not deleted.

        Raises:
            AuditUnavailable: nothing was deleted.
        """
        with self._database.write() as connection:
            gone = declared.delete_in(connection, name)
            if gone is not None:
                details = {"id": gone.id, "kind": gone.kind}
                event = AuditEvent("reference.undeclare", by, _target(name), "done", now, details)
                self._audit.append(connection, event)
        return gone is not None

    def _take_signed(self, kind: str, payload: SignedPayload, by: str, now: datetime) -> None:
        envelope, requests = payload.envelope, payload.requests
        pipeline = self._pipelines.of(self._trust_policy)
        if kind == _CORIM:
            envelope = extractors.unwrapped(envelope)
            if not extractors.is_signed_corim(envelope):
                raise MessageMalformed("the CoRIM has no signature, and a derivation is asked for")
        admitted = pipeline.admit(envelope, now)
        _require_type(kind, envelope, admitted)
        if requests is None:
            requests = _default_requests(admitted)
        derived = [value for request in requests for value in pipeline.derive(admitted, request, ())]
        with self._database.write() as connection:
            ingest_recorded(connection, self._audit, admitted, derived, by=by, now=now)


def declared_event(made: DeclaredValue, by: str, now: datetime) -> AuditEvent:
    """The audit record of a declared value: what stands there now, since the log is its history."""
    text = json.dumps(made.value, sort_keys=True)
    details = {
        "id": made.id,
        "kind": made.kind,
        "expires": made.expires_at.isoformat(),
        # A long value is known by its id, which is a digest of it.
        "value": text if len(text) <= _MAX_VALUE_AUDITED else None,
    }
    return AuditEvent("reference.declare", by, _target(made.name), "done", now, details)


def _target(name: str) -> str:
    return f"declared/{name}"


def _require_type(kind: str, envelope: bytes, admitted: AdmittedStatement) -> None:
    """Hold the message's type to what was admitted: the format is told by the envelope itself."""
    predicate = admitted.authentic.statement.predicate_type
    if not predicate.startswith(_SIGNED.get(kind, "")):
        raise PredicateUnexpected(
            f"the statement is not of type {kind}: its predicate is {predicate[:120]!a}"
        )
    is_bundle = envelope.lstrip().startswith(b"{") and _BUNDLE.encode() in envelope
    if kind == "sigstore-bundle" and not is_bundle:
        raise MessageMalformed("the payload is not a Sigstore bundle")


def _default_requests(admitted: AdmittedStatement) -> tuple[DerivationRequest, ...]:
    if admitted.authentic.statement.predicate_type == PREDICATE_TYPE:
        return (_STATED,)
    if admitted.supporting:
        return ()
    raise NotDerivable(
        "the statement states no reference values by itself",
        advice='Send a payload {"envelope": BASE64, "derivation": {...}} that says what to derive.',
    )


def _verified(database: Database, now: datetime, name: str | None = None) -> list[ValueRecord]:
    found: list[ValueRecord] = []
    after: str | None = None
    while True:
        page = list_reference_values(
            database, now=now, name=name, state=ValueState.LIVE, after=after, limit=MAX_PAGE
        )
        found += page.items
        if len(found) > MAX_LISTED:
            raise TooLarge(f"there are more than {MAX_LISTED} values", advice="Ask for values by name.")
        after = page.next
        if after is None:
            return found


def _merged(values: Iterable[ValueRecord], words: Iterable[DeclaredValue]) -> dict[str, Any]:
    """By name, what ``query_reference_value`` gives: a list of all members, or else the one value."""
    lists: dict[str, dict[tuple[type, str], Any]] = {}
    singles: dict[str, dict[tuple[type, str], Any]] = {}
    for value in values:
        shelf = singles if value.scalar else lists
        shelf.setdefault(value.name, {})[type(value.value), canonical_key(value.value)] = value.value
    for word in words:
        members = word.value if isinstance(word.value, list) else [word.value]
        shelf = lists if isinstance(word.value, list) else singles
        known = shelf.setdefault(word.name, {})
        known.update({(type(member), canonical_key(member)): member for member in members})
    found: dict[str, Any] = {name: list(members.values()) for name, members in lists.items()}
    for name, single in singles.items():
        # Several single values contradict each other: none of them counts, as for a policy.
        if name not in found and len(single) == 1:
            (found[name],) = single.values()
    return found
