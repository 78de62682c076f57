"""The in-process engine: regorus, compiled to its virtual machine once per policy digest.

* A ``Program`` is compiled once and kept as bytes; each thread loads its own machine from them, because
  regorus objects must not cross threads (using one from another thread panics).
* regorus prints an undefined rule as the JSON text ``"<undefined>"``; that text is taken as undefined
  wherever it comes from, so a policy cannot return it as a value.
* A panic inside the engine is a ``BaseException``: it is turned into ``PolicyEvaluationFailed`` here, the
  machine is dropped, and nothing else is caught.
* There is no time limit inside the engine: what may be uploaded is bounded instead (``policy.profile``).
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final

import regorus

from policy import explain, modules
from policy.errors import PolicyEvaluationFailed, PolicyRejected
from policy.tree import engine_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy.modules import PreparedPolicy
    from policy.port import CompiledPolicy, PolicySource, RuleTrace

_UNDEFINED: Final = '"<undefined>"'
_PANIC: Final = "PanicException"
_MAX_CACHED: Final = 256


class RegorusEngine:
    """Implements ``policy.port.PolicyEngine`` in process. Thread-safe."""

    name = "regorus"

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._compiled: dict[tuple[str, str], RegorusPolicy] = {}

    def compile(self, source: PolicySource) -> CompiledPolicy:
        """Check against the profile and compile; cached by kind and digest.

        Raises:
            PolicyRejected: outside the profile, or refused by the compiler.
            PolicySyntax: not Rego v1.
        """
        key = (source.kind.value, source.digest)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = RegorusPolicy(modules.prepare(source))
            if len(self._compiled) >= _MAX_CACHED:
                self._compiled.clear()
            self._compiled[key] = compiled
        return compiled


class RegorusPolicy:
    """One compiled policy; implements ``policy.port.CompiledPolicy``."""

    def __init__(self, prepared: PreparedPolicy) -> None:
        """Compile.

        Raises:
            PolicyRejected: the compiler refuses.
        """
        self._prepared = prepared
        self.source = prepared.source
        self.reference_names = prepared.reference_names
        self._program = _compile(prepared)
        self._local = threading.local()

    def evaluate(self, input_json: bytes) -> Mapping[str, Any]:
        """Evaluate every entry point that the policy defines.

        Raises:
            PolicyEvaluationFailed: the engine reported an error.
        """
        try:
            machine = self._machine()
            machine.set_input_json(input_json.decode("utf-8"))
            found = {}
            for path in self._prepared.entry_points:
                text = machine.execute_entry_point(path)
                if text != _UNDEFINED:
                    found[path] = json.loads(text)
        except (RuntimeError, ValueError) as error:
            self._local.machine = None
            raise PolicyEvaluationFailed(f"the policy failed: {engine_message(error)}") from None
        except BaseException as error:
            if type(error).__name__ != _PANIC:
                raise
            self._local.machine = None
            raise PolicyEvaluationFailed("the policy engine failed internally") from None
        return found

    def explain(self, input_json: bytes) -> Sequence[RuleTrace]:
        """The clauses that decided."""
        return explain.trace(self._prepared, input_json)

    def _machine(self) -> regorus.Rvm:
        machine = getattr(self._local, "machine", None)
        if machine is None:
            machine = regorus.Rvm()
            machine.load_program(_loaded(self._program))
            machine.set_data_json("{}")
            self._local.machine = machine
        return machine


def _compile(prepared: PreparedPolicy) -> bytes:
    files = [("policy.rego", prepared.source.text)]
    if prepared.shim is not None:
        files.append(("shim.rego", f"package {prepared.package}\n\n{prepared.shim}"))
    try:
        program = regorus.Program.compile_from_modules("{}", files, list(prepared.entry_points))
        return bytes(program.serialize_binary())
    except RuntimeError as error:
        raise PolicyRejected(f"the policy does not compile: {engine_message(error)}") from None
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise PolicyRejected("the policy makes the compiler fail") from None


def _loaded(program: bytes) -> regorus.Program:
    loaded = regorus.Program.deserialize_binary(program)
    return loaded[0] if isinstance(loaded, tuple) else loaded
