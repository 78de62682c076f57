"""The OPA server as an engine, through opa-python-client (``policy.opa_client_adapter``).

* Each policy is loaded under an id and a package made from its kind and digest, with its helper modules
  (``policy.modules``) beside it; equal texts are loaded once, and whoever loads first serves all.
* One evaluation is one query, of a rule that is always defined. An answer without it means that the
  server lost its policies (a restart): they are loaded again, once, and the query repeated.
* Errors of built-ins fail the evaluation (``strict-builtin-errors``), as they do in process.
* Evaluation and upload errors are typed; no answer, no permission, an answer of another shape are
  ``PolicyEngineUnavailable``: a denial.

The server decides what is loaded on it: protect its API with a token and let nothing else write there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.errors import Malformed
from policy.compiled import CheckedPolicy, CompiledCache
from policy.errors import PolicyEngineUnavailable
from policy.modules import RESULT, Prepared, for_opa, prepare
from policy.opa_address import parse_address
from policy.opa_client_adapter import OpaConnection, normalised

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from policy.port import PolicySource

DEFAULT_TIMEOUT_S: Final = 2.0


class OpaEngine:
    """Implements ``policy.port.PolicyEngine`` on an OPA server. Thread-safe.

    Args:
        url: ``https://host:port``; ``http`` on loopback only.
        token: bearer token, if the server demands one.
        ca_file: PEM of the CA of the server's certificate.
        timeout_s: of one call.

    Raises:
        InvalidSetting: the URL is not usable.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca_file: Path | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """Connects at the first compilation."""
        self._connection = OpaConnection(
            parse_address(url), token=token, ca_file=ca_file, timeout_s=timeout_s
        )
        self._compiled: CompiledCache[OpaPolicy] = CompiledCache()

    @property
    def name(self) -> str:
        """``opa``."""
        return "opa"

    def compile(self, source: PolicySource) -> OpaPolicy:
        """Check against the profile and load; cached by digest.

        Raises:
            PolicyRejected: outside the profile, or OPA refuses it.
            PolicySyntax: not Rego v1, or an unsafe variable.
            PolicyEngineUnavailable: the server does not answer.
        """
        return self._compiled.get(source, self._load)

    def _load(self, source: PolicySource) -> OpaPolicy:
        policy = OpaPolicy(prepare(source), self._connection)
        policy.load()
        return policy


class OpaPolicy(CheckedPolicy):
    """Implements ``policy.port.CompiledPolicy``."""

    def __init__(self, prepared: Prepared, connection: OpaConnection) -> None:
        """Name the modules; nothing is loaded yet."""
        super().__init__(prepared)
        self._connection = connection
        kind, digest = prepared.source.kind.value, prepared.source.digest
        self.package = f"touchstone.{kind}_{digest}"
        self.policy_id = f"touchstone-{kind}-{digest}"

    def load(self) -> None:
        """Put both modules on the server, where they are not there already.

        Raises:
            PolicyRejected, PolicySyntax: OPA refuses the policy.
            PolicyEngineUnavailable: the server does not answer.
        """
        # OPA resolves names at upload, so in the order of who refers to whom.
        shim = self._prepared.shim_module(self.package)
        if shim is not None:
            self._connection.put_policy(f"{self.policy_id}-shim", shim)
        self._connection.put_policy(self.policy_id, for_opa(self._prepared, self.package))
        self._connection.put_policy(f"{self.policy_id}-result", self._prepared.result_module(self.package))

    def evaluate(self, input_json: bytes) -> Mapping[str, Any]:
        """Evaluate every entry point; an undefined one is absent.

        Raises:
            PolicyEvaluationFailed: OPA reports an error.
            PolicyEngineUnavailable: the server does not answer.
            Malformed: the input is not a JSON object.
        """
        try:
            document = msgspec.json.decode(input_json, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Malformed("the policy input is not a JSON object") from error
        answer = self._connection.query(self.package, RESULT, document)
        if "result" not in answer:
            self.load()
            answer = self._connection.query(self.package, RESULT, document)
        return self._entries(answer.get("result"))

    def _entries(self, result: object) -> dict[str, Any]:
        expected = set(self._prepared.entry_points)
        if not isinstance(result, dict) or set(result) != expected:
            raise PolicyEngineUnavailable("OPA's answer is not that of the policy that was loaded")
        if not all(isinstance(values, list) and len(values) <= 1 for values in result.values()):
            raise PolicyEngineUnavailable("OPA's answer is not that of the policy that was loaded")
        return {entry: normalised(values[0]) for entry, values in result.items() if values}
