"""Policies that come with the product, by kind and name; installed as version 1 at a first start."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

from common.encoding import identifier
from policy.errors import PolicyNotFound
from policy.port import PolicyKind, PolicySource


@lru_cache(maxsize=32)
def load(kind: PolicyKind, name: str) -> PolicySource:
    """The shipped policy ``name`` of a kind.

    Raises:
        PolicyNotFound: there is none.
    """
    file = resources.files(__name__) / f"{kind.value}_{identifier(name, what='policy name')}.rego"
    try:
        return PolicySource(kind, file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise PolicyNotFound(f"no shipped {kind.value} policy is called {name}") from error
