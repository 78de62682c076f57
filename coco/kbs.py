"""The KBS protocol over HTTP, without HTTP: one call in, one answer out, typed errors between.

``KbsApi.handle`` takes what an HTTP front end read, and reads top to bottom as the routes of the reference:

* ``POST auth``: Request to Challenge; a fresh session in a cookie (``coco.session``).
* ``POST attest``: nonce, runtime data and evidence are held against each other; whatever comes of it spends
  the nonce; the token goes out and is kept with the session.
* ``POST attestation-policy``, ``resource-policy``, ``reference-value`` and their ``GET``: administrators.
* everything else is a plugin: administrators' calls by their token, guests' calls by session or bearer
  token and the resource policy; what needs it is encrypted to the guest's key.

An attested session attests once: another attestation needs another session, so that no answer can be about
other evidence than the call's. Errors are mapped to the reference's in ``coco.refusals``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from coco import refusals
from coco.errors import (
    AdminDenied,
    HandshakeRefused,
    PluginUnknown,
    PolicyDocumentInvalid,
    ReferenceValueUnknown,
    RvpsRefused,
    SessionInvalid,
    TeeUnknown,
    TokenMissing,
)
from coco.kbs_input import (
    bearer_token,
    decoded,
    hash_algorithms,
    policy_document,
    primary_tee,
    require_version,
    session_cookie,
    verification_requests,
)
from coco.plugins.port import PluginCall
from coco.plugins.resource import resource_ref
from coco.release import RESOURCE_PLUGIN
from common.errors import InputError, Malformed, TooLarge
from wire.kbs import (
    Attestation,
    Challenge,
    EncryptedResource,
    Request,
    TokenAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from coco.admin import Admin, AdminGate
    from coco.attestation import AttestationService
    from coco.plugins.port import PluginAnswer, PluginRegistry
    from coco.policies import CocoPolicies
    from coco.reference_values import ReferenceValueService
    from coco.release import ResourceReleases
    from coco.requester import Requester
    from coco.requesters import Requesters
    from coco.session import KbsSession, KbsSessions

JSON: Final = "application/json"
_MAX_NONCE: Final = 128
_MAX_SEGMENTS: Final = 32
_ENCODER: Final = msgspec.json.Encoder()
_REQUEST: Final = msgspec.json.Decoder(Request)
_ATTESTATION: Final = msgspec.json.Decoder(Attestation)


class KbsCall(msgspec.Struct, frozen=True):
    """One HTTP call.

    Attributes:
        method: upper case.
        target: path and query as they were sent, nothing decoded: what access rules are held against.
        path: decoded segments after ``/kbs/v0/``.
        query: decoded; one value for a name.
        authorization: the header, if there is one.
        cookie: the ``Cookie`` header, if there is one.
        body: bytes.
        certified: False where administrators need a client certificate and the connection has none.
    """

    method: str
    target: str
    path: tuple[str, ...]
    query: Mapping[str, str] = {}
    authorization: str | None = None
    cookie: str | None = None
    body: bytes = b""
    certified: bool = True


class KbsAnswer(msgspec.Struct, frozen=True):
    """One HTTP answer.

    Attributes:
        status: 200, or what a plugin says.
        body: bytes.
        content_type: of the body; empty: none is sent.
        session: whose cookie goes with it.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    session: KbsSession | None = None


class KbsApi:
    """Serves the protocol.

    Args:
        sessions: begins and spends sessions.
        attestation: evaluates evidence.
        requesters: whose token it is.
        releases: decides and encrypts.
        plugins: by name; ``resource`` among them.
        gate: admits administrators.
        policies: of the attestation service, and the resource policy.
        reference_values: the reference value provider service.
    """

    def __init__(
        self,
        *,
        sessions: KbsSessions,
        attestation: AttestationService,
        requesters: Requesters,
        releases: ResourceReleases,
        plugins: PluginRegistry,
        gate: AdminGate,
        policies: CocoPolicies,
        reference_values: ReferenceValueService,
    ) -> None:
        """Keep the parts."""
        self._sessions = sessions
        self._attestation = attestation
        self._requesters = requesters
        self._releases = releases
        self._plugins = plugins
        self._gate = gate
        self._policies = policies
        self._reference_values = reference_values
        self._builtin = {
            ("POST", "auth"): self._auth,
            ("POST", "attest"): self._attest,
            ("POST", "attestation-policy"): self._set_attestation_policy,
            ("POST", "resource-policy"): self._set_resource_policy,
            ("GET", "resource-policy"): self._resource_policy_ids,
            ("POST", "reference-value"): self._register_reference_value,
        }

    def handle(self, call: KbsCall, now: datetime) -> KbsAnswer:
        """Serve one call.

        Raises:
            TouchstoneError: a refusal; ``coco.refusals`` says how the API answers it.
        """
        if not call.path or len(call.path) > _MAX_SEGMENTS:
            raise PluginUnknown("there is no such path")
        builtin = self._builtin.get((call.method, call.path[0])) if len(call.path) == 1 else None
        if builtin is not None:
            return builtin(call, now)
        if call.method == "GET" and call.path[0] == "reference-value" and len(call.path) > 1:
            return self._query_reference_value(call, now)
        return self._plugin(call, now)

    # The handshake

    def _auth(self, call: KbsCall, now: datetime) -> KbsAnswer:
        try:
            request = decoded(_REQUEST, call.body, "deserialize Request")
            require_version(request.version)
            tee = primary_tee(request.tee)
            supplement = self._attestation.supplement(tee, now)
            if supplement is not None and supplement.hash_algorithm not in hash_algorithms(request):
                raise HandshakeRefused(f"{tee.name} needs a client that knows {supplement.hash_algorithm}")
            session = self._sessions.begin(tee, now, None if supplement is None else supplement.text)
        except InputError as error:
            raise HandshakeRefused(error.message) from error
        except TeeUnknown as error:
            raise HandshakeRefused("deserialize Request") from error
        challenge = Challenge(nonce=session.nonce)
        if supplement is not None:
            challenge = Challenge(supplement.text, {"selected-hash-algorithm": supplement.hash_algorithm})
        return KbsAnswer(body=_ENCODER.encode(challenge), session=session)

    def _attest(self, call: KbsCall, now: datetime) -> KbsAnswer:
        session = self._sessions.open(session_cookie(call.cookie), now)

        def evaluate() -> str:
            attestation = decoded(_ATTESTATION, call.body, "deserialize Attestation")
            if not session.gave(attestation.runtime_data.nonce):
                raise SessionInvalid("the runtime data has another nonce than the session")
            try:
                algorithm = self._attestation.runtime_data_hash(session.tee)
                requests = verification_requests(attestation, session.tee, hash_algorithm=algorithm)
                return self._attestation.evaluate(requests, now, session=session).token
            except TooLarge as error:
                # The body was not; a part of the evidence is, and that reads like every other fault of it.
                raise Malformed(error.message, advice=error.advice) from error

        token = self._sessions.attest(session, now, evaluate)
        # The guest's next call shows this token, mostly to this process.
        self._requesters.remember(token)
        return KbsAnswer(body=_ENCODER.encode(TokenAnswer(token)), session=session)

    # Administrators

    def _admitted(self, call: KbsCall, now: datetime) -> Admin:
        if not call.certified:
            raise AdminDenied(
                "administrators need a client certificate",
                advice="Connect with a certificate of the authority that [server] tls_client_ca names.",
            )
        return self._gate.admit(call.authorization, call.method, call.target, now)

    def _set_attestation_policy(self, call: KbsCall, now: datetime) -> KbsAnswer:
        admin = self._admitted(call, now)
        document = policy_document(call.body)
        policy_id = document.get("policy_id")
        if not isinstance(policy_id, str):
            raise PolicyDocumentInvalid("No `policy_id` field inside SetPolicy Request Json")
        with _policy_input():
            self._policies.set_attestation_policy(policy_id, document["policy"], by=admin.name, now=now)
        return KbsAnswer(content_type="")

    def _set_resource_policy(self, call: KbsCall, now: datetime) -> KbsAnswer:
        admin = self._admitted(call, now)
        document = policy_document(call.body)
        with _policy_input():
            self._policies.set_resource_policy(document["policy"], by=admin.name, now=now)
        return KbsAnswer(content_type="")

    def _resource_policy_ids(self, call: KbsCall, now: datetime) -> KbsAnswer:
        self._admitted(call, now)
        return KbsAnswer(body=_ENCODER.encode(self._policies.resource_policy_ids()))

    def _register_reference_value(self, call: KbsCall, now: datetime) -> KbsAnswer:
        admin = self._admitted(call, now)
        try:
            message = call.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RvpsRefused("Failed to register reference value: not UTF-8") from error
        with refusals.rvps("Failed to register reference value"):
            self._reference_values.register(message, by=admin.name, now=now)
        return KbsAnswer()

    def _query_reference_value(self, call: KbsCall, now: datetime) -> KbsAnswer:
        self._admitted(call, now)
        name = "/".join(call.path[1:])
        with refusals.rvps("Failed to get reference_values"):
            value = self._reference_values.query(name, now)
        if value is None:
            raise ReferenceValueUnknown(
                f"Failed to get reference_values: No reference value found for the given id: {name[:200]}"
            )
        return KbsAnswer(body=_ENCODER.encode(value))

    # Plugins

    def _plugin(self, call: KbsCall, now: datetime) -> KbsAnswer:
        name, path = call.path[0], call.path[1:]
        plugin = self._plugins.get(name)
        asked = PluginCall(method=call.method, path=path, query=call.query, body=call.body)
        if name == RESOURCE_PLUGIN and call.method == "GET" and path:
            # Before the path is looked at: who has no token learns nothing about paths.
            requester = self._requester(call, now)
            return _encrypted(self._releases.resource(requester, resource_ref(asked), call.query, now))
        if plugin.validate_auth(asked):
            admin = self._admitted(call, now)
            return _answer(plugin.handle(asked, by=admin.name, now=now))
        requester = self._requester(call, now)
        grant = self._releases.allow_plugin(requester, name, path, call.query, now)
        answer = plugin.handle(asked, by=requester.session.actor, now=now)
        self._releases.plugin_answer(requester, name, path, grant, now)
        if not plugin.needs_encryption(asked):
            return _answer(answer)
        return _encrypted(self._releases.encrypted(requester, answer.body))

    def _requester(self, call: KbsCall, now: datetime) -> Requester:
        """The guest: by an attested session's token, else by a bearer token."""
        token = self._session_token(call, now) or bearer_token(call.authorization)
        if token is None:
            raise TokenMissing("Attestation Token not found")
        return self._requesters.of(token, now)

    def _session_token(self, call: KbsCall, now: datetime) -> str | None:
        cookie = session_cookie(call.cookie)
        if cookie is None:
            return None
        try:
            return self._sessions.token(self._sessions.open(cookie, now))
        except SessionInvalid:
            return None


@contextmanager
def _policy_input() -> Iterator[None]:
    """A policy that is not base64 of text, or an id that is none, is a fault of the document."""
    try:
        yield
    except TooLarge:
        raise
    except InputError as error:
        raise PolicyDocumentInvalid(error.message, advice=error.advice) from error


def _encrypted(resource: EncryptedResource) -> KbsAnswer:
    return KbsAnswer(body=_ENCODER.encode(resource))


def _answer(answer: PluginAnswer) -> KbsAnswer:
    return KbsAnswer(status=answer.status, body=answer.body, content_type=answer.content_type)
