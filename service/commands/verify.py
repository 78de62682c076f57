"""``touchstone verify``: evidence file to verdict, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands import output, verify_text
from service.commands.local import instant
from service.commands.output import ExitCode, json_option

if TYPE_CHECKING:
    from common.errors import TouchstoneError
    from service.inspection import Inspection
    from verifier.model import VerifiedEvidence
    from verifier.result import Appraisal
    from wire.evidence import Evidence

_FILE = click.Path(path_type=Path, dir_okay=False)
_MAX_SIDE_FILE = 1 << 20
_MAX_ROLE_FILE = 8 << 20


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--certificate",
    "certificates",
    multiple=True,
    type=_FILE,
    help="VCEK, VLEK, ASK or ARK (DER or PEM, also several in one file). May be repeated.",
)
@click.option(
    "--collateral",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of revocation lists and VCEKs (docs/verifier.md).",
)
@click.option("--crl", type=_FILE, help="The ARK's revocation list (DER or PEM).")
@click.option("--at", metavar="RFC3339", help="Verification time; now otherwise.")
@click.option("--report-data", metavar="HEX", help="Bytes that the evidence must carry.")
@click.option(
    "--anchor", "anchors", multiple=True, type=_FILE, help="Trust this test ARK as if it were AMD's."
)
@click.option("--ek-root", "ek_roots", multiple=True, type=_FILE, help="Root of TPM endorsement keys.")
@click.option(
    "--trusted-ak",
    "attestation_keys",
    multiple=True,
    metavar="HEX",
    help="Trusted TPM attestation key: its name, or the SHA-256 of its SubjectPublicKeyInfo.",
)
@click.option(
    "--pcrs",
    "selection",
    multiple=True,
    metavar="BANK:LIST",
    help="Registers that the quote must cover with --report-data, e.g. sha256:0,1,7.",
)
@click.option(
    "--v2-product",
    type=click.Choice(["Milan", "Genoa", "Turin"]),
    help="What an SNP report of version 2, which names no product, is taken for.",
)
@click.option(
    "--vmpl", "vmpls", multiple=True, type=click.IntRange(0, 3), help="Accepted VMPL; 0 otherwise."
)
@click.option(
    "--with",
    "files",
    multiple=True,
    metavar="ROLE=FILE",
    help="A file that goes with the evidence (docs/cli.md: the roles of each TEE).",
)
@click.option(
    "--coco", "tee", metavar="TEE", help="FILE is evidence as a guest of Confidential Containers sends it."
)
@click.option("--policy", type=_FILE, help="Appraise by this Rego policy; the shipped one otherwise.")
@click.option("--reference", "references", multiple=True, metavar="NAME=VALUE", help="A reference value.")
@click.option("--references", "reference_file", type=_FILE, help='JSON: {"name": [values]}.')
@click.option("--explain", is_flag=True, help="Show every check, and the rules that decided.")
@json_option
def command(
    file: Path,
    certificates: tuple[Path, ...],
    collateral: Path | None,
    crl: Path | None,
    at: str | None,
    report_data: str | None,
    anchors: tuple[Path, ...],
    ek_roots: tuple[Path, ...],
    attestation_keys: tuple[str, ...],
    selection: tuple[str, ...],
    v2_product: str | None,
    vmpls: tuple[int, ...],
    files: tuple[str, ...],
    tee: str | None,
    policy: Path | None,
    references: tuple[str, ...],
    reference_file: Path | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Verify the evidence in FILE down to the vendor's root; with a policy or references, appraise it.

    FILE is a JSON evidence document (ours, or with --coco that of a guest of Confidential Containers), or
    evidence in a TEE's own format (an SNP report, a TDX or SGX quote, a CCA token ...); docs/cli.md lists
    them, and what goes with each. Nothing is fetched. Exit code 0: authentic, no expectation failed, and
    affirming where it was appraised; 1 otherwise.
    """
    from common.encoding import hex_decode
    from common.errors import EndorsementError, EvidenceError
    from service import inspection as library
    from verifier.errors import UnsupportedEvidence

    evidence = library.recognise(_read(file, library.MAX_EVIDENCE_BYTES, what="evidence"), coco=tee)
    if anchors:
        output.note("TEST ROOT: everything that the given anchor signs counts as hardware in this run")
    inspection = library.Inspection(
        now=instant(at),
        report_data=None if report_data is None else hex_decode(report_data, what="--report-data"),
        certificates=_load(certificates, "--certificate"),
        crl=None if crl is None else _read(crl),
        collateral=_folder(collateral),
        anchors=_load(anchors, "--anchor"),
        ek_roots=_load(ek_roots, "--ek-root"),
        attestation_keys=frozenset(hex_decode(key, what="--trusted-ak") for key in attestation_keys),
        pcr_selection=_selection(selection),
        v2_product=v2_product,
        vmpls=frozenset(vmpls or (0,)),
        files=_roles(files),
    )
    values = _references(references, reference_file)
    source = None if policy is None else _policy_text(policy)
    try:
        verified = library.verify(evidence, inspection)
    except UnsupportedEvidence:
        raise  # no verdict: it is not evidence that this can judge
    except (EvidenceError, EndorsementError) as error:
        _refuse(error, evidence, inspection, explain=explain, as_json=as_json)
        return
    appraisal = None
    if policy is not None or references or reference_file is not None:
        appraisal = library.appraise(verified, source, values, inspection.now)
    _report(verified, appraisal, inspection, explain=explain, as_json=as_json)


def _refuse(
    error: TouchstoneError, evidence: Evidence, inspection: Inspection, *, explain: bool, as_json: bool
) -> None:
    """Evidence that is not authentic: the error, the checks up to it, and no claims."""
    from service.inspection import unverified_contents

    document: dict[str, Any] = {
        "verdict": "refused",
        "tee": str(evidence.__struct_config__.tag),
        "at": inspection.now,
        "test_root": bool(inspection.anchors),
        **output.error_document(error),
        "checks": error.checks,
        "unverified_contents": unverified_contents(evidence),
    }
    output.emit(document, as_json=as_json, text=lambda: verify_text.refusal(document, explain=explain))
    raise SystemExit(ExitCode.NEGATIVE)


def _report(
    verified: VerifiedEvidence,
    appraisal: Appraisal | None,
    inspection: Inspection,
    *,
    explain: bool,
    as_json: bool,
) -> None:
    failed = any(check.verdict == "fail" for check in verified.checks)
    document: dict[str, Any] = {
        "verdict": "refused" if failed else "authentic",
        "tee": verified.tee,
        "at": inspection.now,
        "test_root": bool(inspection.anchors),
        "bound": verified.bound,
        "identity": verified.identity,
        "evidence_digest": verified.evidence_digest,
        "not_after": verified.not_after,
        "claims": verified.claims,
        "checks": verified.checks,
        "appraisal": None if appraisal is None else appraisal.explanation,
    }
    output.emit(
        document, as_json=as_json, text=lambda: verify_text.report(document, appraisal, explain=explain)
    )
    if failed or (appraisal is not None and appraisal.status != "affirming"):
        raise SystemExit(ExitCode.NEGATIVE)


def _references(texts: tuple[str, ...], file: Path | None) -> dict[str, list[Any]]:
    from service.inspection import parse_references

    values = {} if file is None else parse_references(_read(file))
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.UsageError(f"--reference wants NAME=VALUE, not {text!r}")
        values.setdefault(name, []).append(_scalar(value))
    return values


def _scalar(text: str) -> bool | int | str:
    """``true``, ``false`` and whole numbers as such; anything else is text, also a number in quotes."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return text
    return parsed if isinstance(parsed, (bool, int, str)) else text


def _selection(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]] | None:
    selection: dict[str, tuple[int, ...]] = {}
    for text in texts:
        bank, _, registers = text.partition(":")
        try:
            selection[bank] = tuple(sorted(int(number) for number in registers.split(",")))
        except ValueError as error:
            raise click.UsageError(f"--pcrs wants BANK:LIST, not {text!r}") from error
    return selection or None


def _roles(texts: tuple[str, ...]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for text in texts:
        role, separator, path = text.partition("=")
        if not separator or not role or not path or role in files:
            raise click.UsageError(f"--with wants ROLE=FILE, each role once, not {text!r}")
        files[role] = _read(Path(path), _MAX_ROLE_FILE)
    return files


def _policy_text(path: Path) -> str:
    from common.errors import Malformed

    try:
        return _read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"{path} is not UTF-8 text") from error


def _folder(path: Path | None) -> Path | None:
    from common.errors import NotFound

    if path is not None and not path.is_dir():
        raise NotFound(f"--collateral: {path} is no folder")
    return path


def _read(path: Path, limit: int = _MAX_SIDE_FILE, *, what: str | None = None) -> bytes:
    from common.files import read_limited

    return read_limited(path, what=what or path.name, max_bytes=limit)


def _load(paths: tuple[Path, ...], what: str) -> tuple[Any, ...]:
    from verifier.reading import load_certificates

    return tuple(item for path in paths for item in load_certificates(_read(path), what=what))
