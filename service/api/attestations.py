"""``/v1/attestations``: flow A on the server's side, and its undoing.

A submission is verified from its first byte, whatever the client has verified before: envelope, trust
policy, artefacts, derivation. Only then is anything stored, in one transaction with its audit record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.encoding import b64url_decode
from common.errors import TooLarge
from kms import recorded
from provenance.model import Artifact, DerivationRequest
from rvps import queries
from rvps.ingest import IngestResult
from rvps.records import AttestationRecord, AttestationState, AttestationSummary, Page
from rvps.retraction import RetractionResult
from rvps.targets import RetractionTarget, TargetKind
from service import submissions
from service.access import Scope
from service.api.paging import DEFAULT_PAGE
from service.routing import Answer, Call, RouteTable

if TYPE_CHECKING:
    from service.composition import Services

ROUTES = RouteTable("attestations")
_MAX_ARTIFACTS = 64
_MAX_DERIVATIONS = 256


class SubmittedArtifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An artefact that a derivation needs.

    Attributes:
        role: its role in the launch (``firmware``, ``kernel``, ``initrd``, ``cmdline`` ...).
        name: file name, for messages.
        data: the bytes, base64url.
    """

    role: str
    name: str
    data: str


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/attestations``.

    Attributes:
        envelope: Sigstore bundle or DSSE envelope exactly as the builder wrote it, base64url.
        artifacts: what derivations need; each must be a subject of the statement.
        derivation: what to derive; one request or several. None: the attestation is stored alone.
        trust_policy: name of the active trust policy that it is held against.
        supporting: further envelopes about the same artefacts (SBOM, VSA ...), base64url: stored, and
            counted for the policy's ``required_predicates``; nothing is derived from them.
    """

    envelope: str
    artifacts: tuple[SubmittedArtifact, ...] = ()
    derivation: DerivationRequest | tuple[DerivationRequest, ...] = ()
    trust_policy: str = "default"
    supporting: tuple[str, ...] = ()


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of the routes that retract one thing: why, for those who come later."""

    reason: str


class AttestationQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters and page of a listing."""

    state: AttestationState | None = None
    limit: int = DEFAULT_PAGE
    cursor: str | None = None


@ROUTES.add(
    "POST",
    "/v1/attestations",
    scope=Scope.ATTESTATIONS_WRITE,
    body=Submission,
    answers={200: IngestResult, 201: IngestResult},
    problems=(404, 409, 422),
    limit="attestation_bytes",
)
def submit(services: Services, call: Call) -> Answer:
    """Verify an attestation, derive reference values from it, and store both; idempotent."""
    body: Submission = call.body
    requests = body.derivation if isinstance(body.derivation, tuple) else (body.derivation,)
    if len(body.artifacts) > _MAX_ARTIFACTS or len(requests) > _MAX_DERIVATIONS:
        raise TooLarge(
            f"a submission has at most {_MAX_ARTIFACTS} artefacts, {_MAX_DERIVATIONS} derivations"
        )
    pipeline = services.pipelines.of(body.trust_policy)
    admitted = pipeline.admit(b64url_decode(body.envelope, what="envelope"), call.now)
    result = submissions.store(
        services,
        pipeline,
        admitted,
        by=call.caller,
        now=call.now,
        artifacts=[_artifact(item) for item in body.artifacts],
        requests=requests,
        supporting=submissions.admit_supporting(pipeline, body.supporting, call.now),
    )
    return Answer(201 if result.created else 200, result)


@ROUTES.add(
    "GET",
    "/v1/attestations",
    scope=Scope.ATTESTATIONS_READ,
    query=AttestationQuery,
    answers={200: Page[AttestationSummary]},
    problems=(413,),
)
def list_(services: Services, call: Call) -> Answer:
    """List attestations, newest first."""
    query: AttestationQuery = call.query
    page = queries.list_attestations(
        services.database, state=query.state, after=query.cursor, limit=query.limit
    )
    return Answer(200, page)


@ROUTES.add(
    "GET",
    "/v1/attestations/<digest>",
    scope=Scope.ATTESTATIONS_READ,
    answers={200: AttestationRecord},
    problems=(404,),
)
def get(services: Services, call: Call) -> Answer:
    """Get one attestation with its signers, checks and retractions."""
    return Answer(200, queries.get_attestation(services.database, call.path["digest"]))


@ROUTES.add(
    "GET",
    "/v1/attestations/<digest>/envelope",
    scope=Scope.ATTESTATIONS_READ,
    answers={200: bytes},
    problems=(404,),
)
def envelope(services: Services, call: Call) -> Answer:
    """Get the envelope, byte for byte as it was submitted."""
    return Answer(200, queries.get_envelope(services.database, call.path["digest"]))


@ROUTES.add(
    "POST",
    "/v1/attestations/<digest>/retract",
    scope=Scope.RETRACT,
    body=Reason,
    answers={200: RetractionResult},
    problems=(404,),
)
def retract(services: Services, call: Call) -> Answer:
    """Retract an attestation: every reference value that rests on it alone is dead at once."""
    target = RetractionTarget(TargetKind.ATTESTATION, call.path["digest"])
    result = recorded.retract(
        services.database, services.audit, target, reason=call.body.reason, by=call.caller, now=call.now
    )
    return Answer(200, result)


def _artifact(item: SubmittedArtifact) -> Artifact:
    return Artifact(role=item.role, name=item.name, data=b64url_decode(item.data, what="artefact"))
