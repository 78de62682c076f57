"""Why a trust policy admits an attestation or not: every check, expected, observed, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.checks import Check  # noqa: TC001 (msgspec resolves it at run time)
from common.errors import StatementError
from provenance.trust.advice import Advice, advise

if TYPE_CHECKING:
    from datetime import datetime

    from provenance.pipeline import Pipeline


class Explanation(msgspec.Struct, frozen=True):
    """Whether a policy admits an attestation, and why.

    Attributes:
        admitted: the decision of ``Pipeline.admit``.
        code: of the first refusal; None if admitted.
        message: of the first refusal.
        authentic: signature, signer, time and log entry hold; the policy's own rules were then all made.
        checks: every check made, those after a refusal too.
        advice: what to change in the policy.
    """

    admitted: bool
    code: str | None
    message: str
    authentic: bool
    checks: tuple[Check, ...]
    advice: tuple[Advice, ...]


def explain(pipeline: Pipeline, envelope: bytes, now: datetime) -> Explanation:
    """Explain a decision.

    Raises:
        PolicyError: the policy's Rego cannot be evaluated.
    """
    try:
        admitted = pipeline.admit(envelope, now)
    except StatementError as refusal:
        return _refused(pipeline, envelope, now, refusal)
    return Explanation(
        admitted=True, code=None, message="", authentic=True, checks=admitted.checks, advice=()
    )


def _refused(pipeline: Pipeline, envelope: bytes, now: datetime, refusal: StatementError) -> Explanation:
    authentic, checks = True, refusal.checks
    try:
        checks = pipeline.explain(pipeline.authenticate(envelope, now), now)
    except StatementError:
        authentic = False
    return Explanation(
        admitted=False,
        code=refusal.code,
        message=refusal.message,
        authentic=authentic,
        checks=checks,
        advice=advise(checks),
    )
