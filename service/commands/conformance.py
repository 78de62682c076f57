"""`touchstone conformance`: run every case of a manifest, offline, at each case's own time."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

_NEGATIVE = 1


@click.command("conformance")
@click.argument("manifest", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--only", metavar="TEXT", help="Run only cases whose id or type contains TEXT.")
@click.option("--disagreements", is_flag=True, help="Print only cases that disagree.")
def command(manifest: Path, only: str | None, disagreements: bool) -> None:
    """Run every case of MANIFEST (evidence, mutations or provenance) and compare.

    Prints one JSON line a case (id, type, expected, got, code, agree, detail) and last a count. An
    unsupported type is counted as such, never as agreement. Exit code 1 if any case disagrees.
    """
    from service.conformance.runner import run

    counts = {True: 0, False: 0, None: 0}
    for outcome in run(manifest, only=only):
        counts[outcome.agree] += 1
        if not disagreements or outcome.agree is False:
            click.echo(msgspec.json.encode(outcome).decode("utf-8"))
    click.echo(f"{counts[True]} agree, {counts[False]} disagree, {counts[None]} unsupported")
    if counts[False]:
        raise SystemExit(_NEGATIVE)
