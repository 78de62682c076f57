"""Composition: every part built once, from the settings, and handed to whoever needs it.

``prepare`` brings a data directory into the state that a server needs: schema, keys, first token, shipped
policies. It may run any number of times and on several replicas at once. ``build`` assembles the parts
on what is there. Nothing below this module reads settings, clocks or key files.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from coco.release import POLICY as RESOURCE_POLICY
from common.errors import InvalidSetting, TouchstoneError
from common.files import read_limited
from kms.audit import AuditLog
from kms.checkpoints import Checkpointer, CheckpointKey
from kms.release import ReleaseService
from kms.release_rows import Quota
from kms.root_key import FileRootKey
from kms.secrets import SecretStore
from policy import shipped
from policy.errors import PolicyNotFound
from policy.port import PolicyKind
from policy.store import PolicyStore
from provenance.keys import from_pem
from rvps.lookup import DatabaseReferenceLookup
from service import engines, issuers, trust_refresh, verifiers
from service.access import TokenStore
from service.active_policies import ActivePolicies, Pipelines
from service.coco import parts as coco_parts
from service.feed import key as feed_key
from service.feed.subscriber import Peer, Subscriber
from service.sources import plan
from service.token_keys import TokenKeys, open_folder, token_keys
from service.trust_gate import TrustGate, read_policy_keys
from storage.database import Database
from storage.migrate import check, migrate
from verifier.appraisal import Appraiser
from verifier.challenges import ChallengeStore
from verifier.ear import EarVerifier
from verifier.records import AppraisalRecorder
from verifier.tpm.section import TpmSection, tpm_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from coco.foreign_tokens import ForeignTokens
    from policy.port import PolicyEngine
    from service.coco.parts import CocoParts
    from service.settings import Settings
    from verifier.tpm.settings import TpmSettings

_LOG = logging.getLogger("touchstone.composition")
_FIRST_START = "first start"
_FOLDER_MODE = 0o700
# What is put in force at the first start: kind, name in force, name under which it is shipped.
_SHIPPED = (
    (PolicyKind.APPRAISAL, "default", "default"),
    (PolicyKind.RELEASE, "default", "default"),
    (PolicyKind.RESOURCE, RESOURCE_POLICY, "default"),
    *(
        (PolicyKind.APPRAISAL, f"default_{tee_class}", f"default_{tee_class}")
        for tee_class in ("cpu", "gpu", "switch", "ppcie", "dcu", "nvidia-dpu")
    ),
)
SHIPPED_NAME = "default"
_MAX_KEY_BYTES = 16 << 10
_REMEMBERED = 4096  # policy decisions a worker keeps, about 2 KiB each


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the routes use. Built by ``build``, closed by ``close``."""

    settings: Settings
    clock: Callable[[], datetime]
    database: Database
    engine: PolicyEngine
    policy_store: PolicyStore
    policies: ActivePolicies
    pipelines: Pipelines
    tokens: TokenStore
    token_keys: TokenKeys
    foreign_tokens: ForeignTokens
    tees: frozenset[str]
    tpm_settings: TpmSettings
    challenges: ChallengeStore
    recorder: AppraisalRecorder
    appraiser: Appraiser
    audit: AuditLog
    checkpoint_key: CheckpointKey
    checkpointer: Checkpointer
    secrets: SecretStore
    releases: ReleaseService
    feed_key: Ed25519PrivateKey
    subscriber: Subscriber
    coco: CocoParts

    def close(self) -> None:
        """Write what is queued, sign the audit log's end, close the database."""
        self.recorder.close()
        try:
            self.checkpointer.write(self.clock())
        except (TouchstoneError, SQLAlchemyError, OSError):
            _LOG.exception("the last audit checkpoint could not be written")
        self.database.close()


def utc_now() -> datetime:
    """The clock that is injected everywhere."""
    return datetime.now(UTC)


def open_database(settings: Settings) -> Database:
    """The database, its schema held against this version.

    Raises:
        SchemaMismatch: ``prepare`` did not run, or a newer version did.
        DatabaseUnavailable: it does not answer.
    """
    _make_data_dir(settings)
    database = Database(settings.database_url)
    check(database)
    return database


def prepare(settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
    """Schema, keys, first admin token and shipped policies: made where they are missing.

    Raises:
        ConfigurationError: a folder or key file is not usable, or the schema is a newer one.
        UnavailableError: the database does not answer.
    """
    _make_data_dir(settings)
    now = clock()
    database = Database(settings.database_url)
    try:
        migrate(database)
        open_folder(settings).maintain(now)
        FileRootKey.open_or_create(settings.keys_dir / "root.key")
        CheckpointKey.open_or_create(settings.keys_dir / "audit-checkpoint.pem")
        feed_key.open_or_create(settings.keys_dir / feed_key.FILE)
        token_file = settings.storage.data_dir / "admin.token"
        if TokenStore(database).bootstrap(token_file, now):
            _LOG.warning("first start: the admin token is in %s", token_file)
        _install_shipped(PolicyStore(database), now)
    finally:
        database.close()


def build(settings: Settings, clock: Callable[[], datetime] = utc_now) -> Services:
    """Assemble the parts over a prepared data directory.

    Raises:
        ConfigurationError: something configured is not usable.
        UnavailableError: something depended on does not answer.
    """
    plan.check(settings)
    database = open_database(settings)
    engine = engines.policy_engine(settings.policy)
    policy_store = PolicyStore(database)
    policies = ActivePolicies(policy_store, engine)
    keys = token_keys(settings, clock())
    pipelines = Pipelines(policy_store, _trust_gate(settings, engine))
    tees = verifiers.tee_verifiers(settings)
    tpm_section = settings.tee_section("tpm")
    assert isinstance(tpm_section, TpmSection)
    tpms = tpm_settings(tpm_section)
    challenges = ChallengeStore(
        database,
        audience=settings.server.audience,
        lifetime=timedelta(seconds=settings.limits.challenge_lifetime_s),
        limit=settings.limits.outstanding_challenges,
        pcr_selection=tpms.pcr_selection,
    )
    recorder = AppraisalRecorder(database)
    audit = AuditLog(database)
    checkpoint_key = CheckpointKey.open_or_create(settings.keys_dir / "audit-checkpoint.pem")
    checkpointer = Checkpointer(database, checkpoint_key, settings.checkpoint_file)
    root_key = FileRootKey.open_or_create(settings.keys_dir / "root.key")
    secrets = SecretStore(database, root_key, max_bytes=settings.limits.resource_bytes)
    secrets.require_root_key()
    tokens = TokenStore(database)
    # A server that is gone denies: its decisions are not remembered past it.
    remembered = _REMEMBERED if engine.name == "regorus" else 0
    releases = ReleaseService(
        database=database,
        secrets=secrets,
        audit=audit,
        ears=EarVerifier(keys, issuer=settings.token.issuer, audience=settings.server.audience),
        policies=policies,
        quota=_quota(settings),
        checkpointer=checkpointer,
        declared_values=settings.coco.declared_reference_values,
    )
    foreign = issuers.foreign_tokens(settings)
    core = coco_parts.Core(
        database=database,
        engine=engine,
        policy_store=policy_store,
        policies=policies,
        pipelines=pipelines,
        tokens=tokens,
        token_keys=keys,
        tees=tees,
        recorder=recorder,
        audit=audit,
        secrets=secrets,
        releases=releases,
        foreign_tokens=foreign,
        remembered_decisions=remembered,
    )
    return Services(
        settings=settings,
        clock=clock,
        database=database,
        engine=engine,
        policy_store=policy_store,
        policies=policies,
        pipelines=pipelines,
        tokens=tokens,
        token_keys=keys,
        foreign_tokens=foreign,
        tees=frozenset(tees),
        tpm_settings=tpms,
        challenges=challenges,
        recorder=recorder,
        appraiser=Appraiser(
            verifiers=tees,
            policies=policies,
            references=DatabaseReferenceLookup(database),
            audience=settings.server.audience,
            challenges=challenges,
            signer=keys,
            recorder=recorder,
            lifetime=timedelta(seconds=settings.token.lifetime_s),
            default_policy=settings.policy.appraisal,
            remembered_decisions=remembered,
        ),
        audit=audit,
        checkpoint_key=checkpoint_key,
        checkpointer=checkpointer,
        secrets=secrets,
        releases=releases,
        feed_key=feed_key.open_or_create(settings.keys_dir / feed_key.FILE),
        subscriber=Subscriber(database, audit, pipelines, _peers(settings)),
        coco=coco_parts.build(settings, core),
    )


def _trust_gate(settings: Settings, engine: PolicyEngine) -> TrustGate:
    return TrustGate(
        engine,
        policy_keys=read_policy_keys(
            settings.policy.trust_policy_keys, settings.policy.trust_policy_threshold
        ),
        environment=settings.policy.environment,
        public_good=trust_refresh.root_in_use(settings),
    )


def _make_data_dir(settings: Settings) -> None:
    try:
        settings.storage.data_dir.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(
            f"[storage] data_dir: cannot create {settings.storage.data_dir} ({error.strerror})"
        ) from error


def _install_shipped(store: PolicyStore, now: datetime) -> None:
    """Put and activate the shipped policies where no policy of their name was ever active."""
    for kind, name, shipped_name in _SHIPPED:
        if store.history(kind, name):
            continue
        source = shipped.load(kind, shipped_name)
        version = store.put(kind, name, source.text, by=_FIRST_START, now=now)
        try:
            store.active(kind, name)
        except PolicyNotFound:
            store.activate(kind, name, version.version, by=_FIRST_START, now=now)


def _peers(settings: Settings) -> dict[str, Peer]:
    """The instances whose changes are taken, by name.

    Raises:
        InvalidSetting: one is named twice, or its key file is not usable.
    """
    peers: dict[str, Peer] = {}
    for item in settings.feed.peers:
        if item.instance in peers:
            raise InvalidSetting(f"[[feed.peers]] names {item.instance} twice")
        pem = read_limited(item.key, what="feed key of a peer", max_bytes=_MAX_KEY_BYTES)
        try:
            key = from_pem("ed25519", pem.decode("ascii", "replace"))
        except TouchstoneError as error:
            raise InvalidSetting(f"[[feed.peers]] {item.key} is not an Ed25519 public key, PEM") from error
        peers[item.instance] = Peer(
            instance=item.instance,
            key=key,
            trust_policy=item.trust_policy,
            verify_envelopes=item.verify_envelopes,
        )
    return peers


def _quota(settings: Settings) -> Quota | None:
    limits: Any = settings.limits
    if limits.releases_per_identity is None:
        return None
    return Quota(limits.releases_per_identity, timedelta(seconds=limits.release_window_s))
