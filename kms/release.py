"""Flow C, result to secret: ``ReleaseService.release`` reads top to bottom in the order things happen.

1. *Token*: the attestation result is verified (signature, issuer, audience, time), and must be bound to
   a session of ours and a key of the guest that secrets may be encrypted to.
2. *Decision*: floors, then the release policy that the stored version names. Another protocol
   (``open_for``) brings the attested session and its own decision; what follows is the same for both.
3. *One write transaction*: every reference value that the result rests on is still live; the appraisal
   policy that it was made by, and the release policy that decided, are still the active ones; the
   version is active; the quota is not used up; then the audit record and the release row. Commit.
4. Only now the secret is opened and encrypted to the guest's key.

If the transaction does not commit, nothing was opened. A denial of an authentic result is audited in a
transaction of its own before the caller hears of it; a token that is not authentic is refused without a
record, or anyone could fill the log. Between commit and answer a crash leaves a record of a release that
did not arrive: the log may name more than was received, never less.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from common.binding import thumbprint_text
from common.errors import DatabaseUnavailable, PolicyError, TouchstoneError
from kms import jwe
from kms.audit import AuditEvent, lock_head
from kms.decision import require_floors, require_policy
from kms.errors import AuditUnavailable, ReleaseDenied, ReleaseStale, SecretNotFound
from kms.release_rows import insert_release, require_quota
from kms.secrets import DEFAULT_POLICY
from kms.session import UNIDENTIFIED, session_of
from policy.active_digests import ActiveDigests
from policy.port import PolicyKind
from rvps.lookup import still_live_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import Connection

    from kms.audit import AuditLog, AuditRecord
    from kms.checkpoints import Checkpointer
    from kms.release_rows import Quota
    from kms.sealing import Context
    from kms.secret_id import SecretRef
    from kms.secret_model import StoredVersion
    from kms.secrets import SecretStore
    from kms.session import AttestedSession
    from policy.port import CompiledPolicy
    from storage.database import Database

_ACTION = "secret.release"
_MAX_STALE_NAMED = 16
_MAX_REASON = 1024


class EarReader(Protocol):
    """Verifies attestation results (``verifier.ear.EarVerifier``)."""

    def verify(self, token: str, now: datetime) -> Mapping[str, Any]:
        """The claims of a token that holds at ``now``.

        Raises:
            EarInvalid: it does not.
        """


class ActivePolicies(Protocol):
    """Gives the active version of a policy, compiled."""

    def active(self, kind: PolicyKind, name: str) -> CompiledPolicy:
        """The compiled active version.

        Raises:
            PolicyNotFound: none is active.
        """


class Grant(msgspec.Struct, frozen=True):
    """A policy that said yes.

    Attributes:
        kind: of the policy.
        name: its name.
        digest: SHA-256 of the version that decided, hex.
    """

    kind: PolicyKind
    name: str
    digest: str


class Opened(msgspec.Struct, frozen=True):
    """A secret in plain, whose release is on record.

    Attributes:
        plaintext: the secret.
        version: the version that was released.
        sequence: the audit record that says so.
    """

    plaintext: bytes
    version: int
    sequence: int


class Release(msgspec.Struct, frozen=True):
    """A secret on its way.

    Attributes:
        jwe: compact JWE to the guest's key.
        version: the version that was released.
        sequence: the audit record that says so.
    """

    jwe: str
    version: int
    sequence: int


class ReleaseService:
    """Decides about releases and makes them.

    Args:
        database: holds secrets, audit log and reference values.
        secrets: the secrets at rest.
        audit: the log without which nothing is released.
        ears: verifies attestation results.
        policies: active policies, compiled.
        quota: how often one identity may get one secret; None for no bound.
        checkpointer: told of every record; None where somebody else writes checkpoints.
        declared_values: whether results may rest on what an administrator declared.
    """

    def __init__(
        self,
        *,
        database: Database,
        secrets: SecretStore,
        audit: AuditLog,
        ears: EarReader,
        policies: ActivePolicies,
        quota: Quota | None = None,
        checkpointer: Checkpointer | None = None,
        declared_values: bool = False,
    ) -> None:
        """Keep the parts."""
        self._database = database
        self._secrets = secrets
        self._audit = audit
        self._ears = ears
        self._policies = policies
        self._quota = quota
        self._checkpointer = checkpointer
        self._declared_values = declared_values
        self._active_digests = ActiveDigests()

    def release(self, token: str, ref: SecretRef, now: datetime, *, version: int | None = None) -> Release:
        """Release a secret to the guest that ``token`` is about.

        Args:
            token: the attestation result, a compact JWS.
            ref: the secret.
            now: the instant of the whole operation.
            version: a particular version; the newest otherwise.

        Raises:
            EarInvalid: the token does not hold.
            SessionUnbound: it is not bound to a session of ours.
            RecipientKeyRefused: secrets are not encrypted to such a key.
            ReleaseDenied: floors or policy say no; ``details["reasons"]`` says why.
            ReleaseStale: what the result rests on changed since.
            SecretNotFound: no such secret or version (told only to who would be allowed).
            VersionUnusable: it is disabled or destroyed.
            QuotaExceeded: this identity got it too often.
            SecretUnreadable: the stored blob does not open.
            AuditUnavailable: the record could not be committed; nothing was released.
            PolicyEngineUnavailable: the policy could not be asked; nothing was released.
        """
        claims = self._ears.verify(token, now)
        with self._denials_recorded(*_asker(claims), ref, now):
            session = session_of(claims)
            to = jwe.recipient(session.jwk)
            require_floors(session)

            def decide(wanted: Context | None) -> tuple[Grant, ...]:
                return (self.native_grant(claims, ref, wanted),)

            opened = self._open(session, ref, version, decide, now)
        encrypted = jwe.encrypt(
            to, opened.plaintext, resource=ref.text, version=opened.version, ear_jti=session.jti
        )
        return Release(encrypted, opened.version, opened.sequence)

    def open_for(
        self,
        session: AttestedSession,
        ref: SecretRef,
        decide: Callable[[Context | None], tuple[Grant, ...]],
        now: datetime,
        *,
        version: int | None = None,
    ) -> Opened:
        """Steps 3 and 4 for another protocol, which has verified the session and brings the decision.

        Args:
            session: the attested guest.
            ref: the secret.
            decide: says which policies allow it, at least one; raises to deny. Its argument is the version
                asked for, None where there is none.
            now: the instant of the whole operation.
            version: a particular version; the newest otherwise.

        Raises:
            ReleaseDenied, ReleaseStale, SecretNotFound, VersionUnusable, QuotaExceeded, SecretUnreadable,
            AuditUnavailable, PolicyEngineUnavailable: as ``release``.
        """
        with self._denials_recorded(session.actor, session.jti, ref, now):
            return self._open(session, ref, version, decide, now)

    def native_grant(self, claims: Mapping[str, Any], ref: SecretRef, wanted: Context | None) -> Grant:
        """The yes of the release policy that the stored version names.

        Raises:
            ReleaseDenied: it says no, or cannot be used.
            PolicyEngineUnavailable: it could not be asked.
        """
        policy = self._release_policy(wanted)
        require_policy(policy, claims, ref, wanted.version if wanted else 0)
        name = DEFAULT_POLICY if wanted is None else wanted.release_policy
        return Grant(PolicyKind.RELEASE, name, policy.source.digest)

    def _open(
        self,
        session: AttestedSession,
        ref: SecretRef,
        version: int | None,
        decide: Callable[[Context | None], tuple[Grant, ...]],
        now: datetime,
    ) -> Opened:
        wanted = self._secrets.find(ref, version)
        stored, record = self._commit(session, ref, wanted, decide(wanted), now)
        plaintext = self._secrets.unseal(stored)
        if self._checkpointer is not None:
            self._checkpointer.after(record.sequence, now)
        return Opened(plaintext, stored.context.version, record.sequence)

    @contextmanager
    def _denials_recorded(self, actor: str, jti: str, ref: SecretRef, now: datetime) -> Iterator[None]:
        """Record that an authentic result got nothing; if that fails, say so instead of why."""
        try:
            yield
        except AuditUnavailable:
            raise
        except TouchstoneError as error:
            details = {"jti": jti, "code": error.code, "reason": error.message[:_MAX_REASON]}
            self._audit.record(AuditEvent(_ACTION, actor, ref.text, "denied", now, details))
            raise

    def _release_policy(self, wanted: Context | None) -> CompiledPolicy:
        """The policy that decides; the default one about a secret that does not exist.

        Who would not be allowed to have it is not told whether it exists.
        """
        name = DEFAULT_POLICY if wanted is None else wanted.release_policy
        try:
            return self._policies.active(PolicyKind.RELEASE, name)
        except PolicyError as error:
            raise ReleaseDenied(
                f"release policy {name} cannot be used", details={"reasons": [error.code]}
            ) from error

    def _commit(
        self,
        session: AttestedSession,
        ref: SecretRef,
        wanted: Context | None,
        grants: tuple[Grant, ...],
        now: datetime,
    ) -> tuple[StoredVersion, AuditRecord]:
        """Step 3: re-check everything that may have changed, record, commit."""
        if wanted is None:
            raise SecretNotFound(f"there is no {ref.text} of that version")
        event = _event(session, wanted, grants, now)
        try:
            with self._database.write() as connection:
                self._require_live(connection, session, now)
                self._require_active(connection, session, grants)
                stored = self._secrets.usable(connection, ref, wanted.version)
                if stored.context != wanted:
                    raise ReleaseStale(f"{ref.text} was replaced while the release was decided")
                lock_head(connection)
                if self._quota is not None:
                    require_quota(connection, self._quota, ref, session.identity, now)
                record = self._audit.append(connection, event)
                insert_release(
                    connection, record.sequence, session, wanted, policy_digest=grants[0].digest, now=now
                )
                return stored, record
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            raise AuditUnavailable("the audit record could not be committed") from error

    def _require_live(self, connection: Connection, session: AttestedSession, now: datetime) -> None:
        live = still_live_in(connection, session.references, now, declared=self._declared_values)
        dead = session.references - live
        if dead:
            named = sorted(dead)[:_MAX_STALE_NAMED]
            raise ReleaseStale(
                f"{len(dead)} reference values that the result rests on are retracted or expired",
                details={"reference_values": named},
            )

    def _require_active(
        self, connection: Connection, session: AttestedSession, grants: tuple[Grant, ...]
    ) -> None:
        rested_on = [
            *(((PolicyKind.APPRAISAL, name), digest) for name, digest in session.appraisal_policies),
            *(((grant.kind, grant.name), grant.digest) for grant in grants),
        ]
        active = self._active_digests.of(connection, [policy for policy, _ in rested_on])
        for ((kind, _), digest), present in zip(rested_on, active, strict=True):
            if present != digest:
                raise ReleaseStale(
                    f"another version of the {kind.value} policy is active than the one that decided",
                    details={"kind": kind.value, "policy_digest": digest},
                )


def _asker(claims: Mapping[str, Any]) -> tuple[str, str]:
    """How audit records name who holds an authentic result, and the result's id."""
    additions = claims.get("touchstone")
    identity = additions.get("identity") if isinstance(additions, dict) else None
    return identity if isinstance(identity, str) else UNIDENTIFIED, str(claims.get("jti"))


def _event(
    session: AttestedSession, wanted: Context, grants: tuple[Grant, ...], now: datetime
) -> AuditEvent:
    details = {
        "version": wanted.version,
        "jti": session.jti,
        "nonce": session.nonce,
        "guest_key": thumbprint_text(session.jwk),
        "evidence_digest": session.evidence_digest,
        "appraisal_policy": session.appraisal_policy_digest,
        "release_policy": grants[0].digest,
        "snapshot": session.snapshot,
        "reference_values": sorted(session.references),
    }
    if len(grants) > 1:
        details["further_policies"] = [grant.digest for grant in grants[1:]]
    return AuditEvent(_ACTION, session.actor, wanted.ref.text, "done", now, details)
