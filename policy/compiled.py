"""What both engines' compiled policies share: the checked source they stand for, and a bounded cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from policy.explain import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from policy.modules import Prepared
    from policy.port import PolicySource, RuleTrace

_COMPILED_KEPT: Final = 256


class CheckedPolicy:
    """The part of ``policy.port.CompiledPolicy`` that needs no engine."""

    def __init__(self, prepared: Prepared) -> None:
        """Keep the checked policy."""
        self._prepared = prepared

    @property
    def source(self) -> PolicySource:
        """What was compiled."""
        return self._prepared.source

    @property
    def reference_names(self) -> frozenset[str]:
        """Every reference name that the policy mentions."""
        return self._prepared.reference_names

    @property
    def unverified_names(self) -> frozenset[str]:
        """Every name of an unverified reference value that the policy mentions."""
        return self._prepared.input_names.get("unverified_reference") or frozenset()

    @property
    def input_names(self) -> Mapping[str, frozenset[str] | None]:
        """Members of the input that the policy mentions."""
        return self._prepared.input_names

    def explain(self, input_json: bytes) -> Sequence[RuleTrace]:
        """The clauses that decided, traced in process: both engines answer equally.

        Raises:
            Malformed: the input is not a JSON object.
        """
        return explain(self._prepared, input_json)


P = TypeVar("P", bound=CheckedPolicy)


class CompiledCache(Generic[P]):
    """Compiled policies by kind and digest, the least recently used dropped first. Thread-safe."""

    def __init__(self) -> None:
        """Start empty."""
        self._held: OrderedDict[tuple[str, str], P] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, source: PolicySource, make: Callable[[PolicySource], P]) -> P:
        """The compiled policy; made, outside the lock, where there is none. What ``make`` raises passes."""
        key = (source.kind.value, source.digest)
        with self._lock:
            known = self._held.get(key)
            if known is not None:
                self._held.move_to_end(key)
                return known
        policy = make(source)
        with self._lock:
            self._held[key] = policy
            while len(self._held) > _COMPILED_KEPT:
                self._held.popitem(last=False)
        return policy
