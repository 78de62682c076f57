"""``POST /v1/challenges``: a nonce to bind evidence to, and for TPMs a credential to open."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from service.routing import Answer, Call, RouteTable
from verifier.errors import UnsupportedEvidence
from verifier.tpm.credential import SECRET_BYTES, make_credential
from verifier.tpm.endorsement import parse_endorsement
from wire.rcar import Challenge, ChallengeRequest, TpmEndorsement

if TYPE_CHECKING:
    from datetime import datetime

    from service.composition import Services

ROUTES = RouteTable("challenges")


@ROUTES.add(
    "POST",
    "/v1/challenges",
    body=ChallengeRequest,
    answers={201: Challenge},
    open_to_all=True,
    fast=True,
    problems=(422, 503),
)
def issue(services: Services, call: Call) -> Answer:
    """Issue a challenge: a nonce that one appraisal may spend."""
    asked: ChallengeRequest = call.body
    if asked.tee not in services.tees:
        raise UnsupportedEvidence("this server is not configured for evidence of that TEE")
    if asked.tpm is None:
        return Answer(201, services.challenges.issue(asked.tee, call.now))
    if asked.tee != "tpm":
        raise UnsupportedEvidence("a TPM endorsement goes with tee = tpm")
    return Answer(201, _with_credential(services, asked.tpm, call.now))


def _with_credential(services: Services, endorsement: TpmEndorsement, now: datetime) -> Challenge:
    """A challenge whose credential only the TPM of that EK certificate can open, for that AK."""
    endorsed = parse_endorsement(endorsement, services.tpm_settings, now)
    secret = secrets.token_bytes(SECRET_BYTES)
    credential = make_credential(endorsed, secret)
    return services.challenges.issue("tpm", now, credential=credential, credential_secret=secret)
