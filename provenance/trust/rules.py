"""How a trust policy's rules are held against one statement: the first refusal stops, or all are shown.

Invariants:

* A rule that holds leaves a passed record. One that does not is refused, unless an exception of the policy
  lifts that rule for exactly this envelope and has not ended; each use leaves a warning that names it.
* An exception that has ended counts for nothing, and a record says so.
* ``explain`` mode goes on after a refusal, and what it collects admits nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.checks import Check, Checks, Verdict
from common.errors import StatementError
from provenance.instants import earliest
from provenance.trust import limits
from provenance.trust.model import EXCEPTABLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from common.errors import TouchstoneError
    from provenance.model import AuthenticStatement
    from provenance.trust.model import TrustDocument, TrustException

_SOURCE = "trust policy, exceptions"


class Rules:
    """The rules of one policy on one statement.

    Args:
        authentic: the statement; its records come first.
        document: the policy, as it decides here.
        now: aware UTC.
        explain: go on after a refusal.

    Attributes:
        checks: every record so far.
        document: as given.
        now: as given.
        explain: as given.
        supporting: the statement only supports: what it does not state is not demanded of it.
    """

    def __init__(
        self,
        authentic: AuthenticStatement,
        document: TrustDocument,
        now: datetime,
        *,
        explain: bool = False,
    ) -> None:
        """Find the exceptions of this envelope."""
        self.checks = Checks()
        self.checks.extend(authentic.checks)
        self.document = document
        self.now = now
        self.explain = explain
        self.supporting = authentic.statement.predicate_type in document.supporting_predicates
        self._exceptions = [
            item for item in document.exceptions if item.attestation == authentic.attestation
        ]
        self._used: list[TrustException] = []

    @property
    def valid_until(self) -> datetime | None:
        """The earliest end of the exceptions that were used."""
        return earliest(*(limits.exception_end(item) for item in self._used))

    @property
    def standing(self) -> tuple[TrustException, ...]:
        """Exceptions of this envelope that have not ended."""
        return tuple(item for item in self._exceptions if self.now < limits.exception_end(item))

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
        """Record; where it does not hold, look for an exception, then refuse (``Checks.require``)."""
        if ok or not self._lifted(name, expected, observed):
            record = self.checks.expect if self.explain else self.checks.require
            record(name, ok, error, expected=expected, observed=observed, source=source, note=note)

    def refuse(
        self,
        name: str,
        error: type[TouchstoneError],
        *,
        expected: object = None,
        observed: object = None,
        source: str = "",
        note: str = "",
    ) -> None:
        """``require`` of what does not hold."""
        ok = False
        self.require(name, ok, error, expected=expected, observed=observed, source=source, note=note)

    @contextmanager
    def part(self) -> Iterator[None]:
        """A part that raises by itself: in explain mode its refusal is recorded and swallowed."""
        try:
            yield
        except StatementError as error:
            if not self.explain:
                raise
            known = len(self.checks.records)
            self.checks.extend(error.checks[known:])
            if not error.checks:
                failed = Check("statement", Verdict.FAIL, code=error.code, note=error.message)
                self.checks.extend((failed,))

    def _lifted(self, name: str, expected: object, observed: object) -> bool:
        if name not in EXCEPTABLE:
            return False
        for item in self._exceptions:
            if name not in item.rules:
                continue
            about = {"exception": item.name, "rule": name, "expected": expected, "observed": observed}
            if self.now < limits.exception_end(item):
                self._used.append(item)
                self.checks.warn(
                    "trust.exception",
                    observed=about,
                    source=_SOURCE,
                    note=f"{name} is lifted until {item.expires}: {item.reason}",
                )
                return True
            self.checks.skip(
                "trust.exception", f"exception {item.name!a} ended at {item.expires}", source=_SOURCE
            )
        return False
