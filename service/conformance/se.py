"""Runs ``se-hkd`` cases, and mutations of them, on the verification of host-key documents.

A case brings its own signing key, intermediate and root; the root counts as trusted for that case alone.
The manifest's cases state no claims: the outcome is the result and the error's class.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from common.checks import Checks
from common.errors import Malformed, TouchstoneError
from service.conformance.case_files import CaseFiles, UnknownOperation
from service.conformance.evidence import refused
from service.conformance.outcome import FAIL, PASS, Outcome, case_id, passed, unsupported
from verifier.se.host_key import verify_host_key
from verifier.se.pki import load_certificates, load_lists

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KINDS: Final = ("se-hkd",)


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""
    kind = str(case.get("tee"))
    expected = PASS if case.get("expect", {}).get("result") == PASS else FAIL
    try:
        _verify(CaseFiles(_prepared(case), folder))
    except UnknownOperation as error:
        return unsupported(case, kind, expected, error.message)
    except TouchstoneError as error:
        return refused(case, kind, error, [])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # The case, not its evidence: the verifier raises nothing but our own errors.
        detail = f"the case cannot be read ({type(error).__name__})"
        return Outcome(case_id(case), kind, expected, FAIL, Malformed.code, agree=False, detail=detail)
    return passed(case, kind, expected)


def _prepared(case: Mapping[str, Any]) -> dict[str, Any]:
    """The case, with a ``drop_file`` mutation carried out: it changes no file, it takes one away."""
    mutation = case.get("mutation") or {}
    if mutation.get("op") != "drop_file":
        return dict(case)
    files = {role: name for role, name in case["files"].items() if role != mutation["file"]}
    return dict(case) | {"mutation": None, "files": files}


def _verify(files: CaseFiles) -> None:
    certificates = [
        certificate
        for role in ("signing", "inter")
        if files.has(role)
        for certificate in load_certificates(files.read(role), role)
    ]
    verify_host_key(
        files.read("evidence"),
        certificates,
        load_lists(files.read("crl"), "crl") if files.has("crl") else (),
        load_certificates(files.read("root"), "root"),
        now=datetime.fromisoformat(str(files.case["verification_time"])),
        checks=Checks(),
    )
