"""The KBS protocol from the guest's side: handshake (RCAR), then resources encrypted to this guest's key.

One handshake reads top to bottom in ``KbsClient._handshake``:

1. ``POST auth`` with version, TEE and the hashes we know: a nonce, a session cookie, perhaps a chosen hash.
2. A fresh TEE key. One key per handshake: a key that leaks opens one session.
3. Evidence of the devices over nonce and key; its JSON text is fixed from here on.
4. Evidence of the CPU over that text, nonce and key.
5. ``POST attest``: the attestation result (token), and the session is attested.

Retries, all bounded: connection failures and 502 to 504, five attempts, one second apart (a handshake
begins anew, since its nonce may be spent); a 401 begins a new handshake, three in all; a 403, a 404 and a
policy's denial are final.

The token's signature is not checked: the token is for the KBS. What the guest relies on is that a
resource is encrypted to its key. Thread-safe: one handshake at a time, each caller works with the session
it got.

Sources: Confidential Containers, KBS attestation protocol 0.4.0; guest-components, ``kbs_protocol``.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from common import runtime_data, strict_json
from common.encoding import b64_decode, b64_encode
from common.errors import FetchFailed, InputError, InvalidSetting
from guest_agent.errors import KbsUnauthenticated, KbsUnreachable, ServerAnswerInvalid, ServerTimeout
from guest_agent.kbs_answers import decoded, refusal, resource_of
from guest_agent.kbs_http import KbsHttp
from guest_agent.kbs_keys import DEFAULT_ALGORITHM, TeeKey
from guest_agent.resource_uri import ResourceUri, parse
from wire import kbs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from guest_agent.coco import CocoAttester
    from guest_agent.kbs_http import Answer

_CONNECTIONS: Final = 5
_PAUSE_S: Final = 1.0
_HANDSHAKES: Final = 3
_OK: Final = 200
_NONCE_BYTES: Final = 32
_TOKEN_PARTS: Final = 3  # RFC 7515 section 3.1
_MAX_TOKEN: Final = 256 << 10
_MAX_SE_REQUEST: Final = 1 << 20
_SELECTED_HASH: Final = "selected-hash-algorithm"
_ENCODER: Final = msgspec.json.Encoder()
T = TypeVar("T")


class KbsSession(msgspec.Struct, frozen=True):
    """An attested session; it lives a few minutes.

    Attributes:
        token: the attestation result, a compact JWS.
        key: the TEE key that it names.
        cookie: of the session at the KBS.
    """

    token: str
    key: TeeKey
    cookie: str


class KbsClient:
    """Attests to one KBS and gets resources from it.

    Args:
        url: the KBS's; https, or http to loopback.
        attester: makes the CPU's evidence.
        devices: TEE name to what makes an additional device's evidence.
        init_data: TOML text that the TEE carries; None for none.
        ca_file: PEM authorities that replace the system's.
        key_algorithm: of the TEE keys, as ``guest_agent.kbs_keys`` names them.
        allow_http: accept http to other hosts (``guest_agent.kbs_http``).
        connect_timeout_s: time limit of making a connection.
        timeout_s: time limit of one call.
        sleep: waits between attempts.

    Raises:
        InvalidSetting: a value that cannot be used.
    """

    def __init__(
        self,
        url: str,
        attester: CocoAttester,
        *,
        devices: Mapping[str, CocoAttester] | None = None,
        init_data: str | None = None,
        ca_file: Path | None = None,
        key_algorithm: str = DEFAULT_ALGORITHM,
        allow_http: bool = False,
        connect_timeout_s: float = 10.0,
        timeout_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep the parts; nothing is connected yet."""
        TeeKey.generate(key_algorithm)  # an algorithm that cannot be used is told at the start
        self._http = KbsHttp(
            url,
            ca_file=ca_file,
            allow_http=allow_http,
            connect_timeout_s=connect_timeout_s,
            timeout_s=timeout_s,
        )
        self._attester = attester
        self._devices = dict(devices or {})
        self._init_data = None if init_data is None else kbs.InitData("toml", init_data)
        self._key_algorithm = key_algorithm
        self._sleep = sleep
        self._lock = threading.Lock()
        self._session: KbsSession | None = None

    def attest(self) -> KbsSession:
        """A new session.

        Raises:
            KbsUnauthenticated: the KBS accepts the evidence of none of three handshakes.
            KbsRefused, KbsDenied, KbsResourceUnknown: it refuses the handshake.
            KbsUnreachable: it does not answer.
            ServerAnswerInvalid: its answers are not of the protocol.
            UnavailableError: the TEE's interface gives no evidence.
        """
        with self._lock:
            return self._attest()

    def get_resource(self, resource: str | ResourceUri) -> bytes:
        """The plaintext of a resource, or a plugin's answer.

        Args:
            resource: ``repository/type/tag``, a ``kbs://`` or ``kbs+plugin://`` URI; its host is not looked
                at here (``guest_agent.kbs_hosts`` chooses the client by it).

        Raises:
            InvalidIdentifier: not such a resource.
            KbsDenied: a policy does not release it.
            KbsResourceUnknown: there is no such resource.
            SecretUndecryptable: it was not encrypted to this guest, or altered.
            KbsUnauthenticated, KbsRefused, KbsUnreachable, ServerAnswerInvalid, UnavailableError: as
                ``attest``.
        """
        uri = resource if isinstance(resource, ResourceUri) else parse(resource)
        session = self._current()
        for left in reversed(range(_HANDSHAKES)):
            try:
                return self._resource(uri, session)
            except KbsUnauthenticated:
                if not left:
                    raise
            session = self._renewed(session)
        raise AssertionError  # the last attempt returned or raised

    def _resource(self, uri: ResourceUri, session: KbsSession) -> bytes:
        answer = persistently(
            lambda: self._http.send("GET", uri.target, cookie=session.cookie), self._sleep
        )
        if answer.status != _OK:
            raise refusal(answer, "the KBS does not give the resource")
        return resource_of(answer, uri, session.key)

    def _current(self) -> KbsSession:
        with self._lock:
            return self._session or self._attest()

    def _renewed(self, stale: KbsSession) -> KbsSession:
        """Another session than ``stale``: one that another thread made meanwhile, or a new one."""
        with self._lock:
            if self._session is not None and self._session is not stale:
                return self._session
            return self._attest()

    def _attest(self) -> KbsSession:
        self._session = None
        for left in reversed(range(_HANDSHAKES)):
            try:
                self._session = persistently(self._handshake, self._sleep)
            except KbsUnauthenticated:
                if not left:
                    raise
            else:
                return self._session
        raise AssertionError  # the last handshake returned or raised

    def _handshake(self) -> KbsSession:
        asked = kbs.Request(
            kbs.PROTOCOL_VERSION,
            self._attester.tee,
            {"supported-hash-algorithms": list(runtime_data.HASHES)},
        )
        answer = self._posted("/auth", asked, None)
        if answer.cookie is None:
            raise ServerAnswerInvalid("the KBS's challenge sets no session cookie")
        challenge = decoded(answer, kbs.Challenge)
        algorithm = _selected_hash(challenge)
        key = TeeKey.generate(self._key_algorithm)
        additional = self._device_evidence(challenge.nonce, key, algorithm)
        primary = runtime_data.primary(challenge.nonce, key.public_jwk, additional)
        evidence = self._primary_evidence(challenge, runtime_data.digest(primary, algorithm))
        attestation = kbs.Attestation(
            kbs.RuntimeData(challenge.nonce, dict(key.public_jwk)),
            kbs.CompositeEvidence(evidence, additional),
            self._init_data,
        )
        attested = self._posted("/attest", attestation, answer.cookie)
        token = decoded(attested, kbs.TokenAnswer).token
        if len(token) > _MAX_TOKEN or len(token.split(".")) != _TOKEN_PARTS:
            raise ServerAnswerInvalid("the KBS's token is not a compact JWS")
        return KbsSession(token, key, attested.cookie or answer.cookie)

    def _posted(self, target: str, document: msgspec.Struct, cookie: str | None) -> Answer:
        answer = self._http.send("POST", target, body=_ENCODER.encode(document), cookie=cookie)
        if answer.status == _OK:
            return answer
        raise refusal(answer, "the KBS refuses the handshake")

    def _device_evidence(self, nonce: str, key: TeeKey, algorithm: str) -> str:
        if not self._devices:
            return ""
        bound = runtime_data.digest(runtime_data.device(nonce, key.public_jwk), algorithm)
        return _ENCODER.encode(
            {name: device.evidence(bound) for name, device in self._devices.items()}
        ).decode("utf-8")

    def _primary_evidence(self, challenge: kbs.Challenge, digest: bytes) -> dict[str, Any]:
        if self._attester.tee != "se":
            _require_nonce(challenge.nonce)
            return self._attester.evidence(digest)
        # IBM SE: the nonce is the KBS's attestation request; the digest goes into it (SeAttester).
        try:
            request = strict_json.loads(
                challenge.nonce.encode(), what="attestation request", max_bytes=_MAX_SE_REQUEST
            )
        except InputError as error:
            raise ServerAnswerInvalid("the KBS's nonce is no attestation request of IBM SE") from error
        if not isinstance(request, dict):
            raise ServerAnswerInvalid("the KBS's nonce is no attestation request of IBM SE")
        return self._attester.evidence(
            _ENCODER.encode(request | {"runtime_data_digest": b64_encode(digest)})
        )


class PassportClient:
    """Gets resources with an attestation result and its TEE key, both made elsewhere; attests to nobody.

    Args:
        url: the KBS's; https, or http to loopback.
        token: the attestation result.
        key: the TEE key that it names.
        ca_file: PEM authorities that replace the system's.
        allow_http: accept http to other hosts (``guest_agent.kbs_http``).
        timeout_s: time limit of one call.
        sleep: waits between attempts.

    Raises:
        InvalidSetting: a value that cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: str,
        key: TeeKey,
        *,
        ca_file: Path | None = None,
        allow_http: bool = False,
        timeout_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep the parts; nothing is connected yet."""
        if len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
            raise InvalidSetting("the attestation token is not a compact JWS")
        self._http = KbsHttp(url, ca_file=ca_file, allow_http=allow_http, timeout_s=timeout_s)
        self._token = token
        self._key = key
        self._sleep = sleep

    def get_resource(self, resource: str | ResourceUri) -> bytes:
        """The plaintext of a resource, or a plugin's answer. Arguments and errors as ``KbsClient``'s.

        ``KbsUnauthenticated`` is final: the token has expired, or is not one that the KBS trusts.
        """
        uri = resource if isinstance(resource, ResourceUri) else parse(resource)
        answer = persistently(lambda: self._http.send("GET", uri.target, bearer=self._token), self._sleep)
        if answer.status != _OK:
            raise refusal(answer, "the KBS does not give the resource")
        return resource_of(answer, uri, self._key)


def persistently(call: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """The result of ``call``, tried again after a second where the KBS did not answer, five times in all.

    Raises:
        KbsUnreachable: it never answered.
    """
    for left in reversed(range(_CONNECTIONS)):
        try:
            return call()
        except (FetchFailed, ServerTimeout) as error:
            if not left:
                raise KbsUnreachable(f"no answer in {_CONNECTIONS} attempts: {error}") from error
        sleep(_PAUSE_S)
    raise AssertionError  # the last attempt returned or raised


def _selected_hash(challenge: kbs.Challenge) -> str:
    parameters = challenge.extra_params if isinstance(challenge.extra_params, dict) else {}
    chosen = next((value for name, value in parameters.items() if name.lower() == _SELECTED_HASH), None)
    if chosen is None:
        return runtime_data.DEFAULT_HASH
    if not isinstance(chosen, str) or chosen.lower() not in runtime_data.HASHES:
        raise ServerAnswerInvalid("the KBS chose a hash that we did not offer")
    return chosen.lower()


def _require_nonce(nonce: str) -> None:
    try:
        size = len(b64_decode(nonce, what="nonce"))
    except InputError as error:
        raise ServerAnswerInvalid("the KBS's nonce is not base64") from error
    if size < _NONCE_BYTES:
        raise ServerAnswerInvalid(f"the KBS's nonce has only {size} bytes")
