"""Entries of a Trustee deployment into our stores, each taken whole or refused with a reason.

What becomes of them:

* ``kbs``: the resource policy, in force as ours.
* ``attestation_service_policy``: ``<id>.rego``, an appraisal policy of that id, in force.
* ``reference_value``: a declared value that ends when it ended there. One that has ended is refused.
* ``repository``: a resource, a new version if its bytes differ. As what is stored through the KBS, it is
  given out by the resource policy alone.

Order per entry: readable -> its name -> its form -> (policy) compiled by the configured engine -> compared
with what is there -> audited and stored. A dry run stops before the last step.

Invariants: importing again changes nothing. Nothing that a policy or a later attestation decides on is made
looser by an entry that is refused: what was in force stays. A message of the report holds no secret.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from coco.policies import CocoPolicies
from coco.reference_values import declared_event
from coco.release import POLICY as RESOURCE_POLICY
from coco.trustee.entries import ATTESTATION_POLICY, KBS, REFERENCE_VALUE, REPOSITORY
from common import strict_json
from common.errors import Malformed, TooLarge, TouchstoneError, UnavailableError
from kms import secret_id
from kms.audit import AuditLog
from policy.errors import PolicyNotFound
from policy.port import PolicyKind, PolicySource
from rvps import declared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coco.trustee.entries import Entry, Store
    from kms.secrets import SecretStore
    from policy.port import PolicyEngine
    from policy.store import PolicyStore
    from storage.database import Database

STORED: Final = "stored"
UNCHANGED: Final = "unchanged"
REFUSED: Final = "refused"
WOULD_STORE: Final = "would-store"
_SUFFIX: Final = ".rego"
_RESOURCE_KEY: Final = "resource-policy"
_EXPIRATION: Final = "%Y-%m-%dT%H:%M:%SZ"
_KIND: Final = "import"


class Taken(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one entry.

    Attributes:
        namespace: of the deployment.
        key: of the deployment.
        outcome: ``stored``, ``unchanged``, ``refused``, or in a dry run ``would-store``.
        target: what it is here.
        code: of the reason, if refused.
        reason: why it was refused.
    """

    namespace: str
    key: str
    outcome: str
    target: str = ""
    code: str = ""
    reason: str = ""


class Report(msgspec.Struct, frozen=True):
    """What an import did.

    Attributes:
        sources: the stores that were read.
        notes: what was not read, and why.
        items: every entry.
        counts: of each outcome.
    """

    sources: tuple[str, ...]
    notes: tuple[str, ...]
    items: tuple[Taken, ...]
    counts: dict[str, int]


class Importer:
    """Takes entries over.

    Args:
        database: ours.
        engine: compiles policies.
        versions: policy versions.
        secrets: resources.
        max_resource_bytes: size limit of one resource.
        by: who imports, for the records.
        dry_run: tell what would be done, and do nothing.
    """

    def __init__(
        self,
        database: Database,
        engine: PolicyEngine,
        versions: PolicyStore,
        secrets: SecretStore,
        *,
        by: str,
        max_resource_bytes: int,
        dry_run: bool = False,
    ) -> None:
        """Keep the parts."""
        self._database = database
        self._engine = engine
        self._versions = versions
        self._secrets = secrets
        self._max_resource_bytes = max_resource_bytes
        self._audit = AuditLog(database)
        self._policies = CocoPolicies(versions, engine, self._audit)
        self._by = by
        self._dry_run = dry_run

    def run(self, stores: Iterable[Store], now: datetime, *, notes: Iterable[str] = ()) -> Report:
        """Take over every entry of every store.

        Raises:
            TouchstoneError: a store cannot be read as a whole, or ours do not answer; what was stored until
                then stays.
        """
        sources, items = [], []
        for store in stores:
            sources.append(store.where)
            items += [self._take(entry, now) for entry in store.entries()]
        counts = Counter(item.outcome for item in items)
        return Report(tuple(sources), tuple(notes), tuple(items), dict(sorted(counts.items())))

    def _take(self, entry: Entry, now: datetime) -> Taken:
        if entry.data is None:
            return Taken(entry.namespace, entry.key, REFUSED, code="input.unreadable", reason=entry.problem)
        try:
            outcome, target = self._takers()[entry.namespace](entry.key, entry.data, now)
        except UnavailableError:
            raise
        except TouchstoneError as error:
            return Taken(entry.namespace, entry.key, REFUSED, code=error.code, reason=error.message)
        return Taken(entry.namespace, entry.key, outcome, target)

    def _takers(self) -> dict[str, Any]:
        return {
            KBS: self._resource_policy,
            ATTESTATION_POLICY: self._attestation_policy,
            REFERENCE_VALUE: self._reference_value,
            REPOSITORY: self._resource,
        }

    def _resource_policy(self, key: str, data: bytes, now: datetime) -> tuple[str, str]:
        if key.removesuffix(_SUFFIX) != _RESOURCE_KEY:
            raise Malformed(f"the KBS has one policy, {_RESOURCE_KEY}; this is none of its entries")
        return self._policy(PolicyKind.RESOURCE, RESOURCE_POLICY, data, now)

    def _attestation_policy(self, key: str, data: bytes, now: datetime) -> tuple[str, str]:
        if not key.endswith(_SUFFIX):
            raise Malformed("the key of an attestation policy ends in .rego")
        return self._policy(PolicyKind.APPRAISAL, key.removesuffix(_SUFFIX), data, now)

    def _policy(self, kind: PolicyKind, name: str, data: bytes, now: datetime) -> tuple[str, str]:
        """Put in force; a policy that does not compile leaves the present one in force."""
        target = f"policy/{kind.value}/{name}"
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed("the policy is not UTF-8") from error
        if self._text_in_force(kind, name) == text:
            return UNCHANGED, target
        self._engine.compile(PolicySource(kind, text))
        if self._dry_run:
            return WOULD_STORE, target
        self._policies.put_in_force(kind, name, text, by=self._by, now=now)
        return STORED, target

    def _text_in_force(self, kind: PolicyKind, name: str) -> str | None:
        """Also holds an attestation policy's name to what such a name must be (``coco.policies``)."""
        try:
            if kind is PolicyKind.APPRAISAL:
                return self._policies.text(name)
            return self._versions.active(kind, name).text
        except PolicyNotFound:
            return None

    def _reference_value(self, key: str, data: bytes, now: datetime) -> tuple[str, str]:
        name, value, expires = _record(key, data)
        declared.check(name, value)
        if expires <= now:
            raise Malformed(f"the value ended at {expires.isoformat()}; it is not served there either way")
        target = f"declared/{name}"
        with self._database.read() as connection:
            known = declared.live_by_name(connection, [name], now).get(name)
        same = known is not None and known.id == declared.declared_id(name, value)
        if same and known is not None and known.expires_at == expires:
            return UNCHANGED, target
        if self._dry_run:
            return WOULD_STORE, target
        with self._database.write() as connection:
            made = declared.register_in(
                connection, name, value, kind=_KIND, by=self._by, now=now, expires=expires
            )
            self._audit.append(connection, declared_event(made, self._by, now))
        return STORED, target

    def _resource(self, key: str, data: bytes, now: datetime) -> tuple[str, str]:
        ref = secret_id.resource(key)
        context = self._secrets.find(ref)
        if context is not None and self._holds(context.version, ref, data):
            return UNCHANGED, ref.text
        if self._dry_run:
            if not 0 < len(data) <= self._max_resource_bytes:
                raise TooLarge(
                    f"a resource has 1 to {self._max_resource_bytes} bytes, this one {len(data)}"
                )
            return WOULD_STORE, ref.text
        self._secrets.put(ref, data, by=self._by, now=now, policy=RESOURCE_POLICY)
        return STORED, ref.text

    def _holds(self, version: int, ref: secret_id.SecretRef, data: bytes) -> bool:
        # A write transaction, since it holds the row; nothing is written.
        with self._database.write() as connection:
            try:
                stored = self._secrets.usable(connection, ref, version)
            except UnavailableError:
                raise
            except TouchstoneError:  # disabled or destroyed: there is nothing to compare with
                return False
        return self._secrets.unseal(stored) == data


def _record(key: str, data: bytes) -> tuple[str, Any, datetime]:
    """Name, value and end of a record, in the present form or an older one (``hash-value``)."""
    record = strict_json.loads(data, what="reference value")
    if not isinstance(record, dict):
        raise Malformed("the reference value is not a JSON object")
    name = record.get("name", key)
    if not isinstance(name, str):
        raise Malformed("the reference value has no name")
    if "value" in record:
        value = record["value"]
    elif isinstance(record.get("hash-value"), list):
        value = [item.get("value") for item in record["hash-value"] if isinstance(item, dict)]
    else:
        raise Malformed("the reference value has no value")
    text = record.get("expiration", record.get("expired"))
    try:
        expires = datetime.strptime(str(text), _EXPIRATION).replace(tzinfo=UTC)
    except ValueError as error:
        raise Malformed("the reference value does not say when it ends") from error
    return name, value, expires
