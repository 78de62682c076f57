"""``touchstone verify``: evidence file to verdict, offline."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from service.commands import output
from service.commands.output import ExitCode, json_option

if TYPE_CHECKING:
    from common.checks import Check
    from service.inspection import Inspection
    from verifier.appraisal import Appraisal
    from verifier.model import VerifiedEvidence

_FILE = click.Path(path_type=Path, dir_okay=False)
_MAX_SIDE_FILE = 1 << 20
_NAME_WIDTH = 30
_VALUE_WIDTH = 110


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--certificate", "certificates", multiple=True, type=_FILE, help="VCEK, VLEK, ASK (DER or PEM)."
)
@click.option("--at", metavar="RFC3339", help="Verification time; now otherwise.")
@click.option("--report-data", metavar="HEX", help="Bytes that the evidence must carry.")
@click.option("--crl", type=_FILE, help="The ARK's revocation list (DER).")
@click.option(
    "--anchor", "anchors", multiple=True, type=_FILE, help="Trust this test ARK as if it were AMD's."
)
@click.option("--ek-root", "ek_roots", multiple=True, type=_FILE, help="Root of TPM endorsement keys.")
@click.option(
    "--trusted-ak", "ak_names", multiple=True, metavar="NAME", help="Name (hex) of a trusted TPM AK."
)
@click.option(
    "--v2-product", type=click.Choice(["Milan", "Genoa", "Turin"]), help="For SNP report version 2."
)
@click.option(
    "--vmpl", "vmpls", multiple=True, type=click.IntRange(0, 3), help="Accepted VMPL; 0 otherwise."
)
@click.option("--policy", type=_FILE, help="Appraise by this Rego policy; the shipped one otherwise.")
@click.option("--reference", "references", multiple=True, metavar="NAME=VALUE", help="A reference value.")
@click.option("--references", "reference_file", type=_FILE, help='JSON: {"name": [values]}.')
@click.option("--explain", is_flag=True, help="Show every check, claim and rule.")
@json_option
def command(
    file: Path,
    certificates: tuple[Path, ...],
    at: str | None,
    report_data: str | None,
    crl: Path | None,
    anchors: tuple[Path, ...],
    ek_roots: tuple[Path, ...],
    ak_names: tuple[str, ...],
    v2_product: str | None,
    vmpls: tuple[int, ...],
    policy: Path | None,
    references: tuple[str, ...],
    reference_file: Path | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Verify the evidence in FILE down to the vendor's root; with a policy or references, appraise it.

    FILE is a JSON evidence document, or a raw SNP report with --certificate. Exit code 0: authentic, no
    expectation failed, and affirming where it was appraised; 1 otherwise.
    """
    from common.encoding import hex_decode
    from common.files import read_limited
    from service import inspection as library

    if anchors:
        output.note("TEST ROOT: everything the given anchor signs counts as hardware in this run")
    evidence = library.recognise(
        read_limited(file, what="evidence", max_bytes=library.MAX_EVIDENCE_BYTES),
        [_read(c) for c in certificates],
    )
    inspection = library.Inspection(
        now=_instant(at),
        report_data=None if report_data is None else hex_decode(report_data, what="--report-data"),
        crl=None if crl is None else _read(crl),
        anchors=_load(anchors, "--anchor"),
        ek_roots=_load(ek_roots, "--ek-root"),
        ak_names=frozenset(hex_decode(name, what="--trusted-ak") for name in ak_names),
        v2_product=v2_product,
        vmpls=frozenset(vmpls or (0,)),
    )
    verified = library.verify(evidence, inspection)
    appraisal = None
    if policy is not None or references or reference_file is not None:
        values = {} if reference_file is None else library.parse_references(_read(reference_file))
        for text in references:
            name, value = _pair(text)
            values.setdefault(name, []).append(value)
        source = None if policy is None else _read(policy).decode("utf-8", "replace")
        appraisal = library.appraise(verified, source, values, inspection.now)
    _report(verified, appraisal, inspection, explain=explain, as_json=as_json)


def _report(
    verified: VerifiedEvidence,
    appraisal: Appraisal | None,
    inspection: Inspection,
    *,
    explain: bool,
    as_json: bool,
) -> None:
    failed = [check for check in verified.checks if check.verdict == "fail"]
    affirming = appraisal is None or appraisal.status == "affirming"
    document: dict[str, Any] = {
        "verdict": "refused" if failed else "authentic",
        "tee": verified.tee,
        "at": inspection.now,
        "bound": verified.bound,
        "identity": verified.identity,
        "evidence_digest": verified.evidence_digest,
        "not_after": verified.not_after,
        "claims": verified.claims,
        "checks": verified.checks,
        "appraisal": None if appraisal is None else appraisal.explanation,
    }
    output.emit(document, as_json=as_json, text=lambda: _text(document, failed, appraisal, explain=explain))
    if failed or not affirming:
        raise SystemExit(ExitCode.NEGATIVE)


def _text(
    document: dict[str, Any], failed: list[Check], appraisal: Appraisal | None, *, explain: bool
) -> str:
    lines = [
        f"{document['tee']} evidence, judged at {document['at']:%Y-%m-%dT%H:%M:%SZ}",
        _line("verdict", "authentic, expectations met" if not failed else "authentic, but refused"),
        _line("identity", document["identity"]),
        _line("bound to", document["bound"]),
        _line("evidence sha256", document["evidence_digest"]),
        _line("holds until", document["not_after"]),
    ]
    lines += [_line(f"  refused: {check.name}", f"[{check.code}] {check.note}") for check in failed]
    if appraisal is not None:
        lines.append(_line("appraisal", appraisal.status))
        lines += [_line(f"  {name}", value) for name, value in appraisal.trust_vector.items()]
    lines.append("claims")
    lines += [_line(f"  {name}", value) for name, value in _flat(document["claims"])]
    if explain:
        lines.append("checks")
        checks = document["checks"] if appraisal is None else _all_checks(appraisal)
        lines += [_check(check) for check in checks]
        if appraisal is not None and appraisal.explanation is not None:
            lines.append("rules that decided")
            lines += [
                _line(f"  {rule['rule']}", f"line {rule['line']}: {rule['value']}")
                for rule in appraisal.explanation["policy"]["rules"]
            ]
    return "\n".join(lines)


def _all_checks(appraisal: Appraisal) -> list[Check]:
    from common.checks import Check

    explanation = appraisal.explanation or {"checks": []}
    return msgspec.convert(explanation["checks"], list[Check])


def _check(check: Check) -> str:
    shown = "" if check.expected is None else f"expected {_short(check.expected)}"
    shown += "" if check.observed is None else f"{', ' if shown else ''}observed {_short(check.observed)}"
    source = f"  ({check.source})" if check.source else ""
    return _line(f"  {check.verdict.value:<13} {check.name}", f"{shown or check.note}{source}")


def _flat(claims: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in claims.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _line(name: str, value: object) -> str:
    return f"{name:<{_NAME_WIDTH}} {_short(value)}"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _VALUE_WIDTH else f"{text[:_VALUE_WIDTH]}…"


def _pair(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.UsageError(f"--reference wants NAME=VALUE, not {text!r}")
    try:
        parsed = json.loads(value)
    except ValueError:
        return name, value
    return name, parsed if isinstance(parsed, (bool, int)) else value


def _instant(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--at wants an RFC 3339 time, not {text!r}") from error
    if moment.tzinfo is None:
        raise click.UsageError("--at wants an offset: end it with Z for UTC")
    return moment.astimezone(UTC)


def _read(path: Path) -> bytes:
    from common.files import read_limited

    return read_limited(path, what=path.name, max_bytes=_MAX_SIDE_FILE)


def _load(paths: tuple[Path, ...], what: str) -> tuple[Any, ...]:
    from service import inspection as library

    return tuple(item for path in paths for item in library.load_certificates(_read(path), what=what))
