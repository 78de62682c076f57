"""The in-process engine: regorus, through its Python binding.

Invariants:

* An engine object is used by the thread that made it and by no other: the binding aborts with a
  ``PanicException`` (a ``BaseException``) otherwise. Engines live in one thread-local store, never in the
  policy objects, so that dropping a policy in one thread cannot free an engine of another.
* A source is checked once per digest, and parsed once per thread; a request sets the input and evaluates
  one rule that answers every entry point.
* After any failure the engine is thrown away: the next evaluation starts from a fresh one.
* No ``BaseException`` of the binding escapes; ``KeyboardInterrupt`` and the like do.

The binding's second evaluator, a bytecode machine (``Rvm``), is faster and not used: it lets
``x := input.absent`` succeed in a body, so that a condition on something missing would hold
(``tests/policy/test_regorus_engine.py`` shows it). The interpreter used here agrees with OPA.

There is no time limit in this engine. What stops a hostile policy is the gate at upload
(``policy.lexical``, ``policy.profile``, ``policy.cost``); what stops everything else is the server's
worker timeout. A fork keeps working: an engine made before it is not used after it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec
import regorus

from common.errors import Malformed
from policy.compiled import CheckedPolicy, CompiledCache
from policy.errors import PolicyEvaluationFailed, PolicyRejected
from policy.modules import RESULT, Prepared, for_regorus, prepare
from policy.tree import engine_message, is_engine_failure, syntax_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy.port import PolicySource

_ENGINES_PER_THREAD: Final = 32
_DECODER = msgspec.json.Decoder(dict[str, list[Any]])
_STATIC_ERRORS: Final = (
    "unsafe",
    "undefined variable",
    "used before definition",
    "could not find function",
)


class RegorusEngine:
    """Implements ``policy.port.PolicyEngine``. Thread-safe."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._compiled: CompiledCache[RegorusPolicy] = CompiledCache()

    @property
    def name(self) -> str:
        """``regorus``."""
        return "regorus"

    def compile(self, source: PolicySource) -> RegorusPolicy:
        """Check against the profile, parse, and evaluate once on an empty input; cached by digest.

        Raises:
            PolicyRejected: outside the profile, or it fails on an empty input.
            PolicySyntax: not Rego v1, or an unsafe variable.
        """
        return self._compiled.get(source, _checked)


class RegorusPolicy(CheckedPolicy):
    """Implements ``policy.port.CompiledPolicy``."""

    def __init__(self, prepared: Prepared) -> None:
        """Keep the checked policy; the engine is made by the thread that evaluates."""
        super().__init__(prepared)
        package = prepared.module.package
        shim = prepared.shim_module(package)
        self._modules = (for_regorus(prepared), prepared.result_module(package), *([shim] if shim else []))
        self._rule = f"data.{package}.{RESULT}"
        self._key = f"{prepared.source.kind}:{prepared.source.digest}"

    def evaluate(self, input_json: bytes) -> Mapping[str, Any]:
        """Evaluate every entry point; an undefined one is absent.

        Raises:
            PolicyEvaluationFailed: a built-in refused its operands, or clauses disagree.
            Malformed: the input is not a JSON object.
        """
        try:
            answer = self._run(_text(input_json))
        except Malformed:
            raise
        except BaseException as error:
            _ENGINES.drop(self._key)
            if not is_engine_failure(error):
                raise
            raise PolicyEvaluationFailed(f"regorus: {engine_message(error)}") from None
        return {entry: values[0] for entry, values in answer.items() if values}

    def try_empty(self) -> None:
        """Evaluate on ``{}``: brings out unsafe variables, and policies that fail on any input.

        Raises:
            PolicySyntax: an unsafe variable.
            PolicyRejected: it fails.
        """
        try:
            self._run("{}")
        except BaseException as error:
            _ENGINES.drop(self._key)
            if not is_engine_failure(error):
                raise
            found = syntax_error(error, self._modules[0])
            if any(words in str(error) for words in _STATIC_ERRORS):
                raise found from None
            raise PolicyRejected(
                f"evaluation on an empty input fails: {found.message}", details=found.details
            ) from None

    def _run(self, text: str) -> dict[str, list[Any]]:
        engine = _ENGINES.get(self._key, self._modules)
        try:
            engine.set_input_json(text)
        except RuntimeError as error:
            raise Malformed(f"the policy input is not JSON: {engine_message(error)}") from None
        return _DECODER.decode(engine.eval_rule_as_json(self._rule))


def _checked(source: PolicySource) -> RegorusPolicy:
    policy = RegorusPolicy(prepare(source))
    policy.try_empty()
    return policy


class _Engines(threading.local):
    """Engines of the present thread, the least recently used dropped first."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, regorus.Engine] = OrderedDict()
        self._process = os.getpid()

    def get(self, key: str, modules: tuple[str, ...]) -> Any:
        if self._process != os.getpid():  # a fork: leave the parent's engines alone
            self._held = OrderedDict()
            self._process = os.getpid()
        engine = self._held.get(key)
        if engine is None:
            engine = regorus.Engine()
            for number, text in enumerate(modules):
                engine.add_policy(f"{number}.rego", text)
            self._held[key] = engine
            while len(self._held) > _ENGINES_PER_THREAD:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(key)
        return engine

    def drop(self, key: str) -> None:
        self._held.pop(key, None)


_ENGINES = _Engines()


def _text(input_json: bytes) -> str:
    if input_json[:1] != b"{" and not input_json.lstrip().startswith(b"{"):
        raise Malformed("the policy input is not a JSON object")
    try:
        return input_json.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("the policy input is not UTF-8") from error
