"""A real OPA server as policy engine, through opa-python-client.

Each policy is uploaded once per digest under a package of its own (its package path is replaced, nothing
else is touched), with a second module that gathers the entry points, so that one call answers all. What the
server then holds is read back and compared: text that differs is not evaluated.

Rules for the client library (each has a test):

* ``rego_compat=False`` always: it would otherwise rewrite a refused policy and upload the altered text.
* An answer without ``result`` is a missing module (a restarted server), not an undefined rule: it is
  uploaded again, once; the gathering rule itself is always defined.
* ``trust_env`` is off: proxies and CA paths of the environment do not apply.
* Plain HTTP only to a loopback address: the token would be readable.
* Every exception of the library and of ``requests`` becomes one of ours.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from opa_client.errors import RegoParseError
from opa_client.opa import OpaClient

from common.errors import InvalidSetting
from policy import explain, modules
from policy.errors import PolicyEngineUnavailable, PolicyEvaluationFailed, PolicyRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from policy.modules import PreparedPolicy
    from policy.port import CompiledPolicy, PolicySource, RuleTrace

_ROOT: Final = "touchstone"
_RESULT: Final = "result"
_MAX_CACHED: Final = 256
_SERVER_ERROR: Final = 500
_QUERY: Final = {"strict-builtin-errors": "true"}


class OpaEngine:
    """Implements ``policy.port.PolicyEngine`` on an OPA server. Thread-safe.

    Args:
        url: base URL, ``https://host:port`` or loopback ``http``.
        token: bearer token.
        ca_file: PEM bundle that replaces the system's authorities.
        timeout_s: limit of one call; past it the decision is a denial.

    Raises:
        InvalidSetting: the URL is not usable, or plain HTTP beyond loopback.
    """

    name = "opa"

    def __init__(
        self, url: str, *, token: str | None = None, ca_file: Path | None = None, timeout_s: float = 2.0
    ) -> None:
        """Prepare one client per thread lazily."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise InvalidSetting("the OPA URL is not http(s)://host[:port]")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise InvalidSetting("plain http to an OPA server is accepted on loopback only")
        self._tls = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 8181)
        self._token = token
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._compiled: dict[tuple[str, str], OpaPolicy] = {}

    def compile(self, source: PolicySource) -> CompiledPolicy:
        """Check against the profile and upload; cached by kind and digest.

        Raises:
            PolicyRejected, PolicySyntax: as in process, or refused by OPA's compiler.
            PolicyEngineUnavailable: the server does not answer, or refuses our token.
        """
        key = (source.kind.value, source.digest)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = OpaPolicy(self, modules.prepare(source))
            compiled.upload()
            if len(self._compiled) >= _MAX_CACHED:
                self._compiled.clear()
            self._compiled[key] = compiled
        return compiled

    def client(self) -> OpaClient:
        """This thread's client, with its connection."""
        client = getattr(self._local, "client", None)
        if client is None:
            client = OpaClient(
                host=self._host,
                port=self._port,
                ssl=self._tls,
                token=self._token,
                timeout=self._timeout_s,
                retries=0,
            )
            session = client._session  # noqa: SLF001 (the library offers no other way)
            session.trust_env = False
            if self._ca_file is not None:
                session.verify = str(self._ca_file)
            self._local.client = client
        return client


class OpaPolicy:
    """One uploaded policy; implements ``policy.port.CompiledPolicy``."""

    def __init__(self, engine: OpaEngine, prepared: PreparedPolicy) -> None:
        """Keep the parts; nothing is sent yet."""
        self._engine = engine
        self._prepared = prepared
        self.source = prepared.source
        self.reference_names = prepared.reference_names
        self._id = f"{prepared.source.kind.value}_{prepared.source.digest}"

    def upload(self) -> None:
        """Put the modules and compare what the server holds.

        Raises:
            PolicyRejected: OPA refuses them, or holds another text.
            PolicyEngineUnavailable: it does not answer.
        """
        for name, text in self._modules().items():
            _guarded(functools.partial(self._put, name, text))

    def evaluate(self, input_json: bytes) -> Mapping[str, Any]:
        """Evaluate every entry point that the policy defines, in one call.

        Raises:
            PolicyEvaluationFailed: OPA reports an error.
            PolicyEngineUnavailable: it does not answer.
        """
        document = json.loads(input_json)
        answer = _guarded(lambda: self._query(document))
        if _RESULT not in answer:
            self.upload()
            answer = _guarded(lambda: self._query(document))
        result = answer.get(_RESULT)
        if not isinstance(result, dict):
            raise PolicyEvaluationFailed("the OPA server does not hold the policy")
        return result

    def explain(self, input_json: bytes) -> Sequence[RuleTrace]:
        """The clauses that decided, found in process on the same text and input."""
        return explain.trace(self._prepared, input_json)

    def _query(self, document: object) -> dict[str, Any]:
        answer: dict[str, Any] = self._engine.client().query_rule(
            document, f"{_ROOT}.entry_{self._id}", _RESULT, query_params=_QUERY
        )
        return answer

    def _put(self, name: str, text: str) -> None:
        client = self._engine.client()
        client.update_policy_from_string(text, name, rego_compat=False)
        if client.get_policy(name)["result"]["raw"] != text:
            raise PolicyRejected("the OPA server holds another text than the one uploaded")

    def _modules(self) -> dict[str, str]:
        """Module id to text: the policy under its own package, the shim, the gathering rule."""
        package = f"{_ROOT}.policy_{self._id}"
        texts = {}
        if self._prepared.shim is not None:  # first: OPA compiles at each upload
            texts[f"{self._id}-shim"] = f"package {package}\n\n{self._prepared.shim}"
        texts[f"{self._id}-policy"] = _with_package(self._prepared, package)
        lines = [f"package {_ROOT}.entry_{self._id}", "import rego.v1"]
        lines += [
            f'{_RESULT}["{path}"] := data.{package}.{path.rpartition(".")[2]}'
            for path in self._prepared.entry_points
        ]
        texts[f"{self._id}-entry"] = "\n".join(lines) + "\n"
        return texts


def _with_package(prepared: PreparedPolicy, package: str) -> str:
    source = prepared.source.text.encode("utf-8")
    start, end = prepared.module.package_span
    return (source[:start] + package.encode("ascii") + source[end:]).decode("utf-8")


def _guarded(call: Callable[[], Any]) -> Any:
    """Run a client call; whatever it raises becomes one of our errors."""
    try:
        return call()
    except RegoParseError as error:
        raise PolicyRejected(f"OPA refuses the policy: {str(error)[:300]}") from None
    except requests.HTTPError as error:
        if error.response is not None and error.response.status_code >= _SERVER_ERROR:
            raise PolicyEvaluationFailed("the policy failed in OPA") from None
        raise PolicyEngineUnavailable("the OPA server refuses our calls: check its token") from None
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise PolicyEngineUnavailable("the OPA server does not answer as one") from error
    except PolicyRejected:
        raise
    except Exception as error:
        # The library's errors have no common base; a 401 arrives as one of several of them.
        raise PolicyEngineUnavailable("the OPA server refuses our calls: check its token") from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
