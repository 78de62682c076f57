"""What ``touchstone collateral`` prints: tables, and the same as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import TouchstoneError
from service.commands import output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from verifier.endorsements.fetching import Fetched
    from verifier.endorsements.kinds import Ask
    from verifier.endorsements.listing import Listed
    from verifier.endorsements.store import Kept


def show(found: Sequence[Listed], *, as_json: bool) -> None:
    """Print a list of items."""
    head = ("KIND", "SUBJECT", "ISSUED", "UNTIL", "DAYS", "STATE", "NAME")
    rows = [
        (
            item.kind,
            item.subject or "-",
            date(item.issued),
            date(item.not_after),
            "-" if item.days_left is None else f"{item.days_left:.1f}",
            item.state if not item.code else f"{item.state} ({item.code})",
            item.name,
        )
        for item in found
    ]
    output.emit({"items": found}, as_json=as_json, text=lambda: output.table(head, rows))


def result_document(ask: Ask, result: Fetched | TouchstoneError) -> dict[str, Any]:
    """One outcome of fetching, as data."""
    if isinstance(result, TouchstoneError):
        return {"name": ask.name, "outcome": "failed", **output.error_document(result)}
    return {
        "name": ask.name,
        "outcome": result.outcome,
        "subject": result.facts.subject,
        "not_after": result.facts.not_after,
        "url": result.url,
    }


def result_text(results: Sequence[tuple[Ask, Fetched | TouchstoneError]]) -> str:
    """Outcomes of fetching, as a table."""
    rows = [
        (ask.name, "failed", "-", f"{result.message} [{result.code}]")
        if isinstance(result, TouchstoneError)
        else (ask.name, result.outcome, date(result.facts.not_after), result.url or "-")
        for ask, result in results
    ]
    return output.table(("NAME", "OUTCOME", "UNTIL", "FROM"), rows)


def kept_document(kept: Kept) -> dict[str, Any]:
    """One outcome of an import, as data."""
    return {
        "name": kept.name,
        "outcome": kept.outcome,
        "subject": kept.facts.subject,
        "not_after": kept.facts.not_after,
    }


def kept_text(kept: Sequence[Kept]) -> str:
    """Outcomes of an import, as a table."""
    rows = [(item.name, item.outcome, date(item.facts.not_after)) for item in kept]
    return output.table(("NAME", "OUTCOME", "UNTIL"), rows)


def date(instant: datetime | None) -> str:
    """A day, or a dash."""
    return "-" if instant is None else f"{instant:%Y-%m-%d}"
