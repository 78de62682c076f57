"""`touchstone conformance`: run every case of a manifest, offline, at each case's own time."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from service.commands import output
from service.commands.output import ExitCode, json_option


@click.command("conformance")
@click.argument("manifest", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--only", metavar="TEXT", help="Run only cases whose id or type contains TEXT.")
@click.option("--disagreements", is_flag=True, help="Print only cases that disagree.")
@json_option
def command(manifest: Path, only: str | None, disagreements: bool, as_json: bool) -> None:
    """Run every case of MANIFEST (evidence, mutations or provenance) and compare.

    Prints one JSON line a case (id, type, expected, got, code, agree, detail) and last a count; with
    --json one document. An unsupported type is counted as such, never as agreement. Exit code 1 if any
    case disagrees.
    """
    from service.conformance.runner import run

    counts = {True: 0, False: 0, None: 0}
    shown = []
    progress = output.Progress()
    for outcome in run(manifest, only=only):
        counts[outcome.agree] += 1
        progress.show(f"{sum(counts.values())} cases, {counts[False]} disagree: {outcome.id}")
        if disagreements and outcome.agree is not False:
            continue
        if as_json:
            shown.append(outcome)
        else:
            progress.end()
            click.echo(msgspec.json.encode(outcome).decode("utf-8"))
    progress.end()
    totals = {"agree": counts[True], "disagree": counts[False], "unsupported": counts[None]}
    text = ", ".join(f"{count} {name}" for name, count in totals.items())
    output.emit({"cases": shown, "counts": totals}, as_json=as_json, text=lambda: text)
    if counts[False]:
        raise SystemExit(ExitCode.NEGATIVE)
