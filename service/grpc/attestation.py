"""``attestation.AttestationService``: evaluate evidence, set a policy, ask for a challenge.

What the reference's KBS calls: ``AttestationEvaluate`` with ``policy_ids = ["default"]``, structured
runtime data and SHA-384; ``SetAttestationPolicy``; ``GetAttestationChallenge`` for Secure Execution only,
since it makes the nonces of all others itself. What is not understood is refused.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from coco import tees, verification
from coco.attestation import InitDataToml
from common.errors import Malformed
from service import metrics
from service.coco import admission
from service.grpc import access
from service.grpc.calls import unary
from wire.proto import attestation_pb2 as pb
from wire.proto import attestation_pb2_grpc as stubs

if TYPE_CHECKING:
    import grpc

    from coco.attestation import (
        InitDataDigest,
        RawRuntimeData,
        StructuredRuntimeData,
        VerificationRequest,
    )
    from service.composition import Services
    from service.grpc.calls import GrpcCall

SERVICE = "attestation.AttestationService"


class AttestationServicer(stubs.AttestationServiceServicer):
    """Serves the methods.

    Args:
        services: what they use.
    """

    def __init__(self, services: Services) -> None:
        """Wrap the handlers."""
        self._evaluate = unary(
            services,
            f"/{SERVICE}/AttestationEvaluate",
            "Attestation evaluation failed",
            partial(_evaluate, services),
        )
        self._set_policy = unary(
            services,
            f"/{SERVICE}/SetAttestationPolicy",
            "Set Attestation Policy Failed",
            partial(_set_policy, services),
        )
        self._challenge = unary(
            services, f"/{SERVICE}/GetAttestationChallenge", "Challenge", partial(_challenge, services)
        )

    def AttestationEvaluate(  # noqa: N802 (name of the contract)
        self, request: pb.AttestationRequest, context: grpc.ServicerContext
    ) -> pb.AttestationResponse:
        """Evaluate evidence and give a signed result."""
        return self._evaluate(request, context)

    def SetAttestationPolicy(  # noqa: N802
        self, request: pb.SetPolicyRequest, context: grpc.ServicerContext
    ) -> pb.SetPolicyResponse:
        """Put a policy in force."""
        return self._set_policy(request, context)

    def GetAttestationChallenge(  # noqa: N802
        self, request: pb.ChallengeRequest, context: grpc.ServicerContext
    ) -> pb.ChallengeResponse:
        """Give what a TEE needs before evidence is collected."""
        return self._challenge(request, context)


def _evaluate(services: Services, request: pb.AttestationRequest, call: GrpcCall) -> pb.AttestationResponse:
    requests = [_request(item) for item in request.verification_requests]
    result = services.coco.attestation.evaluate(requests, call.now, policy_ids=list(request.policy_ids))
    metrics.appraised(result.tee, result.status)
    return pb.AttestationResponse(attestation_token=result.token)


def _set_policy(services: Services, request: pb.SetPolicyRequest, call: GrpcCall) -> pb.SetPolicyResponse:
    by = access.writer(services, admission.WRITE_POLICIES, call)
    services.coco.policies.set_attestation_policy(request.policy_id, request.policy, by=by, now=call.now)
    return pb.SetPolicyResponse()


def _challenge(services: Services, request: pb.ChallengeRequest, call: GrpcCall) -> pb.ChallengeResponse:
    for name in ("tee", "tee_params"):
        if name not in request.inner:
            raise Malformed(f"Error parse inner_tee {name}")
    text = verification.challenge(
        services.coco.attestation, tees.named(request.inner["tee"]), request.inner["tee_params"], call.now
    )
    return pb.ChallengeResponse(attestation_challenge=text)


def _request(item: pb.IndividualAttestationRequest) -> VerificationRequest:
    return verification.verification_request(
        tee=item.tee,
        evidence=item.evidence,
        runtime_data=_runtime_data(item),
        init_data=_init_data(item),
        hash_algorithm=item.runtime_data_hash_algorithm,
    )


def _runtime_data(
    item: pb.IndividualAttestationRequest,
) -> RawRuntimeData | StructuredRuntimeData | None:
    given = item.WhichOneof("runtime_data")
    if given is None:
        return None
    if given == "raw_runtime_data":
        return verification.raw_runtime_data(item.raw_runtime_data)
    return verification.structured_runtime_data(item.structured_runtime_data.encode("utf-8"))


def _init_data(item: pb.IndividualAttestationRequest) -> InitDataDigest | InitDataToml | None:
    given = item.WhichOneof("init_data")
    if given is None:
        return None
    if given == "init_data_digest":
        return verification.init_data_digest(item.init_data_digest)
    return InitDataToml(item.init_data_toml)
