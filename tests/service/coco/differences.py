"""What is answered otherwise than the reference does, on purpose: for the transcripts' tests and the page.

Every difference names the exchanges where the transcripts show it, with our status (in the reference's
manner) and a part of our body. An exchange that is not named here is answered as the reference answers it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_ERRORS: Final = "errors/"


@dataclass(frozen=True)
class Difference:
    """One difference, as a row of docs/compatibility.md.

    Attributes:
        what: the situation.
        theirs: what the reference answers.
        ours: what we answer.
        why: the reason.
        seen: exchange to our status and a part of our body.
    """

    what: str
    theirs: str
    ours: str
    why: str
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)


_ATTEST: Final = (401, f"{_ERRORS}AttestationError")
DIFFERENCES: Final = (
    Difference(
        "`POST attest` on a session that has attested",
        "200 and the old token, whatever the evidence",
        "401 `AttestationError`; the session keeps its token",
        "an answer must be about the evidence of its own call",
        {"21/6": _ATTEST, "21/7": _ATTEST},
    ),
    Difference(
        "`POST attest` after a failed one",
        "the nonce stays good for five minutes",
        "401: a nonce is spent by the first attempt",
        "evidence cannot be tried out; clients begin a new handshake after a failure anyway",
        {"23/12": _ATTEST},
    ),
    Difference(
        "`POST auth` of version 0.4.1, 0.4.2 ...",
        "401",
        "200, answered as 0.4.0",
        "a patch level changes no message",
    ),
    Difference(
        "`POST auth` without `extra-params`",
        "401",
        "200",
        "nothing of it is needed, and the documents show requests without it",
        {"23/18": (200, '"nonce"')},
    ),
    Difference(
        "administrative call on a resource, refused",
        "`AdminAuthInitialization`",
        "`AdminAuthAccess`, as for policies",
        "one error for one thing; nothing was initialized",
        {"14/1": (401, f"{_ERRORS}AdminAuthAccess")},
    ),
    Difference(
        "policies in standard base64",
        "refused",
        "accepted, beside base64url",
        "every other base64 of the protocol is standard",
        {"20/6": (401, f"{_ERRORS}PolicyEngineError"), "32/7": (200, "")},
    ),
    Difference(
        "a policy that does not compile",
        "the Rego engine's own text",
        "line, column and cause in our words",
        "another engine",
        {"20/4": (401, "line 2, column 7"), "32/5": (500, "line 2, column 3")},
    ),
    Difference(
        "an attestation policy without `trust_claims`, or of another package",
        "accepted; every claim is 0 and a token is issued",
        "refused when it is set",
        "it could never decide",
        {
            "32/13": (500, "the rule trust_claims is missing"),
            "32/14": (500, "'none_cpu'"),
            "32/15": (500, "has package policy"),
            "32/16": (500, "'other_cpu'"),
        },
    ),
    Difference(
        "`trust_claims` with an unknown name",
        "accepted; the connection is cut when it is used",
        "refused when it is set; where it is made while evaluating, the submodule is contraindicated",
        "it could never decide; a policy that goes wrong denies, and breaks nothing",
        {"32/9": (500, "no-such-claim"), "32/10": (500, "'bogus_cpu'")},
    ),
    Difference(
        "empty `trust_claims`",
        "500",
        "a token whose submodule is contraindicated",
        "a policy that claims nothing denies",
        {"32/12": (200, "eyJ")},
    ),
    Difference(
        "a refused reference-value message",
        "`register reference value`, no cause",
        "the cause",
        "the administrator can mend it",
        {
            "20/12": (401, "Version unmatched! Need 0.1.0, given 0.2.0."),
            "20/13": (401, "Could not find extractor for nosuch"),
        },
    ),
    Difference(
        "`POST /attestation` without `policy_ids`",
        "400",
        "taken as `[]`",
        "the reference documents it as optional",
        {"30/2": (200, "eyJ")},
    ),
    Difference(
        "an init-data digest of zeros",
        "matches a report without init-data",
        "refused",
        "it would pass for any guest that has none",
        {"30/9": (500, "digest of zeros")},
    ),
    Difference(
        "a failed verification over `POST /attestation`",
        "the cause with the server's stack trace",
        "the cause alone",
        "a stack trace helps nobody but an attacker",
        {
            "30/5": (500, "no appraisal policy 'nosuch_cpu' is active"),
            "30/6": (500, "the signature does not verify"),
            "30/7": (500, "snp.report_data"),
            "30/10": (500, "evidence is not unpadded base64url"),
            "30/11": (500, "the TDX evidence is not of the published form"),
            "30/13": (500, "no TEE has that name"),
            "30/14": (500, "1 to 32 verification requests"),
            "32/8": (500, "policy id is not an identifier"),
            "32/19": (500, "Failed to get inner tee_params"),
        },
    ),
    Difference(
        "TEE name `tpm` over `POST /attestation`",
        "unknown",
        "served",
        "the verifier is there",
        {"30/12": (500, "TPM evidence is not of the published form")},
    ),
    Difference(
        "`GET /policy/{id}`",
        "404",
        "the policy's text, for administrators",
        "documented by the reference, not served there",
        {"32/2": (200, "package policy")},
    ),
    Difference(
        "`POST /policy` without authentication",
        "200",
        "401; `[coco.attestation] unauthenticated_writes` (development) restores it",
        "who sets the policy decides every verdict",
    ),
    Difference(
        "what is no request of the attestation-service API, or no route",
        "plain text, or an empty body",
        "a problem document (RFC 9457); 415 for another content type; 405 for a preflight where no"
        " origin is configured",
        "one form of errors for everything that is not in the protocol",
        {
            "23/28": (404, "input.not_found"),
            "23/29": (404, "input.not_found"),
            "30/15": (400, "input.malformed"),
            "30/16": (415, "input.media_type"),
            "30/17": (405, "input.method"),
            "32/20": (400, "input.malformed"),
            "32/22": (404, "input.not_found"),
            "32/24": (405, "input.method"),
        },
    ),
    Difference(
        "`GET /policy`",
        "the four policies that it ships, in no order",
        "those and `default_dcu`, `default_nvidia-dpu`, sorted",
        "every class of submodule has one",
        {"32/1": (200, "default_dcu")},
    ),
    Difference(
        "`GET /healthz`",
        "an empty 200",
        "200 with a JSON document",
        "it says whether insecure switches are on",
        {"23/36": (200, '"status"'), "32/23": (200, '"status"')},
    ),
    Difference(
        "a body over the limit",
        "413, plain text",
        "413, `SerdeError`",
        "clients read errors in one form",
    ),
    Difference(
        "the session cookie",
        "`Expires` alone; 32 hex digits",
        "`Expires`, `Path=/kbs/v0`, `HttpOnly`, `SameSite=Strict`, under TLS `Secure`; 51 characters",
        "it is a credential; it carries the session, so that `POST auth` stores nothing",
    ),
    Difference(
        "refusals",
        "no `Content-Type`",
        "`application/json`; every answer has `X-Request-Id` and `Cache-Control: no-store`",
        "the body is JSON; the cause is in the log under that id",
    ),
    Difference(
        "the attestation token",
        "`jwk` in the header; no `jti`, no key id",
        "also `kid`, `x5c`, `jti`, `eat_nonce`, `cnf`, `touchstone`; more claims of the evidence",
        "tokens survive a restart, can be verified without the header's key, and name what they rest on",
    ),
    Difference(
        "an expired or retracted reference value",
        "is served and counts",
        "neither",
        "expiry and retraction mean something",
    ),
    Difference(
        "a token that the caller signed (`insecure_header_jwk`)",
        "accepted with the shipped configuration",
        "401 `TokenVerifierError`; there is no such switch",
        "anybody could call itself attested",
    ),
    Difference(
        "a contraindicated guest under an allow-all policy",
        "gets the resource",
        "403 `PolicyDeny` (401 in the reference's manner); `lift_release_floors` (development) lifts it",
        "no policy releases to what is known to be wrong",
    ),
    Difference(
        "a token of the attestation-service API, or the agent's `coco_as` token",
        "opens resources",
        "401: it is not bound to a session of ours. Other services' tokens: `[[coco.trusted_issuers]]`",
        "its nonce was never ours; it may be replayed",
    ),
    Difference(
        "a result whose ground is gone: value retracted, policy changed",
        "counts until the token expires",
        "401 `TokenVerifierError`; attesting anew mends it",
        "what is released follows what holds now",
    ),
    Difference(
        "a query parameter twice",
        "the last one counts",
        "400 `SerdeError`",
        "a policy must not see another value than the next reader",
    ),
)


def table() -> str:
    """The rows in Markdown."""
    lines = ["| what | the reference | here | why |", "|---|---|---|---|"]
    lines += [f"| {item.what} | {item.theirs} | {item.ours} | {item.why} |" for item in DIFFERENCES]
    return "\n".join(lines)
