"""Runs ``se-hkd`` cases, and mutations of them, on the verification of host-key documents.

A case brings its own signing key, intermediate and root; the root counts as trusted for that case alone.
The manifest's cases state no claims: the outcome is the result and the error's class.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from common.checks import Checks
from service.conformance.case_files import CaseFiles
from service.conformance.evidence import judged
from verifier.se.host_key import verify_host_key
from verifier.se.pki import load_certificates, load_lists

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome

KINDS: Final = ("se-hkd",)


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""

    def body(differing: list[str]) -> str:
        del differing  # the cases of this kind state no claims
        return _verify(CaseFiles(_prepared(case), folder))

    return judged(case, body)


def _prepared(case: Mapping[str, Any]) -> dict[str, Any]:
    """The case, with a ``drop_file`` mutation carried out: it changes no file, it takes one away."""
    mutation = case.get("mutation") or {}
    if mutation.get("op") != "drop_file":
        return dict(case)
    files = {role: name for role, name in case["files"].items() if role != mutation["file"]}
    return dict(case) | {"mutation": None, "files": files}


def _verify(files: CaseFiles) -> str:
    certificates = [
        certificate
        for role in ("signing", "inter")
        if files.has(role)
        for certificate in load_certificates(files.read(role), role)
    ]
    host_key = verify_host_key(
        files.read("evidence"),
        certificates,
        load_lists(files.read("crl"), "crl") if files.has("crl") else (),
        load_certificates(files.read("root"), "root"),
        now=datetime.fromisoformat(str(files.case["verification_time"])),
        checks=Checks(),
    )
    return f"host key {host_key.hash.hex()}"
