"""The parts of the Confidential Containers services, assembled over what is built already."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from coco.admin import AdminGate, AdminMode, NativeAdmin
from coco.attestation import AttestationService
from coco.policies import CocoPolicies
from coco.reference_values import ReferenceValueService
from verifier.sample import SampleCocoForm
from verifier.snp.coco import SnpCocoForm
from verifier.tpm.coco import TpmCocoForm

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from kms.audit import AuditLog
    from policy.port import PolicyEngine
    from policy.store import PolicyStore
    from service.access import TokenStore
    from service.settings import Settings
    from service.token_keys import TokenKeys
    from storage.database import Database
    from verifier.appraisal import Appraiser
    from verifier.model import CocoForm
    from verifier.records import AppraisalRecorder

_FORMS: Mapping[str, type[CocoForm]] = {
    "snp": SnpCocoForm,
    "tpm": TpmCocoForm,
    "sample": SampleCocoForm,
}


class CocoParts(msgspec.Struct, frozen=True):
    """What the front ends use.

    Attributes:
        attestation: evaluates evidence.
        policies: sets and shows policies.
        reference_values: registers and shows reference values.
        gate: admits administrators.
    """

    attestation: AttestationService
    policies: CocoPolicies
    reference_values: ReferenceValueService
    gate: AdminGate


def build(
    settings: Settings,
    *,
    database: Database,
    engine: PolicyEngine,
    policy_store: PolicyStore,
    audit: AuditLog,
    tokens: TokenStore,
    token_keys: TokenKeys,
    appraiser: Appraiser,
    recorder: AppraisalRecorder,
    tees: Collection[str],
) -> CocoParts:
    """Assemble the parts.

    Args:
        settings: lifetime of tokens.
        database: of the reference values.
        engine: compiles policies.
        policy_store: their versions.
        audit: records changes.
        tokens: administrators' tokens of ours.
        token_keys: sign attestation results.
        appraiser: verifies and judges.
        recorder: of appraisals.
        tees: those that have a verifier.
    """
    return CocoParts(
        attestation=AttestationService(
            appraiser=appraiser,
            forms={tee: _FORMS[tee]() for tee in tees if tee in _FORMS},
            signer=_CocoSigner(token_keys),
            recorder=recorder,
            lifetime=timedelta(seconds=settings.token.lifetime_s),
        ),
        policies=CocoPolicies(policy_store, engine, audit),
        reference_values=ReferenceValueService(database, audit),
        gate=AdminGate(AdminMode.AUTHENTICATED, native=_NativeTokens(tokens)),
    )


class _CocoSigner:
    """The present key, in the form that relying parties of Confidential Containers read."""

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys

    def sign(self, claims: Mapping[str, object], *, now: datetime, expires: datetime) -> str:
        return self._keys.sign_coco(claims, now=now, expires=expires)


class _NativeTokens:
    """Implements ``coco.admin.NativeTokens``."""

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens

    def __call__(self, authorization: str, now: datetime) -> NativeAdmin:
        principal = self._tokens.authenticate(authorization, now)
        return NativeAdmin(principal.name, frozenset(scope.value for scope in principal.scopes))
