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
from common.errors import InvalidSetting, Malformed
from common.files import read_limited, read_private, write_public
from provenance import trust
from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue
from provenance.pipeline import Pipeline
from provenance.predicates import reference_statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from policy.port import PolicyEngine
    from service.client import ApiClient

MAX_ENVELOPE_BYTES = 16 << 20
MAX_ARTIFACT_BYTES = 64 << 20
_MAX_LAUNCH_BYTES = 1 << 20


class Publication(msgspec.Struct, frozen=True):
    """A verified attestation with everything that was derived from it.

    Attributes:
        admitted: the statement, admitted by the trust policy.
        artifacts: the artefacts at hand.
        requests: what was asked for.
        values: what was derived.
    """

    admitted: AdmittedStatement
    artifacts: tuple[Artifact, ...]
    requests: tuple[DerivationRequest, ...]
    values: tuple[DerivedValue, ...]


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
    trust_policy: Path,
    attestation: Path,
    artifacts: Sequence[Artifact],
    requests: Sequence[DerivationRequest],
    engine: PolicyEngine,
    now: datetime,
) -> Publication:
    """Verify the attestation against the trust policy and derive every requested value.

    Raises:
        StatementError: not authentic, or not admitted by the trust policy.
        DerivationError: an artefact is not a subject, or the value is not determined.
    """
    pipeline = Pipeline(trust.load_file(trust_policy), engine)
    envelope = read_limited(attestation, what="attestation", max_bytes=MAX_ENVELOPE_BYTES)
    admitted = pipeline.admit(envelope, now)
    values = tuple(value for request in requests for value in pipeline.derive(admitted, request, artifacts))
    return Publication(admitted, tuple(artifacts), tuple(requests), values)


def submission_of(publication: Publication) -> dict[str, Any]:
    """Body of ``POST /v1/attestations``."""
    return {
        "envelope": b64url_encode(publication.admitted.authentic.envelope),
        "artifacts": [
            {"role": artifact.role, "name": artifact.name, "data": b64url_encode(artifact.data)}
            for artifact in publication.artifacts
        ],
        "derivation": msgspec.to_builtins(publication.requests),
    }


def submit(client: ApiClient, publication: Publication) -> Any:
    """Submit to a server, which verifies and derives again."""
    return client.call("POST", "/v1/attestations", body=submission_of(publication))


def write_statement(publication: Publication, output: Path, signing_key: Path, now: datetime) -> None:
    """Write a signed reference-value statement (docs/formats.md) for offline carriage.

    Raises:
        InvalidSetting: the key file is readable by others, or not an unencrypted PEM private key.
    """
    try:
        key = load_pem_private_key(read_private(signing_key, what="signing key"), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidSetting(f"{signing_key} is not an unencrypted PEM private key") from error
    statement = reference_statement.build([publication.admitted], publication.values, now=now)
    write_public(output, reference_statement.sign(statement, key))
