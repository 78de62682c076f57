"""Check records: what was checked, what was expected, what was seen, and the verdict.

Explanations, API answers and tokens are built from these records, never from log text.
A record holds public values only. ``source`` cites the standard, section and offset or OID.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

if TYPE_CHECKING:
    from common.errors import TouchstoneError


class Verdict(StrEnum):
    """Outcome of one check."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    FAIL = "fail"
    WARNING = "warning"
    NOT_EVALUATED = "not-evaluated"


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check.

    Attributes:
        name: stable dotted name (``snp.report.signature``).
        verdict: the outcome.
        expected: what would pass (JSON-compatible; digests as lower-case hex).
        observed: what was seen (JSON-compatible).
        source: standard and section, offset or OID that demands the check.
        code: the error code that a failure stands for.
        note: one sentence for a reader, where the values alone do not tell.
    """

    name: str
    verdict: Verdict
    expected: Any = None
    observed: Any = None
    source: str = ""
    code: str | None = None
    note: str = ""


class Checks:
    """Collects check records in the order they are made.

    ``require`` stops at a failure of authenticity (raises the given error type, with all records so
    far); ``expect`` records a failed policy expectation and goes on, so that all are reported.
    """

    __slots__ = ("_records",)

    def __init__(self) -> None:
        """Start empty."""
        self._records: list[Check] = []

    def require(
        self,
        name: str,
        ok: bool,
        error: type[TouchstoneError],
        *,
        expected: object = None,
        observed: object = None,
        source: str = "",
        note: str = "",
    ) -> None:
        """Record; on failure raise ``error`` with every record so far."""
        if ok:
            self._records.append(Check(name, Verdict.PASS, expected, observed, source, None, note))
            return
        self.fail(name, error, expected=expected, observed=observed, source=source, note=note)

    def fail(
        self,
        name: str,
        error: type[TouchstoneError],
        *,
        expected: object = None,
        observed: object = None,
        source: str = "",
        note: str = "",
    ) -> NoReturn:
        """Record a failure and raise."""
        self._records.append(Check(name, Verdict.FAIL, expected, observed, source, error.code, note))
        raise error(
            note or f"{name}: expected {expected!r}, observed {observed!r}",
            checks=self._records,
            details={"check": name},
        )

    def expect(
        self,
        name: str,
        ok: bool,
        error: type[TouchstoneError],
        *,
        expected: object = None,
        observed: object = None,
        source: str = "",
        note: str = "",
    ) -> bool:
        """Record a policy expectation; a failure is kept, not raised. Returns ``ok``."""
        self._records.append(
            Check(
                name,
                Verdict.PASS if ok else Verdict.FAIL,
                expected,
                observed,
                source,
                None if ok else error.code,
                note,
            )
        )
        return ok

    def warn(self, name: str, *, observed: object = None, source: str = "", note: str = "") -> None:
        """Record something a reader must know that decides nothing by itself."""
        self._records.append(Check(name, Verdict.WARNING, None, observed, source, None, note))

    def skip(self, name: str, note: str, *, source: str = "") -> None:
        """Record that a check was not made, and why."""
        self._records.append(Check(name, Verdict.NOT_EVALUATED, None, None, source, None, note))

    def extend(self, records: tuple[Check, ...]) -> None:
        """Append records made elsewhere (a cached chain, a nested verifier)."""
        self._records.extend(records)

    @property
    def records(self) -> tuple[Check, ...]:
        """All records so far, in order."""
        return tuple(self._records)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The failed ones."""
        return tuple(record for record in self._records if record.verdict is Verdict.FAIL)
