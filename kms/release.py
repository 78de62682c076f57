"""Flow C, result to secret. ``ReleaseService.release`` reads top to bottom in the order things happen:

1. *Token*: the attestation result is verified (signature, issuer, audience, time), and must be bound to
   a session of ours and a key of the guest that secrets may be encrypted to.
2. *Decision*: floors, then the release policy that the stored version names.
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

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from sqlalchemy import Connection

from common.errors import DatabaseUnavailable, ReleaseError, TouchstoneError
from kms import jwe
from kms.audit import AuditEvent, lock_head
from kms.decision import require_floors, require_policy
from kms.errors import AuditUnavailable, ReleaseDenied, ReleaseStale
from kms.release_rows import insert_release, require_quota
from kms.secrets import DEFAULT_POLICY
from kms.session import session_of
from policy.errors import PolicyNotFound
from policy.port import PolicyKind
from rvps.lookup import still_live_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

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

# Digest of the active version of a policy, as the transaction sees it; None where none is active.
ActiveDigest = Callable[[Connection, PolicyKind, str], str | None]


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
        active_digest: re-checks in the transaction which version of a policy is active.
        quota: how often one identity may get one secret; None for no bound.
        checkpointer: told of every record; None where somebody else writes checkpoints.
    """

    def __init__(
        self,
        *,
        database: Database,
        secrets: SecretStore,
        audit: AuditLog,
        ears: EarReader,
        policies: ActivePolicies,
        active_digest: ActiveDigest,
        quota: Quota | None = None,
        checkpointer: Checkpointer | None = None,
    ) -> None:
        """Keep the parts."""
        self._database = database
        self._secrets = secrets
        self._audit = audit
        self._ears = ears
        self._policies = policies
        self._active_digest = active_digest
        self._quota = quota
        self._checkpointer = checkpointer

    def release(
        self, token: str, ref: SecretRef, now: datetime, *, version: int | None = None
    ) -> Release:
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
        session = session_of(claims)
        try:
            to = jwe.recipient(session.jwk)
            require_floors(session)
            context = self._secrets.find(ref, version)
            policy = self._release_policy(context)
            require_policy(policy, claims, ref, context.version if context else 0)
            stored, record = self._commit(session, ref, version, context, policy.source.digest, now)
            plaintext = self._secrets.unseal(stored)
        except AuditUnavailable:
            raise
        except TouchstoneError as error:
            self._audit_denial(session, ref, error, now)
            raise
        if self._checkpointer is not None:
            self._checkpointer.after(record.sequence, now)
        released = stored.context.version
        token_jwe = jwe.encrypt(
            to, plaintext, resource=ref.text, version=released, ear_jti=session.jti
        )
        return Release(token_jwe, released, record.sequence)
