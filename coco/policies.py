"""Policies set over the protocols of Confidential Containers: attestation policies and the resource policy.

Order of a change: id, then decoding and size, then compiling by the configured engine, then the audit
record, then version and activation. A policy that does not compile, is of another package or lacks the
rule that its kind needs is so never stored; the reference stores it and fails when it is used.

Invariants:

* An id is an identifier that ends in the class of a submodule (``default_cpu``): what is asked for is
  ``<policy id>_<class>``, so no other id could ever be used, and none of them can replace a policy of the
  native API (``default``).
* A change is in force at the next use. Every version is kept, and who set it.
* The audit record is written before the change: the log may name one that then failed, never miss one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coco import tees
from coco.release import POLICY as RESOURCE_POLICY
from common.encoding import b64_decode, b64url_decode, identifier
from common.errors import InvalidIdentifier, Malformed, TooLarge
from kms.audit import AuditEvent
from policy.port import PolicyKind, PolicySource
from policy.store import MAX_TEXT_BYTES

if TYPE_CHECKING:
    from datetime import datetime

    from kms.audit import AuditLog
    from policy.port import PolicyEngine
    from policy.store import PolicyStore, PolicyVersion

# Classes that evidence of one TEE can come in besides its own: NVIDIA's is of a GPU, a switch, or a system.
_FURTHER_CLASSES: Final = frozenset({"switch", "ppcie"})
_CLASSES: Final = frozenset(tee.tee_class for tee in tees.BY_NAME.values()) | _FURTHER_CLASSES
_MAX_TEXT: Final = MAX_TEXT_BYTES * 4 // 3 + 4


class CocoPolicies:
    """Sets and shows policies.

    Args:
        store: the versions.
        engine: compiles.
        audit: records changes.
    """

    def __init__(self, store: PolicyStore, engine: PolicyEngine, audit: AuditLog) -> None:
        """Keep the parts."""
        self._store = store
        self._engine = engine
        self._audit = audit

    def set_attestation_policy(
        self, policy_id: str, text_b64: str, *, by: str, now: datetime
    ) -> PolicyVersion:
        """Put an attestation policy in force.

        Args:
            policy_id: ``<id>_<class>``.
            text_b64: Rego text, UTF-8, in base64url without padding or in standard base64.
            by: the caller, for the records.
            now: when.

        Raises:
            InvalidIdentifier: the id.
            Malformed: not base64, or not UTF-8.
            TooLarge: the text has more than ``MAX_TEXT_BYTES``.
            PolicySyntax, PolicyRejected: the engine does not take it.
            AuditUnavailable: the change could not be recorded, and did not happen.
        """
        _require_class(policy_id)
        return self._set(PolicyKind.APPRAISAL, policy_id, text_b64, by=by, now=now)

    def ids(self) -> tuple[str, ...]:
        """The attestation policies that are in force, sorted."""
        return tuple(name for name in self._active(PolicyKind.APPRAISAL) if _has_class(name))

    def text(self, policy_id: str) -> str:
        """The text of an attestation policy that is in force.

        Raises:
            InvalidIdentifier: the id.
            PolicyNotFound: there is none.
            PolicyCorrupt: its text was altered in the database.
        """
        _require_class(policy_id)
        return self._store.active(PolicyKind.APPRAISAL, policy_id).text

    def set_resource_policy(self, text_b64: str, *, by: str, now: datetime) -> PolicyVersion:
        """Put the resource policy in force.

        Args:
            text_b64: Rego text, UTF-8, in base64url without padding or in standard base64.
            by: the caller, for the records.
            now: when.

        Raises:
            Malformed, TooLarge, PolicySyntax, PolicyRejected, AuditUnavailable: as
                ``set_attestation_policy``.
        """
        return self._set(PolicyKind.RESOURCE, RESOURCE_POLICY, text_b64, by=by, now=now)

    def resource_policy_ids(self) -> tuple[str, ...]:
        """``("resource-policy",)`` where one is in force."""
        return tuple(name for name in self._active(PolicyKind.RESOURCE) if name == RESOURCE_POLICY)

    def _set(self, kind: PolicyKind, name: str, text_b64: str, *, by: str, now: datetime) -> PolicyVersion:
        text = _decoded(text_b64)
        self._engine.compile(PolicySource(kind, text))
        return self.put_in_force(kind, name, text, by=by, now=now)

    def put_in_force(
        self, kind: PolicyKind, name: str, text: str, *, by: str, now: datetime
    ) -> PolicyVersion:
        """Store and activate a text that the engine has compiled; each step is recorded before it is done.

        Raises:
            TooLarge: the text has more than ``MAX_TEXT_BYTES``.
            AuditUnavailable: the change could not be recorded, and did not happen.
        """
        target = f"policy/{kind.value}/{name}"
        details: dict[str, object] = {"digest": PolicySource(kind, text).digest}
        self._audit.record(AuditEvent("policy.put", by, target, "requested", now, details))
        version = self._store.put(kind, name, text, by=by, now=now)
        details = {"version": version.version}
        self._audit.record(AuditEvent("policy.activate", by, target, "requested", now, details))
        return self._store.activate(kind, name, version.version, by=by, now=now)

    def _active(self, kind: PolicyKind) -> tuple[str, ...]:
        return tuple(
            item.name for item in self._store.list() if item.kind is kind and item.active is not None
        )


def _has_class(policy_id: str) -> bool:
    name, separator, tee_class = policy_id.rpartition("_")
    return bool(name and separator) and tee_class in _CLASSES


def _require_class(policy_id: str) -> None:
    identifier(policy_id, what="policy id")
    if not _has_class(policy_id):
        raise InvalidIdentifier(
            "the policy id does not end in the class of a submodule",
            advice=f"Use an id and a class, as in `default_cpu`; classes: {', '.join(sorted(_CLASSES))}.",
        )


def _decoded(text_b64: str) -> str:
    """The text; both spellings of base64 are taken, since the documents of the reference mix them up."""
    if len(text_b64) > _MAX_TEXT:
        raise TooLarge(f"the policy has more than {MAX_TEXT_BYTES} bytes")
    try:
        data = b64url_decode(text_b64, what="policy")
    except Malformed:
        data = b64_decode(text_b64, what="policy")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("the policy is not UTF-8") from error
