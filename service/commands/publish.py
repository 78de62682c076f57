"""``touchstone publish``: the CI step."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from service.commands import output
from service.commands.output import json_option
from service.commands.remote import client_of, server_options

if TYPE_CHECKING:
    from service.publishing import Publication

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--policy", required=True, type=_FILE, help="Trust policy, TOML or JSON.")
@click.option("--attestation", required=True, type=_FILE, help="DSSE envelope or Sigstore bundle.")
@click.option(
    "--artifact",
    "artifacts",
    multiple=True,
    metavar="ROLE=PATH",
    help="An artefact: firmware, firmware-descriptor, kernel, initrd, cmdline. May be repeated.",
)
@click.option("--launch", required=True, type=_FILE, help="Derivation request or a list.")
@click.option("--output", "output_file", type=_FILE, help="Write a signed statement instead.")
@click.option("--signing-key", type=_FILE, help="PEM private key (mode 0600) for --output.")
@click.option("--dry-run", is_flag=True, help="Verify and derive only.")
@server_options
@json_option
def command(
    policy: Path,
    attestation: Path,
    artifacts: tuple[str, ...],
    launch: Path,
    output_file: Path | None,
    signing_key: Path | None,
    dry_run: bool,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Verify an attestation, derive reference values, and submit them.

    The server verifies and derives again from the same files. With --output nothing is sent: a signed
    reference-value statement is written, for a site that cannot be reached.
    """
    from policy.regorus_engine import RegorusEngine
    from service import publishing

    if (output_file is None) != (signing_key is None):
        raise click.UsageError("--output and --signing-key go together")
    now = datetime.now(UTC)
    publication = publishing.prepare(
        trust_policy=policy,
        attestation=attestation,
        artifacts=[_artifact(text) for text in artifacts],
        requests=publishing.read_requests(launch),
        engine=RegorusEngine(),
        now=now,
    )
    answer: Any = None
    if output_file is not None and signing_key is not None:
        publishing.write_statement(publication, output_file, signing_key, now)
    elif not dry_run:
        output.note(f"submitting {len(publication.values)} values to {server}")
        answer = publishing.submit(client_of(server, token_file, ca_file), publication)
    document = _document(publication, answer, output_file)
    output.emit(document, as_json=as_json, text=lambda: _text(document))


def _artifact(text: str) -> Any:
    from service import publishing

    role, separator, path = text.partition("=")
    if not separator or not role or not path:
        raise click.UsageError(f"--artifact wants ROLE=PATH, not {text!r}")
    return publishing.read_artifact(role, Path(path))


def _document(publication: Publication, answer: Any, written: Path | None) -> dict[str, Any]:
    admitted = publication.admitted
    return {
        "attestation": admitted.authentic.attestation,
        "predicate_type": admitted.authentic.statement.predicate_type,
        "signers": [signer.identity for signer in admitted.authentic.signers],
        "builder": admitted.builder,
        "source_uri": admitted.source_uri,
        "source_revision": admitted.source_revision,
        "values": msgspec.to_builtins(publication.values),
        "checks": msgspec.to_builtins(admitted.checks),
        "server": answer,
        "written": None if written is None else str(written),
    }


def _text(document: dict[str, Any]) -> str:
    lines = [
        f"attestation  {document['attestation']}",
        f"signed by    {', '.join(document['signers'])}",
        f"builder      {document['builder'] or '-'}",
        f"source       {document['source_uri'] or '-'} @ {document['source_revision'] or '-'}",
    ]
    lines += [f"value        {value['name']} = {value['value']}" for value in document["values"]]
    if document["written"]:
        lines.append(f"written      {document['written']}")
    elif document["server"] is not None:
        lines.append("submitted    the server verified it again and stored the values")
    else:
        lines.append("dry run      nothing was submitted")
    return "\n".join(lines)
