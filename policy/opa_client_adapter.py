"""The one place that touches opa-python-client: its calls, with rules that close its gaps.

What the client (3.0.0) does by itself, and the rule here:

1. it rewrites a rejected policy by regular expressions: ``rego_compat=False``, and what the server stored
   is fetched and compared by digest;
2. undefined and an unknown package both come back as ``{}``: the query goes to a helper rule that is
   always defined, so that ``{}`` means "not loaded here";
3. 401 has three different errors: all become ``PolicyEngineUnavailable``;
4. server errors, refused connections and NaN leak the transport's exceptions: all are caught and typed;
5. CA variables in the environment override the CA given: ``trust_env`` is off;
6. plain HTTP is its default: the scheme comes from the URL, beyond loopback it must be HTTPS;
7. it drops a falsy input in ad hoc queries: they are not used;
8. a data document must be an object: no data is written at all;
9. it quotes no identifier: ours are letters, digits and ``-``;
10. it has no common error class: everything it raises is an ``Exception`` caught here;
11. the server accepts data over a policy's path: no data is written, and the answer's shape is checked;
12. its bulk query fails as a whole and its URL upload has no time limit: neither is used.

It follows redirects and retries silently: both are switched off. One call that finds its kept-alive
connection closed is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from typing import TYPE_CHECKING, Any, Final

import requests
from opa_client.errors import PolicyNotFoundError, RegoParseError
from opa_client.opa import OpaClient
from requests.exceptions import InvalidJSONError, SSLError

from common.errors import Malformed
from policy.errors import PolicyEngineUnavailable, PolicyEvaluationFailed, PolicyRejected, PolicySyntax

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from policy.opa_address import OpaAddress

_ID = re.compile(r"[a-z0-9-]{1,200}\Z")
_STRICT: Final = {"strict-builtin-errors": "true"}
_MAX_MESSAGE: Final = 200
_UNAUTHORIZED: Final = frozenset({401, 403})
_SERVER_ERROR: Final = 500
_SYNTAX_CODES: Final = frozenset({"rego_parse_error", "rego_unsafe_var_error"})


class OpaConnection:
    """Calls to one OPA server. Thread-safe: each thread has its client, and so its connections.

    Args:
        address: where it is.
        token: bearer token.
        ca_file: PEM of the CA that issued its certificate; the system's CAs otherwise.
        timeout_s: of one call, to connect and between bytes.
    """

    def __init__(
        self, address: OpaAddress, *, token: str | None, ca_file: Path | None, timeout_s: float
    ) -> None:
        """Connects lazily."""
        self._address = address
        self._token = token
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._local = threading.local()

    def put_policy(self, identifier: str, text: str) -> None:
        """Upload a module unless the server has exactly this text, and see that it stored this text.

        Raises:
            PolicySyntax, PolicyRejected: OPA refuses it; ``details`` has ``line`` and ``column``.
            PolicyEngineUnavailable: no answer, no permission, or another text is stored.
        """
        _require_id(identifier)
        if self.stored(identifier) == text:
            return
        self._call(lambda client: client.update_policy_from_string(text, identifier, rego_compat=False))
        stored = self.stored(identifier)
        if stored is None or _digest(stored) != _digest(text):
            raise PolicyEngineUnavailable(f"OPA stores another text under {identifier} than was sent")

    def stored(self, identifier: str) -> str | None:
        """Text of a stored module, None if there is none.

        Raises:
            PolicyEngineUnavailable: no answer or no permission.
        """
        _require_id(identifier)
        try:
            answer = self._call(lambda client: client.get_policy(identifier))
        except _Absent:
            return None
        raw = answer.get("result", {}).get("raw") if isinstance(answer, dict) else None
        return raw if isinstance(raw, str) else None

    def delete_policy(self, identifier: str) -> None:
        """Remove a module.

        Raises:
            PolicyEngineUnavailable: no answer or no permission.
        """
        _require_id(identifier)
        self._call(lambda client: client.delete_policy(identifier))

    def query(self, package: str, rule: str, document: object) -> dict[str, Any]:
        """``{"result": value}``, or ``{}`` where the rule is not loaded.

        Raises:
            PolicyEvaluationFailed: OPA reports an error.
            PolicyEngineUnavailable: no answer or no permission.
        """
        answer = self._call(lambda client: client.query_rule(document, package, rule, _STRICT))
        if not isinstance(answer, dict):
            raise PolicyEngineUnavailable("OPA's answer is not an object")
        return answer

    def _call(self, action: Callable[[OpaClient], Any]) -> Any:
        try:
            return _typed(action, self._client())
        except _Closed:
            self._local.client = None
        try:
            return _typed(action, self._client())
        except _Closed as error:
            raise PolicyEngineUnavailable(f"OPA does not answer: {error}") from None

    def _client(self) -> OpaClient:
        # A fork leaves the parent's sockets alone.
        client: OpaClient | None = getattr(self._local, "client", None)
        if client is None or self._local.process != os.getpid():
            client = self._new_client()
            self._local.client = client
            self._local.process = os.getpid()
        return client

    def _new_client(self) -> OpaClient:
        client = OpaClient(
            host=self._address.host,
            port=self._address.port,
            ssl=self._address.tls,
            token=self._token,
            retries=0,
            timeout=self._timeout_s,
        )
        session: requests.Session = client._session  # noqa: SLF001 (it offers no other way)
        session.trust_env = False
        session.max_redirects = 0
        session.verify = str(self._ca_file) if self._ca_file is not None else True
        return client


class _Closed(Exception):
    """The connection could not be made, or was closed."""


class _Absent(Exception):
    """The named module is not there."""


def _typed(action: Callable[[OpaClient], Any], client: OpaClient) -> Any:
    """Run one client call; whatever it raises comes out as one of our errors."""
    try:
        return action(client)
    except Exception as error:  # noqa: BLE001 (the client has no base class, and lets its transport's out)
        raise _translated(error) from None


def _translated(error: Exception) -> Exception:
    for kinds, translate in _TRANSLATIONS:
        if isinstance(error, kinds):
            return translate(error)
    return PolicyEngineUnavailable(f"the call to OPA failed: {type(error).__name__}")


def _absent_or_refused(error: Any) -> Exception:
    if error.expression == "resource_not_found":
        return _Absent()
    return PolicyEngineUnavailable(f"OPA refuses the call: {_line(error.expression)}")


def _http_error(error: Any) -> PolicyEvaluationFailed | PolicyEngineUnavailable:
    status = error.response.status_code
    if status in _UNAUTHORIZED:
        return PolicyEngineUnavailable(f"OPA refuses our token ({status})")
    try:
        body = error.response.json()
        code, message = str(body["code"]), str(body["message"])
        causes = [str(item["message"]) for item in body.get("errors", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return PolicyEngineUnavailable(f"OPA answers {status}")
    if status == _SERVER_ERROR and code == "internal_error":
        return PolicyEvaluationFailed(f"opa: {_line('; '.join(causes) or message)}")
    return PolicyEngineUnavailable(f"OPA answers {status} {_line(code)}")


def _upload_error(error: Any) -> PolicySyntax | PolicyRejected | PolicyEngineUnavailable:
    if error.expression != "invalid_parameter":
        return PolicyEngineUnavailable(f"OPA refuses the upload: {_line(error.expression)}")
    found = error.errors if isinstance(error.errors, list) and error.errors else []
    first: dict[str, Any] = found[0] if found and isinstance(found[0], dict) else {}
    place = first.get("location")
    location: dict[str, Any] = place if isinstance(place, dict) else {}
    line, column = int(location.get("row", 1)), int(location.get("col", 1))
    message = f"line {line}, column {column}: {_line(first.get('message', error.message))}"
    kind = PolicySyntax if first.get("code") in _SYNTAX_CODES else PolicyRejected
    return kind(f"opa: {message}", details={"line": line, "column": column})


def _line(text: object) -> str:
    return "".join(letter for letter in str(text) if letter.isprintable())[:_MAX_MESSAGE]


def _require_id(identifier: str) -> None:
    if not _ID.match(identifier):
        raise Malformed("an OPA policy id of ours is lower-case letters, digits and '-'")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def normalised(value: Any) -> Any:
    """Numbers as the in-process engine gives them: a float without a fraction is an integer."""
    return json.loads(json.dumps(value), parse_float=_number)


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


# The first that fits is taken: subclasses stand before their bases.
_TRANSLATIONS: Final[tuple[tuple[type[Exception], Callable[[Any], Exception]], ...]] = (
    (requests.JSONDecodeError, lambda _: PolicyEngineUnavailable("OPA's answer is not JSON")),
    (InvalidJSONError, lambda _: Malformed("the policy input has a number that JSON does not")),
    (requests.HTTPError, _http_error),
    (requests.Timeout, lambda _: PolicyEngineUnavailable("OPA did not answer in time")),
    (SSLError, lambda _: PolicyEngineUnavailable("OPA's certificate is not trusted")),
    (requests.ConnectionError, lambda error: _Closed(type(error).__name__)),
    (RegoParseError, _upload_error),
    (PolicyNotFoundError, _absent_or_refused),
)
