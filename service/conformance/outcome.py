"""What one conformance case came to: the same record for every room's runner.

A case that a runner does not support is ``unsupported`` and agrees with nothing: it is never counted
as agreement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.errors import TouchstoneError  # noqa: TC001 (named in signatures that tools resolve)

if TYPE_CHECKING:
    from collections.abc import Mapping

PASS: Final = "pass"  # noqa: S105 (a result, not a password)
FAIL: Final = "fail"
UNSUPPORTED: Final = "unsupported"


class Outcome(msgspec.Struct, frozen=True):
    """The result of one case of a manifest.

    Attributes:
        id: the case's id in the manifest.
        type: the case's type (or TEE) in the manifest.
        expected: what the manifest expects, as text (``pass``, ``fail``, a measurement).
        got: ``pass``, ``fail`` or ``unsupported``.
        code: stable error code of a refusal, if there was one.
        agree: whether ``got`` is what was expected; None where unsupported.
        detail: one line for a reader.
    """

    id: str
    type: str
    expected: str
    got: str
    code: str | None
    agree: bool | None
    detail: str


def case_id(case: Mapping[str, Any]) -> str:
    """The case's id, or ``?`` where it has none."""
    return str(case.get("id", "?"))


def unsupported(case: Mapping[str, Any], kind: str, expected: str, detail: str) -> Outcome:
    """The outcome of a case that the runner does not support."""
    return Outcome(case_id(case), kind, expected, UNSUPPORTED, None, None, detail)


def passed(case: Mapping[str, Any], kind: str, expected: str, detail: str = "") -> Outcome:
    """The outcome of a case that was accepted."""
    return Outcome(case_id(case), kind, expected, PASS, None, expected == PASS, detail)


def refused(case: Mapping[str, Any], kind: str, expected: str, error: TouchstoneError) -> Outcome:
    """The outcome of a case that was refused with a typed error."""
    return Outcome(case_id(case), kind, expected, FAIL, error.code or None, expected == FAIL, error.message)
