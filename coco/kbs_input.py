"""What a KBS call carries, read: cookies, tokens, versions, bodies, and the evidence to be verified.

Pure functions of their input. Whatever cannot be read in exactly one way is refused by a typed error.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, Final

import msgspec

from coco import tees
from coco.attestation import InitDataToml, StructuredRuntimeData, VerificationRequest
from coco.errors import PolicyDocumentInvalid, ProtocolVersion, TeeUnknown
from common import runtime_data, strict_json
from common.errors import InputError, Malformed
from wire.kbs import SESSION_COOKIE

if TYPE_CHECKING:
    from coco.tees import Tee
    from wire.kbs import Attestation, Request

_VERSIONS: Final = range(4, 5)  # the minor version; 0.4.x is served, and answered as 0.4.0


def session_cookie(header: str | None) -> str | None:
    """The session cookie of a ``Cookie`` header."""
    if header is None:
        return None
    # The usual case, without the cost of the general parser.
    prefix = f"{SESSION_COOKIE}="
    if header.startswith(prefix) and ";" not in header:
        return header.removeprefix(prefix)
    try:
        morsel = SimpleCookie(header).get(SESSION_COOKIE)
    except CookieError:
        return None
    return None if morsel is None else morsel.value


def bearer_token(authorization: str | None) -> str | None:
    """The token of an ``Authorization`` header of the scheme Bearer (RFC 6750 section 2.1)."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def hash_algorithms(request: Request) -> frozenset[str]:
    """What a client says it can hash runtime data with; nothing where it says something else."""
    extra = request.extra_params
    listed = extra.get("supported-hash-algorithms") if isinstance(extra, dict) else None
    if not isinstance(listed, list):
        return frozenset()
    return frozenset(item for item in listed if isinstance(item, str))


def verification_requests(
    attestation: Attestation, tee: Tee, *, hash_algorithm: str = ""
) -> list[VerificationRequest]:
    """The CPU's evidence, then the devices' in the order of their TEE names.

    Args:
        attestation: of a guest.
        tee: of its session.
        hash_algorithm: that its challenge chose for the runtime data; empty: SHA-384.

    Raises:
        Malformed: the additional evidence is not JSON of an object, or init-data is not TOML.
        TeeUnknown: a device's TEE is unknown.
    """
    given = attestation.init_data
    if given is not None and given.format != "toml":
        raise Malformed("init-data is taken in format toml")
    nonce, key = attestation.runtime_data.nonce, attestation.runtime_data.tee_pubkey
    evidence = attestation.tee_evidence
    primary = runtime_data.primary(nonce, key, evidence.additional_evidence)
    found = [
        VerificationRequest(
            tee=tee.name,
            evidence=evidence.primary_evidence,
            runtime_data=StructuredRuntimeData(primary),
            hash_algorithm=hash_algorithm,
            init_data=None if given is None else InitDataToml(given.body),
        )
    ]
    devices = _devices(evidence.additional_evidence)
    bound = StructuredRuntimeData(runtime_data.device(nonce, key))
    found += [
        VerificationRequest(tee=name, evidence=devices[name], runtime_data=bound)
        for name in sorted(devices)
    ]
    return found


def _devices(text: str) -> dict[str, Any]:
    if not text:
        return {}
    devices = strict_json.loads(text.encode("utf-8"), what="additional_evidence", max_bytes=16 << 20)
    if not isinstance(devices, dict):
        raise Malformed("additional_evidence is not the JSON of an object")
    names = [tees.named(name).name for name in devices]
    if len(set(names)) != len(names):
        raise Malformed("additional_evidence names a TEE twice")
    return devices


def primary_tee(name: str) -> Tee:
    """The TEE of a CPU that a Request names.

    Raises:
        TeeUnknown: it is unknown, or a device's.
    """
    tee = tees.named(name)
    if not tee.primary:
        raise TeeUnknown(f"{tee.name} is no TEE of a CPU")
    return tee


def require_version(text: str) -> None:
    """Serve protocol 0.4.x alone.

    Raises:
        ProtocolVersion: another version, or none.
    """
    parts = text.split(".")
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) <= 4]  # noqa: PLR2004
    if len(parts) != 3 or len(numbers) != 3 or numbers[0] != 0 or numbers[1] not in _VERSIONS:  # noqa: PLR2004
        shown = text if len(text) <= 32 and text.isprintable() else "another"  # noqa: PLR2004
        raise ProtocolVersion(
            f"KBS Client Protocol Version Mismatch: expect =0.4.0 while the request is {shown}"
        )


def decoded(decoder: msgspec.json.Decoder[Any], body: bytes, what: str) -> Any:
    """A JSON body by its decoder.

    Raises:
        Malformed: it is not of that form; ``what`` is the text.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(what) from error


def policy_document(body: bytes) -> dict[str, Any]:
    """The JSON object of a call that sets a policy; ``policy`` is a string.

    Raises:
        PolicyDocumentInvalid: it is none, or over 2 MiB.
    """
    try:
        document = strict_json.loads(body, what="the body", max_bytes=2 << 20)
    except InputError as error:
        raise PolicyDocumentInvalid("the body is not JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("policy"), str):
        raise PolicyDocumentInvalid("No `policy` field inside SetPolicy Request Json")
    return document
