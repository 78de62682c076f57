"""The TEEs that there are: every folder of ``verifier/`` whose ``tee.py`` holds a ``TEE``.

Found once, at the first import, in the order of their names.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, Final, Union

import msgspec

import verifier
from verifier.tee import Tee
from wire.rcar import AppraisalRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODULE: Final = "tee"


def _found() -> dict[str, Tee]:
    tees: dict[str, Tee] = {}
    for folder in pkgutil.iter_modules(verifier.__path__):
        if not folder.ispkg:
            continue
        package = importlib.import_module(f"verifier.{folder.name}")
        if any(module.name == _MODULE for module in pkgutil.iter_modules(package.__path__)):
            tee = importlib.import_module(f"verifier.{folder.name}.{_MODULE}").TEE
            assert isinstance(tee, Tee)
            assert tee.name not in tees, f"two folders call themselves {tee.name}"
            tees[tee.name] = tee
    return dict(sorted(tees.items()))


TEES: Final[Mapping[str, Tee]] = _found()

# The union of all evidence documents, for decoding: told apart by their member ``tee``.
EVIDENCE: Final[Any] = Union[tuple(tee.evidence for tee in TEES.values())]  # noqa: UP007 (made at run time)


# The request of ``POST /v1/appraisals`` with evidence of any TEE. The guest's own has that of guests alone.
REQUEST: Final[Any] = msgspec.defstruct(
    "AppraisalRequest",
    [("evidence", EVIDENCE)],
    bases=(AppraisalRequest,),
    namespace={"__doc__": AppraisalRequest.__doc__},
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)
