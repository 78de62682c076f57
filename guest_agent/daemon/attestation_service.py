"""Tokens of kind ``coco_as``: from an attestation service, without a KBS between.

The evidence is bound to runtime data of our own, ``{"nonce": ...}`` with 32 fresh random bytes, hashed by
SHA-384 as the KBS protocol does. (The reference sends evidence over empty report data and no runtime data:
whoever saw it once can have tokens made of it for ever, and the token says nothing of for whom.) Here a
token names a nonce that was used once, in ``runtime_data_claims``; evidence that was made for something
else cannot be brought under it. It has no ``tee-pubkey``: no KBS releases anything for it.

Source: Confidential Containers, attestation service, REST interface.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import runtime_data
from common.encoding import b64_encode, b64url_encode
from guest_agent.errors import ServerAnswerInvalid, ServerRefused
from guest_agent.http import ask, checked_url, connection_pool, read_bounded

if TYPE_CHECKING:
    from pathlib import Path

    from guest_agent.coco import CocoAttester

_NONCE_BYTES: Final = 32
_CONNECT_S: Final = 10.0
_MAX_TOKEN: Final = 256 << 10
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_OK: Final = 200
_FIRST_ERROR: Final = 400
_ADVICE: Final = "Check [attestation_service], that the service runs, and ca_file for a private authority."


class AttestationServiceTokens:
    """Tokens of kind ``coco_as``.

    Args:
        url: base URL of the service.
        attester: makes the CPU's evidence.
        ca_file: PEM authorities that replace the system's.
        timeout_s: seconds for the whole call.

    Raises:
        InvalidSetting: the URL or the file cannot be used.
    """

    def __init__(
        self, url: str, attester: CocoAttester, *, ca_file: Path | None = None, timeout_s: float = 50.0
    ) -> None:
        """Connect to nothing yet."""
        self._url = checked_url(url)
        self._attester = attester
        self._timeout_s = timeout_s
        self._pool = connection_pool(
            self._url,
            {"Content-Type": "application/json"},
            ca_file=ca_file,
            connect_timeout_s=min(_CONNECT_S, timeout_s),
            timeout_s=timeout_s,
        )

    def token(self) -> bytes:
        """A compact JWS, as the service made it.

        Raises:
            ServerRefused: it answered with an error.
            ServerAnswerInvalid: it answered with something else than a token.
            ServerTimeout, FetchFailed: it does not answer.
            UnavailableError: the TEE does not.
        """
        deadline = time.monotonic() + self._timeout_s
        body = msgspec.json.encode(self._request())
        response = ask(
            self._pool,
            "POST",
            f"{self._url}/attestation",
            body=body,
            who="the attestation service",
            advice=_ADVICE,
        )
        token = read_bounded(response, deadline)
        if response.status >= _FIRST_ERROR:
            # Its text is a chain of causes, of which nothing is for callers.
            raise ServerRefused(
                f"the attestation service answered status {response.status}",
                remote_code="",
                status=response.status,
                advice="Its log says why; the reference answers 500 to evidence that it refuses.",
            )
        if response.status != _OK or len(token) > _MAX_TOKEN or not _TOKEN.match(token):
            raise ServerAnswerInvalid("the attestation service did not answer with a token", advice=_ADVICE)
        return token

    def _request(self) -> dict[str, Any]:
        bound = {"nonce": b64_encode(secrets.token_bytes(_NONCE_BYTES))}
        evidence = self._attester.evidence(runtime_data.digest(bound))
        return {
            "verification_requests": [
                {
                    "tee": self._attester.tee,
                    "evidence": b64url_encode(msgspec.json.encode(evidence)),
                    "runtime_data": {"structured": bound},
                    "runtime_data_hash_algorithm": runtime_data.DEFAULT_HASH,
                }
            ],
            "policy_ids": [],
        }
