"""Flow D, the guest's side of the exchange: ``GuestClient`` reads top to bottom in the order of things.

1. A fresh key for this session (``guest_agent.keys``).
2. ``POST /v1/challenges``: a nonce and the audience; for TPMs registers and a credential.
3. The binding digest over nonce, key, audience and init-data (``common.binding``) goes into evidence.
4. ``POST /v1/appraisals``: the attestation result, which must name our key and our nonce.
5. ``POST .../release`` with that result: a JWE, which must name the secret we asked for and this session.

Nothing is kept between sessions. The agent does not verify the result's signature: the result is for the
server, and what the agent relies on, that the secret is for its key alone, decryption shows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.binding import MIN_NONCE_BYTES, binding_digest, jwk_thumbprint
from common.encoding import b64url_decode, identifier, resource_path
from common.errors import InputError, InvalidSetting, Malformed
from guest_agent.errors import AudienceUnexpected, ServerAnswerInvalid
from guest_agent.http import JsonClient
from guest_agent.keys import EphemeralKey
from wire.rcar import (
    AppraisalRequest,
    AppraisalResponse,
    Challenge,
    ChallengeRequest,
    ReleasedSecret,
    ReleaseRequest,
)

if TYPE_CHECKING:
    from pathlib import Path

    from guest_agent.attesters import Attester
    from wire.rcar import InitData

_HASHES: Final = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_TOKEN_PARTS: Final = 3  # RFC 7515 section 3.1
_MAX_TOKEN: Final = 256 << 10


class Session(msgspec.Struct, frozen=True):
    """An attested session. It lives as long as its token, a few minutes.

    Attributes:
        key: the session's key; its private part is in memory alone.
        jti: id of the attestation result.
        status: EAR status: ``affirming``, ``warning``, ``contraindicated`` or ``none``.
        token: the attestation result, a compact JWS.
        explanation: why, where it was asked for.
    """

    key: EphemeralKey
    jti: str
    status: str
    token: str
    explanation: dict[str, Any] | None = None


class GuestClient:
    """Attests to one server and fetches secrets from it.

    Args:
        url: the server's; https, or http on loopback.
        attester: makes evidence.
        ca_file: PEM authorities that replace the system's.
        curve: of the session keys.
        audience: the relying party that is meant; None accepts what the server says it is.
        init_data: launch data that the TEE carries, to be sent along and bound.
        timeout_s: time limit of one call.

    Raises:
        InvalidSetting: a value that cannot be used.
    """

    def __init__(
        self,
        url: str,
        attester: Attester,
        *,
        ca_file: Path | None = None,
        curve: str = "P-384",
        audience: str | None = None,
        init_data: InitData | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Keep the parts; nothing is connected yet."""
        self._http = JsonClient(url, ca_file=ca_file, timeout_s=timeout_s)
        self._attester = attester
        self._curve = curve
        self._audience = audience
        self._init_data = init_data
        self._init_data_digest = _digest_of(init_data)

    def evidence(
        self, key: EphemeralKey, *, policy: str | None = None, explain: bool = False
    ) -> AppraisalRequest:
        """Steps 2 and 3: evidence over a fresh challenge, ready to be appraised once.

        Raises:
            UnavailableError: server or TEE does not answer as it should.
            AudienceUnexpected: the challenge is of another relying party.
        """
        asked = ChallengeRequest(tee=self._attester.tee, tpm=self._attester.endorsement())
        challenge = self._http.post("/v1/challenges", asked, Challenge)
        if self._audience is not None and challenge.audience != self._audience:
            raise AudienceUnexpected("the challenge is of another relying party than the one expected")
        report_data = binding_digest(
            nonce=_nonce_of(challenge),
            tee_pubkey=key.public_jwk,
            audience=challenge.audience,
            init_data_digest=self._init_data_digest,
            size=self._attester.binding_size,
        )
        return AppraisalRequest(
            evidence=self._attester.collect(report_data, challenge),
            nonce=challenge.nonce,
            tee_pubkey=key.public_jwk,
            init_data=self._init_data,
            policy=policy,
            explain=explain,
        )

    def attest(self, *, policy: str | None = None, explain: bool = False) -> Session:
        """Steps 1 to 4. A result that is not affirming is a session too: its status says so.

        Args:
            policy: name of the appraisal policy; the server's default otherwise.
            explain: ask for every check that was made.

        Raises:
            UnavailableError: server or TEE does not answer as it should; ``ServerRefused`` has the
                server's code.
            AudienceUnexpected: the challenge is of another relying party.
        """
        key = EphemeralKey(self._curve)
        request = self.evidence(key, policy=policy, explain=explain)
        answer = self._http.post("/v1/appraisals", request, AppraisalResponse)
        claims = _claims_of(answer.token)
        if claims.get("eat_nonce") != request.nonce or not _names_key(claims, key):
            raise ServerAnswerInvalid("the attestation result is about another nonce or key than ours")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti:
            raise ServerAnswerInvalid("the attestation result has no id")
        return Session(key, jti, answer.status, answer.token, answer.explanation)

    def get_resource(
        self,
        path: str,
        *,
        session: Session | None = None,
        version: int | None = None,
        policy: str | None = None,
    ) -> bytes:
        """The resource ``repository/type/tag``, released to this guest.

        Args:
            path: the resource.
            session: one from ``attest``; a fresh one otherwise.
            version: a particular version; the newest otherwise.
            policy: name of the appraisal policy, for a fresh session.

        Raises:
            InvalidIdentifier: not such a path.
            ServerRefused: denied; ``remote_code`` and ``details["reasons"]`` say why.
            SecretMismatch, SecretUndecryptable: the answer is not for this session.
            UnavailableError, AudienceUnexpected: as ``attest``.
        """
        route = f"/v1/resources/{resource_path(path)}/release"
        session = session or self.attest(policy=policy)
        return self._released(session, route, f"resource/{path}", version)

    def get_key(
        self,
        key_id: str,
        *,
        session: Session | None = None,
        version: int | None = None,
        policy: str | None = None,
    ) -> bytes:
        """The bytes of a key, released to this guest. Arguments and errors as ``get_resource``."""
        route = f"/v1/keys/{identifier(key_id, what='key id')}/release"
        session = session or self.attest(policy=policy)
        return self._released(session, route, f"key/{key_id}", version)

    def _released(self, session: Session, route: str, name: str, version: int | None) -> bytes:
        asked = ReleaseRequest(token=session.token, version=version)
        answer = self._http.post(route, asked, ReleasedSecret)
        return session.key.open_secret(answer.jwe, resource=name, version=version, ear_jti=session.jti)


def _digest_of(init_data: InitData | None) -> bytes:
    if init_data is None:
        return b""
    hash_of = _HASHES.get(init_data.algorithm)
    if hash_of is None:
        raise InvalidSetting("the init-data algorithm is one of sha256, sha384, sha512")
    return hash_of(b64url_decode(init_data.data, what="init-data")).digest()


def _nonce_of(challenge: Challenge) -> bytes:
    try:
        nonce = b64url_decode(challenge.nonce, what="nonce")
    except InputError as error:
        raise ServerAnswerInvalid("the challenge's nonce is not base64url") from error
    if len(nonce) < MIN_NONCE_BYTES:
        raise ServerAnswerInvalid(f"the challenge's nonce has only {len(nonce)} bytes")
    return nonce


def _claims_of(token: str) -> dict[str, Any]:
    """Claims of the result, unverified: compared with what we know, never trusted beyond it."""
    parts = token.split(".")
    if len(parts) != _TOKEN_PARTS or len(token) > _MAX_TOKEN:
        raise ServerAnswerInvalid("the attestation result is not a compact JWS")
    try:
        claims = strict_json.loads(b64url_decode(parts[1], what="payload"), what="attestation result")
    except InputError as error:
        raise ServerAnswerInvalid("the attestation result is not JSON") from error
    if not isinstance(claims, dict):
        raise ServerAnswerInvalid("the attestation result is not an object")
    return claims


def _names_key(claims: dict[str, Any], key: EphemeralKey) -> bool:
    confirmation = claims.get("cnf")
    jwk = confirmation.get("jwk") if isinstance(confirmation, dict) else None
    if not isinstance(jwk, dict):
        return False
    try:
        return jwk_thumbprint(jwk) == jwk_thumbprint(key.public_jwk)
    except Malformed:
        return False
