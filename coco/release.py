"""Resources to attested guests by the KBS protocol: flow C in CoCo's terms.

Order: floors; then, inside ``kms.release`` (which re-checks that everything the result rests on still
counts, and records the release before anything is opened), the resource policy; for a secret that was
stored with a release policy of its own, that one too; then the answer is encrypted to the guest's key.

Floors: no submodule is contraindicated, and the CPU's status is affirming or warning. A development switch
lifts them, since the sample TEE without reference values is contraindicated.

What a plugin makes is recorded before it is sent, as a release of ``plugin/<name>/<path>``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coco import jwe
from coco.requester import CONTRAINDICATED
from common.errors import PolicyError
from kms.audit import AuditEvent
from kms.errors import ReleaseDenied
from kms.release import Grant
from policy.documents import resource_data, resource_input
from policy.port import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from coco.requester import Requester
    from kms.audit import AuditLog
    from kms.release import ActivePolicies, ReleaseService
    from kms.sealing import Context
    from kms.secret_id import SecretRef
    from policy.port import CompiledPolicy
    from wire.kbs import EncryptedResource

# The one resource policy, and the release policy of what is stored through the KBS: as a release policy it
# does not exist, so that only the resource policy gives such a secret out.
POLICY: Final = "resource-policy"
RESOURCE_PLUGIN: Final = "resource"
_RELEASABLE: Final = frozenset({"affirming", "warning"})
_MAX_REASONS: Final = 16


class ResourceReleases:
    """Decides about resources and plugin answers, and encrypts them.

    Args:
        releases: re-checks, records and opens secrets.
        policies: the active resource policy, compiled.
        audit: for what plugins make.
        lift_floors: development: contraindicated guests may be allowed by the policy.
        allow_rsa1_5: compatibility: encrypt to RSA1_5 keys.
    """

    def __init__(
        self,
        *,
        releases: ReleaseService,
        policies: ActivePolicies,
        audit: AuditLog,
        lift_floors: bool = False,
        allow_rsa1_5: bool = False,
    ) -> None:
        """Keep the parts."""
        self._releases = releases
        self._policies = policies
        self._audit = audit
        self._lift_floors = lift_floors
        self._allow_rsa1_5 = allow_rsa1_5

    def resource(
        self, requester: Requester, ref: SecretRef, query: Mapping[str, str], now: datetime
    ) -> EncryptedResource:
        """A stored resource, encrypted to the guest's key.

        Raises:
            TeeKeyRefused: secrets are not encrypted to such a key.
            ReleaseError, AuditUnavailable, PolicyEngineUnavailable: as ``kms.release``.
        """
        recipient = jwe.recipient(requester.session.jwk, allow_rsa1_5=self._allow_rsa1_5)
        path = ref.id.split("/")

        def decide(wanted: Context | None) -> tuple[Grant, ...]:
            self._require_floors(requester)
            grant = self._grant(requester, RESOURCE_PLUGIN, path, query)
            if wanted is None or wanted.release_policy == POLICY:
                return (grant,)
            return (grant, self._releases.native_grant(requester.claims, ref, wanted))

        opened = self._releases.open_for(requester.session, ref, decide, now)
        return jwe.encrypt(recipient, opened.plaintext)

    def allow_plugin(
        self,
        requester: Requester,
        plugin: str,
        path: Sequence[str],
        query: Mapping[str, str],
        now: datetime,
    ) -> Grant:
        """The yes of floors and resource policy to a plugin's call; a no is recorded.

        Raises:
            ReleaseDenied: they say no.
        """
        try:
            self._require_floors(requester)
            return self._grant(requester, plugin, path, query)
        except ReleaseDenied as error:
            details: dict[str, Any] = {"jti": requester.session.jti, "code": error.code}
            self._audit.record(_event(requester, _target(plugin, path), "denied", details, now))
            raise

    def plugin_answer(
        self,
        requester: Requester,
        plugin: str,
        path: Sequence[str],
        grant: Grant,
        now: datetime,
    ) -> None:
        """Record that a plugin's answer goes to a guest; without the record it must not.

        Raises:
            AuditUnavailable: the record could not be committed.
        """
        session = requester.session
        details = {"jti": session.jti, "resource_policy": grant.digest, "evidence": session.evidence_digest}
        self._audit.record(_event(requester, _target(plugin, path), "done", details, now))

    def encrypted(self, requester: Requester, body: bytes) -> EncryptedResource:
        """Bytes encrypted to the guest's key.

        Raises:
            TeeKeyRefused: not to such a key.
        """
        recipient = jwe.recipient(requester.session.jwk, allow_rsa1_5=self._allow_rsa1_5)
        return jwe.encrypt(recipient, body)

    def _require_floors(self, requester: Requester) -> None:
        if self._lift_floors:
            return
        reasons = [
            f"{name} is {status[:32]}"
            for name, status in sorted(requester.statuses.items())
            if status == CONTRAINDICATED or (name == "cpu0" and status not in _RELEASABLE)
        ]
        if reasons or "cpu0" not in requester.statuses:
            raise ReleaseDenied(
                f"the attestation result is below the floor of any release: {'; '.join(reasons)}",
                details={"reasons": reasons},
            )

    def _grant(
        self, requester: Requester, plugin: str, path: Sequence[str], query: Mapping[str, str]
    ) -> Grant:
        compiled = self._active()
        document = resource_input(requester.payload, resource_data(plugin, path, query))
        try:
            result = compiled.evaluate(document)
        except PolicyError as error:
            raise ReleaseDenied(
                "the resource policy could not be evaluated", details={"reasons": [error.code]}
            ) from error
        if result.get("data.policy.allow") is not True:
            reasons = result.get("data.policy.reasons")
            shown = sorted(str(item)[:256] for item in reasons)[:_MAX_REASONS] if reasons else []
            raise ReleaseDenied("the resource policy does not allow it", details={"reasons": shown})
        return Grant(PolicyKind.RESOURCE, POLICY, compiled.source.digest)

    def _active(self) -> CompiledPolicy:
        try:
            return self._policies.active(PolicyKind.RESOURCE, POLICY)
        except PolicyError as error:
            raise ReleaseDenied(
                "there is no resource policy that can be used", details={"reasons": [error.code]}
            ) from error


def _target(plugin: str, path: Sequence[str]) -> str:
    return "/".join(("plugin", plugin, *path))[:512]


def _event(
    requester: Requester, target: str, outcome: str, details: dict[str, Any], now: datetime
) -> AuditEvent:
    return AuditEvent("plugin.release", requester.session.actor, target, outcome, now, details)
