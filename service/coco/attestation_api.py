"""The REST API of the attestation service of Confidential Containers, on paths of its own.

Requests and success bodies are the reference's: the token as plain text, an empty 200 for a policy, ids as
``[{"policy-id": ...}]``, the challenge as plain text. ``GET /policy/{id}``, which the reference documents
and does not serve, gives the text of a policy. Where its documents and code differ, both are taken:
``policy_ids`` may be left out, and members that it documents and does not read (``type``,
``init_data_hash_algorithm``) are accepted and not read. Any other unknown member is refused: a misspelt
``runtime_data`` must not give a token for evidence that is bound to nothing.

Refusals are problem documents with accurate statuses. With ``[coco] statuses = "reference"`` they are its
500 with a chain of causes as plain text, except that what is no request at all (400), not admitted (401,
403), too large (413) or cannot be served now (503) keeps its status. A stack trace never leaves.

Source: attestation-service ``bin/restful``, ``docs/restful-as.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from coco import tees, verification
from coco.attestation import InitDataToml
from common.errors import AccessError, AuditError, Malformed, TooLarge, TouchstoneError, UnavailableError
from service import metrics
from service.coco import admission
from service.routing import Answer, Call, RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from coco.attestation import (
        InitDataDigest,
        RawRuntimeData,
        StructuredRuntimeData,
        VerificationRequest,
    )
    from service.composition import Services

ROUTES = RouteTable("coco-attestation")
PATHS: Final = ("/attestation", "/policy", "/challenge")
_TEXT: Final = "text/plain; charset=utf-8"
_REFERENCE_STATUS: Final = 500
_ALWAYS_ACCURATE: Final = (AccessError, TooLarge, UnavailableError, AuditError)


class RuntimeDataBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What evidence must be bound to; exactly one member.

    Attributes:
        raw: the expected report data itself, base64url.
        structured: JSON; the hash of its canonical form is expected.
    """

    raw: str | msgspec.UnsetType = msgspec.UNSET
    structured: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class InitDataBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Launch data; exactly one member.

    Attributes:
        init_data_digest: its digest, base64url.
        init_data_toml: the data itself.
    """

    init_data_digest: str | msgspec.UnsetType = msgspec.UNSET
    init_data_toml: str | msgspec.UnsetType = msgspec.UNSET


class VerificationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence of one TEE.

    Attributes:
        tee: ``snp``, ``tpm`` and so on.
        evidence: its JSON document, base64url.
        runtime_data: what it must be bound to; nothing if absent, and the token says so.
        init_data: launch data.
        runtime_data_hash_algorithm: ``sha256``, ``sha384``, ``sha512`` or ``sm3``; SHA-384 if absent.
        init_data_hash_algorithm: not read; the launch data names its own.
    """

    tee: str
    evidence: str
    runtime_data: RuntimeDataBody | None = None
    init_data: InitDataBody | None = None
    runtime_data_hash_algorithm: str | None = None
    init_data_hash_algorithm: str | None = None


class AttestationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /attestation``.

    Attributes:
        verification_requests: at least one; the CPU's first.
        policy_ids: the first counts; ``default`` if there is none.
    """

    verification_requests: tuple[VerificationBody, ...]
    policy_ids: tuple[str, ...] = ()


class SetPolicyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /policy``.

    Attributes:
        policy_id: id and class, as in ``default_cpu``.
        policy: Rego text, base64url without padding or standard base64.
        type: not read; there is Rego only.
    """

    policy_id: str
    policy: str
    type: Any = None


class PolicyId(msgspec.Struct, frozen=True):
    """An entry of ``GET /policy``."""

    policy_id: str = msgspec.field(name="policy-id")


class ChallengeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /challenge``.

    Attributes:
        tee: its name.
        tee_params: what the TEE says of itself, as text.
    """

    tee: str
    tee_params: str | msgspec.UnsetType = msgspec.UNSET


@ROUTES.add(
    "POST",
    "/attestation",
    open_to_all=True,
    body=AttestationBody,
    answers={200: bytes},
    problems=(404, 422, 503),
    limit="request_bytes",
    fast=True,
    content_type=_TEXT,
)
def attestation(services: Services, call: Call) -> Answer:
    """Evaluate evidence of one or more TEEs and give one signed result, also where the verdict is bad."""
    return _answered(services, "attestation report evaluate", lambda: _evaluate(services, call))


@ROUTES.add(
    "POST",
    "/policy",
    admit=admission.policy_writer,
    body=SetPolicyBody,
    answers={200: None},
    problems=(422,),
)
def set_policy(services: Services, call: Call) -> Answer:
    """Put an attestation policy in force."""

    def act() -> Answer:
        body: SetPolicyBody = call.body
        services.coco.policies.set_attestation_policy(
            body.policy_id, body.policy, by=call.caller, now=call.now
        )
        return Answer(200)

    return _answered(services, "set policy", act)


@ROUTES.add("GET", "/policy", admit=admission.policy_lister, answers={200: list[PolicyId]})
def list_policies(services: Services, call: Call) -> Answer:
    """List the attestation policies that are in force."""
    del call
    return _answered(
        services,
        "list policies",
        lambda: Answer(200, [PolicyId(policy_id) for policy_id in services.coco.policies.ids()]),
    )


@ROUTES.add(
    "GET",
    "/policy/<policy_id>",
    admit=admission.policy_reader,
    answers={200: bytes},
    problems=(404, 422),
    content_type=_TEXT,
)
def get_policy(services: Services, call: Call) -> Answer:
    """Give the text of an attestation policy that is in force."""

    def act() -> Answer:
        text = services.coco.policies.text(call.path["policy_id"])
        return Answer(200, text.encode("utf-8"), content_type=_TEXT)

    return _answered(services, "get policy", act)


@ROUTES.add(
    "POST",
    "/challenge",
    open_to_all=True,
    body=ChallengeBody,
    answers={200: bytes},
    problems=(422,),
    content_type=_TEXT,
)
def challenge(services: Services, call: Call) -> Answer:
    """Give what a TEE needs from its verifier before evidence is collected: empty for most."""

    def act() -> Answer:
        body: ChallengeBody = call.body
        if isinstance(body.tee_params, msgspec.UnsetType):
            raise Malformed("Failed to get inner tee_params")
        text = verification.challenge(
            services.coco.attestation, tees.named(body.tee), body.tee_params, call.now
        )
        return Answer(200, text.encode("utf-8"), content_type=_TEXT)

    return _answered(services, "generate challenge", act)


def _evaluate(services: Services, call: Call) -> Answer:
    body: AttestationBody = call.body
    requests = [_request(item) for item in body.verification_requests]
    result = services.coco.attestation.evaluate(requests, call.now, policy_ids=body.policy_ids)
    metrics.appraised(result.tee, result.status)
    return Answer(200, result.token.encode("ascii"), content_type=_TEXT)


def _request(item: VerificationBody) -> VerificationRequest:
    return verification.verification_request(
        tee=item.tee,
        evidence=item.evidence,
        runtime_data=_runtime_data(item.runtime_data),
        init_data=_init_data(item.init_data),
        hash_algorithm=item.runtime_data_hash_algorithm or "",
    )


def _runtime_data(body: RuntimeDataBody | None) -> RawRuntimeData | StructuredRuntimeData | None:
    if body is None:
        return None
    raw, structured = body.raw, body.structured
    if isinstance(raw, str) and isinstance(structured, msgspec.UnsetType):
        return verification.raw_runtime_data(raw)
    if isinstance(structured, msgspec.Raw) and isinstance(raw, msgspec.UnsetType):
        return verification.structured_runtime_data(bytes(structured))
    raise Malformed("runtime_data has exactly one of raw and structured")


def _init_data(body: InitDataBody | None) -> InitDataDigest | InitDataToml | None:
    if body is None:
        return None
    digest, toml = body.init_data_digest, body.init_data_toml
    if isinstance(digest, str) and isinstance(toml, msgspec.UnsetType):
        return verification.init_data_digest(digest)
    if isinstance(toml, str) and isinstance(digest, msgspec.UnsetType):
        return InitDataToml(toml)
    raise Malformed("init_data has exactly one of init_data_digest and init_data_toml")


def _answered(services: Services, doing: str, act: Callable[[], Answer]) -> Answer:
    """What ``act`` gives; its refusals in the reference's manner, where the settings want that."""
    try:
        return act()
    except TouchstoneError as error:
        if services.settings.coco.statuses != "reference" or isinstance(error, _ALWAYS_ACCURATE):
            raise
        metrics.refused(error.code)
        text = f"An internal error occured: \n0: {doing}\n1: {error.message}"
        return Answer(_REFERENCE_STATUS, text.encode("utf-8", "replace"), content_type=_TEXT)
