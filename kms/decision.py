"""The decision to release: floors first, then the release policy. Anything but a clear yes is a no.

Floors that no policy can lower: the result's status is ``affirming`` or ``warning``, and no claim of
its trust vector is contraindicated (AR4SI section 2.3: 96 to 127, -97 to -128). A debuggable guest,
say, is contraindicated by the appraiser's own floor and gets nothing from a policy that says
``allow := true``.

The policy's input is ``{"ear": claims, "resource": {...}}``, with ``kind``, ``id``, ``version`` and for
resources ``repository``, ``type``, ``tag`` in ``resource``. Undefined, an error, or a value that is not
``true`` is a denial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common.errors import PolicyError
from kms.errors import ReleaseDenied
from kms.secret_id import SecretKind, SecretRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kms.session import AttestedSession
    from policy.port import CompiledPolicy

_RELEASABLE = frozenset({"affirming", "warning"})
_CONTRAINDICATED_ABOVE = 95
_CONTRAINDICATED_BELOW = -96
_MAX_REASONS = 16
_MAX_REASON = 256
_ENCODER = msgspec.json.Encoder()


def require_floors(session: AttestedSession) -> None:
    """Demand what no policy can waive.

    Raises:
        ReleaseDenied: naming each claim that is contraindicated.
    """
    reasons = [
        f"{name} is contraindicated ({value})"
        for name, value in sorted(session.trust_vector.items())
        if value > _CONTRAINDICATED_ABOVE or value < _CONTRAINDICATED_BELOW
    ]
    if session.status not in _RELEASABLE:
        reasons.insert(0, f"ear.status is {session.status[:_MAX_REASON]}")
    if reasons:
        raise _denied("the attestation result is below the floor of any release", reasons)


def require_policy(
    compiled: CompiledPolicy, claims: Mapping[str, Any], ref: SecretRef, version: int
) -> None:
    """Evaluate the release policy.

    Args:
        compiled: a policy of kind release.
        claims: the verified claims of the attestation result.
        ref: the secret asked for.
        version: the version that would be released.

    Raises:
        ReleaseDenied: not allowed, with the policy's reasons; or it could not be evaluated.
        PolicyEngineUnavailable: the engine does not answer.
    """
    document = _ENCODER.encode({"ear": claims, "resource": _resource(ref, version)})
    try:
        result = compiled.evaluate(document)
    except PolicyError as error:
        raise _denied("the release policy could not be evaluated", [error.code]) from error
    if result.get("data.policy.allow") is not True:
        reasons = _reasons(result.get("data.policy.reasons"))
        raise _denied("the release policy does not allow it", reasons)


def _resource(ref: SecretRef, version: int) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": ref.kind.value, "id": ref.id, "version": version}
    if ref.kind is SecretKind.RESOURCE:
        document |= dict(zip(("repository", "type", "tag"), ref.id.split("/"), strict=True))
    return document


def _reasons(value: object) -> list[str]:
    if not isinstance(value, (list, tuple, set, frozenset)):
        return []
    texts = sorted(item[:_MAX_REASON] for item in value if isinstance(item, str))
    return texts[:_MAX_REASONS]


def _denied(what: str, reasons: list[str]) -> ReleaseDenied:
    message = f"{what}: {'; '.join(reasons)}" if reasons else f"{what} and gives no reason"
    return ReleaseDenied(message, details={"reasons": reasons})
