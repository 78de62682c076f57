"""The HTTP interface without HTTP: method, path, query and body to an answer.

The paths and answers are those of api-server-rest. Every path is matched whole, as it was sent: nothing is
decoded, so that nothing can lead elsewhere. A query has each parameter once and none that is not known.

Source: Confidential Containers, api-server-rest; the answers' bytes as recorded from it.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec

from common.encoding import b64url_decode, resource_path
from common.errors import Malformed, NotFound, TouchstoneError
from guest_agent.measurements import Result
from guest_agent.resource_uri import ResourceUri

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guest_agent.daemon.services import GuestServices

OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"
_RESOURCE: Final = "/cdh/resource/"
_MAX_PARAMETERS: Final = 4
_MAX_QUERY: Final = 8192
_EXTENDED: Final[Mapping[Result, bytes]] = {
    Result.OK: b'{"success":"true"}',
    Result.NOT_SUPPORTED: (
        b'{"success":"false","message": "The platform does not support runtime measurement"}'
    ),
    Result.NOT_ENABLED: (
        b'{"success":"false","message": "Attestation Agent does not enable eventlog recording"}'
    ),
}


class Answer(msgspec.Struct, frozen=True):
    """A success."""

    body: bytes
    content_type: str = OCTETS


class MethodWrong(Exception):
    """The path is there, for another method.

    Attributes:
        allowed: the method.
    """

    def __init__(self, allowed: str) -> None:
        """Keep the method."""
        super().__init__(allowed)
        self.allowed = allowed


class _Event(msgspec.Struct, frozen=True):
    domain: str
    operation: str
    content: str


class Routes:
    """Answers requests.

    Args:
        services: what is asked for.
        features: ``resource``, ``attestation`` or ``all``; paths of the other part are not there.
    """

    def __init__(self, services: GuestServices, features: str) -> None:
        """Prepare the table."""
        self._services = services
        self._features = features
        self._resource = features in {"resource", "all"}
        self._table: dict[str, tuple[str, Callable[[str, bytes], Answer]]] = {"/info": ("GET", self._info)}
        if features in {"attestation", "all"}:
            self._table |= {
                "/aa/token": ("GET", self._token),
                "/aa/evidence": ("GET", self._evidence),
                "/aa/additional-evidence": ("GET", self._additional),
                "/aa/aael": ("POST", self._extend),
            }

    def answer(self, method: str, path: str, query: str, body: bytes) -> Answer:
        """Answer one request.

        Args:
            method: as sent.
            path: as sent, without the query.
            query: what follows the question mark.
            body: empty for methods without one.

        Raises:
            MethodWrong: the path has another method.
            NotFound: there is no such path.
            TouchstoneError: what the services raise.
        """
        if self._resource and path.startswith(_RESOURCE):
            if method != "GET":
                raise MethodWrong("GET")
            return self._get_resource(path.removeprefix(_RESOURCE), query)
        entry = self._table.get(path)
        if entry is None:
            raise NotFound(
                "there is no such path", advice="docs/guest-agent.md lists the paths of each feature."
            )
        allowed, handler = entry
        if method != allowed:
            raise MethodWrong(allowed)
        return handler(query, body)

    def _info(self, query: str, _body: bytes) -> Answer:
        _parameters(query)
        document: dict[str, Any] = {"version": metadata.version("touchstone")}
        if self._features != "resource":
            document["tee"] = self._services.tee
            if self._services.additional_tees:
                document["additional_tees"] = self._services.additional_tees
        document["feature"] = self._features
        return Answer(msgspec.json.encode(document), JSON)

    def _token(self, query: str, _body: bytes) -> Answer:
        parameters = _parameters(query, required=("token_type",))
        return Answer(self._services.token(parameters["token_type"]))

    def _evidence(self, query: str, _body: bytes) -> Answer:
        return Answer(self._services.evidence(_runtime_data(query)))

    def _additional(self, query: str, _body: bytes) -> Answer:
        return Answer(self._services.additional_evidence(_runtime_data(query)))

    def _extend(self, query: str, body: bytes) -> Answer:
        _parameters(query)
        try:
            event = msgspec.json.decode(body, type=_Event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed("an event is {domain, operation, content}, all strings") from error
        return Answer(_EXTENDED[self._services.extend(event.domain, event.operation, event.content)], JSON)

    def _get_resource(self, path: str, query: str) -> Answer:
        _parameters(query)
        try:
            uri = ResourceUri(resource_path(path))
        except TouchstoneError as error:
            raise NotFound("a resource is /cdh/resource/REPOSITORY/TYPE/TAG") from error
        return Answer(self._services.resource(uri))


def _runtime_data(query: str) -> bytes:
    parameters = _parameters(query, required=("runtime_data",), optional=("encoding",))
    value = parameters["runtime_data"]
    encoding = parameters.get("encoding")
    if encoding is None:
        return value.encode("utf-8")
    if encoding != "base64":
        raise Malformed("the encoding of runtime_data is base64 (of the URL alphabet, unpadded), or none")
    return b64url_decode(value, what="runtime_data")


def _parameters(
    query: str, *, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> dict[str, str]:
    """The parameters of a query, each once.

    Raises:
        Malformed: a parameter is missing, unknown, given twice, or not UTF-8.
    """
    try:
        pairs = parse_qsl(
            query[: _MAX_QUERY + 1],
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError as error:  # UnicodeDecodeError is one
        raise Malformed("the query is not name=value, joined by &") from error
    values = dict(pairs)
    known = {*required, *optional}
    if len(query) > _MAX_QUERY or len(values) != len(pairs) or not set(required) <= set(values) <= known:
        wanted = ", ".join(required) or "none"
        more = f", and may have {', '.join(optional)}" if optional else ""
        raise Malformed(f"the query has the parameters {wanted}{more}; each once")
    return values
