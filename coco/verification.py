"""The text fields of the attestation-service API, REST and gRPC alike, as a ``VerificationRequest``.

Evidence, raw runtime data and digests are base64url without padding, one spelling of each value; nothing
else is taken. Evidence is a JSON document inside it. Structured runtime data is hashed in its canonical
form: a member that is given twice would make it ambiguous, and is refused.

Source: attestation-service ``bin/restful`` and ``bin/grpc``, ``protos/attestation.proto``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from coco.attestation import (
    InitDataDigest,
    InitDataToml,
    RawRuntimeData,
    StructuredRuntimeData,
    VerificationRequest,
)
from common import strict_json
from common.encoding import b64url_decode
from common.errors import Malformed
from verifier.errors import UnsupportedEvidence

if TYPE_CHECKING:
    from datetime import datetime

    from coco.attestation import AttestationService
    from coco.tees import Tee

_NEEDS_REQUEST: Final = "se"
_MAX_PARAMETERS: Final = 64 << 10
_JSON: Final = msgspec.json.Decoder()


def verification_request(
    *,
    tee: str,
    evidence: str,
    runtime_data: RawRuntimeData | StructuredRuntimeData | None,
    init_data: InitDataDigest | InitDataToml | None,
    hash_algorithm: str,
) -> VerificationRequest:
    """One request of the API.

    Args:
        tee: its name.
        evidence: base64url of the document.
        runtime_data: what it must be bound to.
        init_data: launch data.
        hash_algorithm: of structured runtime data; empty: SHA-384.

    Raises:
        Malformed: the evidence is not base64url of a JSON document.
    """
    data = b64url_decode(evidence, what="evidence")
    try:
        document: Any = _JSON.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed("the evidence is not JSON") from error
    return VerificationRequest(
        tee=tee,
        evidence=document,
        runtime_data=runtime_data,
        init_data=init_data,
        hash_algorithm=hash_algorithm,
    )


def raw_runtime_data(text: str) -> RawRuntimeData:
    """Bytes that are expected as report data.

    Raises:
        Malformed: not base64url, or nothing: fields of zeros are what guests without report data have.
    """
    data = b64url_decode(text, what="raw runtime data")
    if not any(data):
        raise Malformed("raw runtime data of nothing or zeros binds evidence to nothing")
    return RawRuntimeData(data)


def init_data_digest(text: str) -> InitDataDigest:
    """A digest that is expected in the init-data field.

    Raises:
        Malformed: not base64url.
    """
    return InitDataDigest(b64url_decode(text, what="init-data digest"))


def structured_runtime_data(text: bytes) -> StructuredRuntimeData:
    """JSON that is hashed in its canonical form.

    Raises:
        InputError: not JSON, a member given twice, nested too deeply.
    """
    return StructuredRuntimeData(strict_json.loads(text, what="structured runtime data"))


def challenge(attestation: AttestationService, tee: Tee, parameters: str, now: datetime) -> str:
    """What a guest of this TEE needs from its verifier before it collects evidence, besides a nonce.

    Nonces are made by whoever asks for evidence, here the key broker. Only IBM Secure Execution needs more:
    an attestation request that is encrypted to its host's key.

    Returns:
        Empty: nothing more is needed.

    Raises:
        Malformed: the parameters are too long.
        UnsupportedEvidence: this TEE needs more, and there is no verifier of it.
        ConfigurationError, EndorsementError: its verifier cannot make a request.
    """
    if len(parameters) > _MAX_PARAMETERS:
        raise Malformed("tee_params is too long")
    if tee.name == _NEEDS_REQUEST and not attestation.supports(tee):
        raise UnsupportedEvidence("this service is not configured for se evidence")
    supplement = attestation.supplement(tee, now)
    return "" if supplement is None else supplement.text
