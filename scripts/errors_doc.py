"""Write docs/errors.md from the error classes: every code, what it means, what to do next."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from common.errors import registry
from service.problems import status_of

_MODULES = (
    "provenance.errors",
    "provenance.oci.errors",
    "policy.errors",
    "rvps.errors",
    "verifier.errors",
    "kms.errors",
    "coco.errors",
    "guest_agent.errors",
    "service.errors",
)
_HEAD = """# Errors

Every error has a stable code. The API answers with RFC 9457 problem documents that carry it as `code`; the command
line prints it in brackets. Written by `scripts/errors_doc.py` from the classes; a test holds this page to them.

| code | status | meaning | what to do next |
|---|---|---|---|
"""


def render() -> str:
    """The page's text."""
    for module in _MODULES:
        importlib.import_module(module)
    rows = [
        f"| `{code}` | {status_of(error)} | {(error.__doc__ or '').strip().splitlines()[0]} | {error.advice} |"
        for code, error in registry().items()
    ]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    target = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
    target.write_text(render(), encoding="utf-8")
    print(f"wrote {target.name}", file=sys.stderr)
