"""The parts behind the Confidential Containers front ends, built from the settings.

They appraise with an appraiser of their own: the same verifiers and policies, but no challenges (sessions
carry their nonces), and what administrators declare counts only here, and only where the setting says so.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from coco.attestation import AttestationService
from coco.kbs import KbsApi
from coco.policies import CocoPolicies
from coco.reference_values import ReferenceValueService
from coco.release import POLICY, ResourceReleases
from coco.requesters import Requesters
from coco.session import KEY_BYTES, KbsSessions
from coco.token import TokenNames
from common.files import read_private
from kms.files import create_once
from rvps.lookup import DatabaseReferenceLookup
from service import verifiers
from service.coco_admin import admin_gate, plugin_registry
from verifier.appraisal import Appraiser
from verifier.coco_token import CocoVerifier
from verifier.model import Challenger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coco.admin import AdminGate
    from coco.foreign_tokens import ForeignTokens
    from kms.audit import AuditLog
    from kms.release import ReleaseService
    from kms.secrets import SecretStore
    from policy.port import PolicyEngine
    from policy.store import PolicyStore
    from service.access import TokenStore
    from service.active_policies import ActivePolicies, Pipelines
    from service.settings import Settings
    from service.token_keys import TokenKeys
    from storage.database import Database
    from verifier.model import TeeVerifier
    from verifier.records import AppraisalRecorder

_KEY_FILE = "kbs-session.key"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Core:
    """What is there already when these parts are built (``service.composition``)."""

    database: Database
    engine: PolicyEngine
    policy_store: PolicyStore
    policies: ActivePolicies
    pipelines: Pipelines
    tokens: TokenStore
    token_keys: TokenKeys
    tees: Mapping[str, tuple[TeeVerifier, int]]
    recorder: AppraisalRecorder
    audit: AuditLog
    secrets: SecretStore
    releases: ReleaseService
    foreign_tokens: ForeignTokens
    remembered_decisions: int


@dataclass(frozen=True, slots=True)
class CocoParts:
    """What the front ends use.

    Attributes:
        attestation: evaluates evidence.
        policies: set over these protocols.
        reference_values: the reference value provider service.
        gate: admits administrators.
        kbs: the KBS protocol.
    """

    attestation: AttestationService
    policies: CocoPolicies
    reference_values: ReferenceValueService
    gate: AdminGate
    kbs: KbsApi


def session_key(keys_dir: Path) -> bytes:
    """The key of KBS sessions, made where there is none; replicas share the folder.

    Raises:
        InvalidSetting: the file is not usable, or readable by others.
    """
    path = keys_dir / _KEY_FILE
    if not path.exists():
        create_once(path, secrets.token_bytes(KEY_BYTES))
    return read_private(path, what="KBS session key")


def build(settings: Settings, core: Core) -> CocoParts:
    """Assemble the parts.

    Raises:
        ConfigurationError: something configured is not usable.
    """
    coco = settings.coco
    lifetime = timedelta(seconds=coco.session_lifetime_s)
    names = TokenNames(
        build=f"touchstone {metadata.version('touchstone')}",
        issuer=coco.token.issuer,
        developer=coco.token.developer,
        profile=coco.token.profile,
    )
    attestation = AttestationService(
        appraiser=_appraiser(settings, core),
        forms=verifiers.coco_forms(core.tees),
        signer=core.token_keys,
        names=names,
        recorder=core.recorder,
        challengers={
            name: verifier for name, (verifier, _) in core.tees.items() if isinstance(verifier, Challenger)
        },
        lifetime=lifetime,
        verbose=coco.token.verbose,
    )
    policies = CocoPolicies(core.policy_store, core.engine, core.audit)
    reference_values = ReferenceValueService(
        core.database,
        core.audit,
        pipelines=core.pipelines,
        declared_values=coco.declared_reference_values,
    )
    gate = admin_gate(coco.admin, tokens=core.tokens)
    kbs = KbsApi(
        sessions=KbsSessions(
            core.database,
            session_key(settings.keys_dir),
            lifetime=lifetime,
            boot_id=_boot_id() if core.database.dialect == "sqlite" else b"",
        ),
        attestation=attestation,
        requesters=Requesters(
            CocoVerifier(core.token_keys, issuer=names.issuer, profile=names.profile),
            core.token_keys.kids,
            core.foreign_tokens if coco.trusted_issuers else None,
        ),
        releases=ResourceReleases(
            releases=core.releases,
            policies=core.policies,
            audit=core.audit,
            lift_floors=coco.lift_release_floors,
            allow_rsa1_5=coco.rsa1_5,
        ),
        plugins=plugin_registry(
            coco.plugins, secrets=core.secrets, audit=core.audit, release_policy=POLICY
        ),
        gate=gate,
        policies=policies,
        reference_values=reference_values,
    )
    return CocoParts(attestation, policies, reference_values, gate, kbs)


def _boot_id() -> bytes:
    """The kernel's random id of this boot; where it tells none, sessions end with this process."""
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return secrets.token_bytes(KEY_BYTES)


def _appraiser(settings: Settings, core: Core) -> Appraiser:
    lookup = DatabaseReferenceLookup(core.database, declared_values=settings.coco.declared_reference_values)
    return Appraiser(
        verifiers=core.tees,
        policies=core.policies,
        references=lookup,
        audience=settings.server.audience,
        remembered_decisions=core.remembered_decisions,
    )
