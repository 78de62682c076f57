"""What ``touchstone verify`` prints for people: one section a question, long values wrapped, none cut."""

from __future__ import annotations

import json
import textwrap
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from common.checks import Check
    from verifier.result import Appraisal

_INDENT = "    "
_NAME_WIDTH = 34
_VALUE_WIDTH = 72
_LISTED = 8


def report(document: Mapping[str, Any], appraisal: Appraisal | None, *, explain: bool) -> str:
    """Evidence that is authentic."""
    failed = [check for check in document["checks"] if check.verdict == "fail"]
    verdict = "refused: authentic, but not as expected" if failed else "authentic"
    lines = [
        *_head(document, verdict),
        *_row("identity", document["identity"]),
        *_row("bound to", _BOUND[document["bound"]]),
        *_row("evidence SHA-256", document["evidence_digest"]),
        *_row("holds until", document["not_after"] or "no limit"),
    ]
    lines += _section("Not as expected", (_reason(check) for check in failed))
    lines += _section("Mind", (_reason(check) for check in document["checks"] if _is_caveat(check)))
    if appraisal is not None:
        lines += _appraisal(appraisal)
    lines += _section("Claims", (_row(name, value) for name, value in _flat(document["claims"])))
    if explain:
        lines += _explanation(document, appraisal)
    return "\n".join(lines)


def refusal(document: Mapping[str, Any], *, explain: bool) -> str:
    """Evidence that is not authentic, not bound, or not endorsed."""
    error = document["error"]
    lines = [
        *_head(document, "refused"),
        *_row("because", f"{error['message']} [{error['code']}]"),
        *_row("next", error["advice"]),
    ]
    contents = document["unverified_contents"].items()
    lines += _section(
        "Contents, which nothing vouches for", (_row(name, value) for name, value in contents)
    )
    if explain:
        lines += _checks(document["checks"])
    return "\n".join(lines)


_BOUND = {
    "session": "a session",
    "report-data": "the given report data",
    "unbound": "nothing: no --report-data was given",
}


def _head(document: Mapping[str, Any], verdict: str) -> list[str]:
    title = f"{document['tee'].upper()} evidence at {document['at']:%Y-%m-%dT%H:%M:%SZ}"
    return [title, *_row("verdict", verdict + (" (under a TEST ROOT)" if document["test_root"] else ""))]


def _appraisal(appraisal: Appraisal) -> list[str]:
    rows = [_row("status", appraisal.status), _row("policy SHA-256", appraisal.policy_digest)]
    rows += [_row(name, value) for name, value in appraisal.trust_vector.items()]
    rows += [
        _row("reference value used", f"{value.name} = {value.value} ({value.lineage.signer})")
        for value in appraisal.relied_on
    ]
    return _section("Appraisal", rows)


def _explanation(document: Mapping[str, Any], appraisal: Appraisal | None) -> list[str]:
    if appraisal is None or appraisal.explanation is None:
        return _checks(document["checks"])
    import msgspec

    from common.checks import Check

    lines = _checks(msgspec.convert(appraisal.explanation["checks"], list[Check]))
    return lines + _section("Rules", (_rule(rule) for rule in appraisal.explanation["policy"]["rules"]))


def _rule(rule: Mapping[str, Any]) -> list[str]:
    if "error" in rule:
        return _row(rule["error"], rule["note"])
    held = f"= {json.dumps(rule['value'])}" if rule["decided"] else "failed here"
    text = str(rule["text"]).splitlines()
    return _row(f"line {rule['line']}", f"{rule['rule']} {held}") + _row("", text[0] if text else "")


def _checks(checks: Sequence[Check]) -> list[str]:
    return _section("Checks", (_check(check) for check in checks))


def _check(check: Check) -> list[str]:
    lines = _row(check.verdict.value, check.name)
    if check.expected is not None:
        lines += _row("", f"expected {_text(check.expected)}")
    if check.observed is not None:
        lines += _row("", f"observed {_text(check.observed)}")
    for text in (check.note, check.source):
        if text:
            lines += _row("", text)
    return lines


def _is_caveat(check: Check) -> bool:
    return check.verdict in {"warning", "not-evaluated"} and bool(check.note)


def _reason(check: Check) -> list[str]:
    code = f" [{check.code}]" if check.code else ""
    seen = "" if check.observed is None else f"observed {_text(check.observed)}"
    wanted = "" if check.expected is None else f"expected {_text(check.expected)}"
    facts = check.note or ", ".join(part for part in (wanted, seen) if part)
    return _row(check.name, f"{facts}{code}")


def _section(title: str, rows: Iterable[list[str]]) -> list[str]:
    lines = [line for row in rows for line in row]
    return [f"{title}:", *lines] if lines else []


def _row(name: str, value: object) -> list[str]:
    label = f"{_INDENT}{name:<{_NAME_WIDTH}} "
    if len(name) > _NAME_WIDTH:
        return [f"{_INDENT}{name}", *_row("", value)]
    parts = textwrap.wrap(_text(value), _VALUE_WIDTH, break_on_hyphens=False) or [""]
    return [f"{label}{parts[0]}".rstrip(), *(f"{'':<{len(label)}}{part}" for part in parts[1:])]


def _flat(claims: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in claims.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _text(value: object) -> str:
    if isinstance(value, str):
        # What evidence holds may be chosen by whoever made it: control characters stay out of terminals.
        return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value)
    if value is None:
        return "none"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, (list, tuple)) and len(value) > _LISTED:
        return f"{len(value)} entries (--json lists them)"
    return json.dumps(value, default=str)
