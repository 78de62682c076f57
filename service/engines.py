"""The configured policy engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.files import read_private

if TYPE_CHECKING:
    from policy.port import PolicyEngine
    from service.sections import PolicySettings


def policy_engine(settings: PolicySettings) -> PolicyEngine:
    """The engine that ``[policy] engine`` names; each is imported only where it is used.

    Raises:
        InvalidSetting: the token file is readable by others, or the URL is not usable.
        NotFound: a file that is named does not exist.
        DependencyMissing: the engine's package is not installed.
    """
    if settings.engine == "regorus":
        from policy.regorus_engine import RegorusEngine  # noqa: PLC0415

        return RegorusEngine()
    from policy.opa_engine import OpaEngine  # noqa: PLC0415

    opa = settings.opa
    token = None
    if opa.token_file is not None:
        token = read_private(opa.token_file, what="OPA token").decode("ascii", "replace").strip()
    return OpaEngine(opa.url, token=token, ca_file=opa.ca_file, timeout_s=opa.timeout_s)
