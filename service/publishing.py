"""The CI step, flow A on the publisher's side: verify, derive, then submit or write a statement.

What leaves here is checked again by whoever receives it: a server gets the envelope and the artefacts and
does the same from the start; an air-gapped site gets a signed reference-value statement, which its own
trust policy must name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from common.encoding import b64url_encode
from common.errors import InvalidSetting, Malformed, NotFound, StatementError
from common.files import read_limited, read_private, write_public
from provenance.errors import NotDerivable
from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue
from provenance.oci.attachments import require_subject
from provenance.pipeline import Pipeline
from provenance.predicates import reference_statement
from provenance.trust import domains
from provenance.trust.domains import Agreement  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from policy.port import PolicyEngine
    from provenance import trust
    from provenance.oci.attachments import Attachments
    from service.client import ApiClient

MAX_ENVELOPE_BYTES = 16 << 20
MAX_ARTIFACT_BYTES = 64 << 20
_MAX_LAUNCH_BYTES = 1 << 20


class Publication(msgspec.Struct, frozen=True):
    """Verified attestations with everything that was derived from them.

    Attributes:
        admitted: statements that values are derived from, at least one, in the order given.
        supporting: statements that only support them (the policy's ``supporting_predicates``).
        artifacts: the artefacts at hand.
        requests: what was asked for.
        values: what was derived from the first; the others are held to give the same.
        agreement: which trust domains attest the artefacts, and how many are needed.
        refused: what was attached to the image and did not count, each with the reason.
    """

    admitted: tuple[AdmittedStatement, ...]
    supporting: tuple[AdmittedStatement, ...]
    artifacts: tuple[Artifact, ...]
    requests: tuple[DerivationRequest, ...]
    values: tuple[DerivedValue, ...]
    agreement: Agreement
    refused: tuple[str, ...] = ()


def read_artifact(role: str, path: Path) -> Artifact:
    """An artefact file.

    Raises:
        NotFound: no such file.
        TooLarge: over ``MAX_ARTIFACT_BYTES``.
    """
    data = read_limited(path, what=f"artefact {role}", max_bytes=MAX_ARTIFACT_BYTES)
    return Artifact(role=role, name=path.name, data=data)


def read_requests(path: Path) -> tuple[DerivationRequest, ...]:
    """One derivation request, or a list of them, as JSON.

    Raises:
        Malformed: another shape.
    """
    data = read_limited(path, what="launch file", max_bytes=_MAX_LAUNCH_BYTES)
    try:
        decoded = msgspec.json.decode(data, type=list[DerivationRequest] | DerivationRequest)
    except msgspec.MsgspecError as error:
        raise Malformed(f"{path} is not a derivation request: {error}") from error
    return tuple(decoded) if isinstance(decoded, list) else (decoded,)


def prepare(
    *,
    policy: trust.TrustPolicy,
    attestations: Sequence[Path],
    artifacts: Sequence[Artifact],
    requests: Sequence[DerivationRequest],
    engine: PolicyEngine,
    now: datetime,
    environment: str | None = None,
    image: Attachments | None = None,
) -> Publication:
    """Verify the attestations against the trust policy and derive every requested value.

    Whether enough trust domains agree is left open: it stands in ``agreement``, and the receiver counts.
    Of what is attached to ``image`` the attestations count that the policy admits and that are about it;
    the others stand in ``refused``: anybody who may push can attach something.

    Raises:
        NotFound: nothing is attached to the image.
        StatementError: one is not authentic, or not admitted by the trust policy.
        RebuildersDisagree: two of them name one artefact and give it different digests.
        PredicatesMissing: an artefact lacks a predicate type that the policy requires.
        DerivationError: an artefact is not a subject, or the value is not determined.
    """
    pipeline = Pipeline(policy, engine, environment=environment)
    admitted = [
        pipeline.admit(read_limited(path, what="attestation", max_bytes=MAX_ENVELOPE_BYTES), now)
        for path in attestations
    ]
    attached, refused = ((), ()) if image is None else _admit_attached(pipeline, image, now)
    known = {item.authentic.attestation for item in admitted}
    admitted += [item for item in attached if item.authentic.attestation not in known]
    deriving = [
        domains.together(item, [other for other in admitted if other is not item], artifacts)
        for item in admitted
        if not item.supporting
    ]
    if not deriving:
        raise NotDerivable("every attestation given only supports: there is nothing to derive from")
    values = [
        tuple(value for request in requests for value in pipeline.derive(item, request, artifacts))
        for item in deriving
    ]
    return Publication(
        admitted=tuple(deriving),
        supporting=tuple(item for item in admitted if item.supporting),
        artifacts=tuple(artifacts),
        requests=tuple(requests),
        values=values[0],
        agreement=domains.agreement(admitted, domains.digests_at_hand(artifacts, admitted)),
        refused=refused,
    )


def _admit_attached(
    pipeline: Pipeline, image: Attachments, now: datetime
) -> tuple[tuple[AdmittedStatement, ...], tuple[str, ...]]:
    """The attestations of an image that the policy admits; of the others, why not."""
    admitted, refusals = [], []
    for item in image.attestations:
        try:
            statement = pipeline.admit(item.data, now)
            require_subject(statement.authentic.statement, image.image)
        except StatementError as error:
            refusals.append((item.layer, error))
        else:
            admitted.append(statement)
    if not admitted:
        if refusals:
            raise refusals[0][1]
        raise NotFound(f"no attestation that can be read is attached to {image.image}")
    return tuple(admitted), tuple(f"{layer}: {error.message} [{error.code}]" for layer, error in refusals)


def submissions_of(publication: Publication) -> list[dict[str, Any]]:
    """Bodies of ``POST /v1/attestations``, one per statement that values are derived from."""
    artifacts = [
        {"role": artifact.role, "name": artifact.name, "data": b64url_encode(artifact.data)}
        for artifact in publication.artifacts
    ]
    supporting = [b64url_encode(item.authentic.envelope) for item in publication.supporting]
    return [
        {
            "envelope": b64url_encode(item.authentic.envelope),
            "artifacts": artifacts,
            "derivation": msgspec.to_builtins(publication.requests),
        }
        | ({"supporting": supporting} if supporting else {})
        for item in publication.admitted
    ]


def submit(client: ApiClient, publication: Publication) -> list[Any]:
    """Submit to a server, which verifies and derives again; its answer to each."""
    return [client.call("POST", "/v1/attestations", body=body) for body in submissions_of(publication)]


def write_statement(publication: Publication, output: Path, signing_key: Path, now: datetime) -> None:
    """Write a signed reference-value statement (docs/formats.md) for offline carriage.

    Who receives it sees one signer, ours: that enough trust domains agree is demanded here.

    Raises:
        DomainsMissing: too few trust domains attest the artefacts.
        InvalidSetting: the key file is readable by others, or not an unencrypted PEM private key.
    """
    domains.require_agreement(publication.agreement)
    try:
        key = load_pem_private_key(read_private(signing_key, what="signing key"), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidSetting(f"{signing_key} is not an unencrypted PEM private key") from error
    statement = reference_statement.build(
        [reference_statement.source_of(item) for item in publication.admitted], publication.values, now=now
    )
    write_public(output, reference_statement.sign(statement, key))
