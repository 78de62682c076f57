"""Policies that come with the product, each a file ``<kind>_<name>.rego`` here.

``default`` exists for every kind and is put in force at the first start. That of appraisals is put together
of ``appraisal_default.rego``, which denies everything, and of one file per TEE in ``appraisal/``, which
says what of that TEE's evidence affirms; those have no ``package`` line. The others are examples to copy:
``appraisal/default_cpu`` is written in the style of Confidential Containers (``query_reference_value``,
its reference names, TCB values by reference).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from common.encoding import identifier
from policy.errors import PolicyNotFound
from policy.port import PolicyKind, PolicySource

_FOLDER = Path(__file__).parent
_PARTS = _FOLDER / "appraisal"
_ASSEMBLED = (PolicyKind.APPRAISAL, "default")


@cache
def load(kind: PolicyKind, name: str) -> PolicySource:
    """A shipped policy.

    Raises:
        InvalidIdentifier: ``name`` is not an identifier.
        PolicyNotFound: there is none of that kind and name.
    """
    path = _FOLDER / f"{kind.value}_{identifier(name, what='policy name')}.rego"
    if not path.is_file():
        raise PolicyNotFound(f"no shipped {kind.value} policy is called {name}")
    parts = [path, *(sorted(_PARTS.glob("*.rego")) if (kind, name) == _ASSEMBLED else ())]
    return PolicySource(kind, "\n".join(part.read_text("utf-8") for part in parts))


def names() -> tuple[tuple[PolicyKind, str], ...]:
    """Kind and name of every shipped policy."""
    found = []
    for path in sorted(_FOLDER.glob("*.rego")):
        kind, _, name = path.stem.partition("_")
        found.append((PolicyKind(kind), name))
    return tuple(found)
