"""Whether requests can be served: what ``/readyz`` looks at, at every call, without a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.errors import TouchstoneError
from policy.port import PolicyKind
from service.errors import NotReady
from storage.migrate import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.composition import Services

_RELEASE_POLICY = "default"


class ReadinessCheck(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that must be there.

    Attributes:
        name: ``database``, ``keys``, ``appraisal_policy``, ``release_policy``.
        ok: whether it is.
        code: error code, where it is not.
    """

    name: str
    ok: bool
    code: str | None = None


def check_readiness(services: Services) -> tuple[ReadinessCheck, ...]:
    """Every check, in order; none stops the others."""
    return (
        _check("database", lambda: check(services.database)),
        _check("keys", lambda: _signing_key_is_published(services)),
        _check(
            "appraisal_policy",
            lambda: services.policies.active(PolicyKind.APPRAISAL, services.settings.policy.appraisal),
        ),
        _check("release_policy", lambda: services.policies.active(PolicyKind.RELEASE, _RELEASE_POLICY)),
    )


def _signing_key_is_published(services: Services) -> None:
    now = services.clock()
    if services.token_keys.signer(now).kid not in services.token_keys.verifying(now):
        raise NotReady("the token-signing key is not among the published ones")


def _check(name: str, look: Callable[[], object]) -> ReadinessCheck:
    try:
        look()
    except TouchstoneError as error:
        return ReadinessCheck(name, ok=False, code=error.code)
    return ReadinessCheck(name, ok=True)
