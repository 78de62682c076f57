"""``touchstone publish``: the CI step."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from service.commands import output
from service.commands.output import json_option
from service.commands.registry_options import attached_to, registry_options
from service.commands.remote import client_of, server_options
from service.commands.trust_files import environment_option, policy_key_options, read_policy

if TYPE_CHECKING:
    from service.publishing import Publication

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--policy", required=True, type=_FILE, help="Trust policy: TOML, JSON, or signed.")
@policy_key_options
@environment_option
@click.option(
    "--attestation",
    "attestations",
    multiple=True,
    type=_FILE,
    help="DSSE envelope or Sigstore bundle. Repeated: other builds of the same artefacts, SBOMs.",
)
@click.option(
    "--image",
    metavar="REF",
    help="Image: take the attestations that are attached to it in its registry.",
)
@registry_options
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
    policy_keys: tuple[Path, ...],
    policy_threshold: int,
    environment: str | None,
    attestations: tuple[Path, ...],
    image: str | None,
    registry_config: Path | None,
    registry_ca_file: Path | None,
    allowed_hosts: tuple[str, ...],
    plain_http: bool,
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
    """Verify attestations, derive reference values, and submit them.

    The server verifies and derives again from the same files. Where the policy demands several trust
    domains, values count there once enough of them are in. With --output nothing is sent: a signed
    reference-value statement is written, for a site that cannot be reached.
    """
    from policy.regorus_engine import RegorusEngine
    from service import publishing

    if (output_file is None) != (signing_key is None):
        raise click.UsageError("--output and --signing-key go together")
    if not attestations and image is None:
        raise click.UsageError("give --attestation or --image")
    attached = None
    if image is not None:
        attached = attached_to(image, registry_config, registry_ca_file, allowed_hosts, plain_http)
    now = datetime.now(UTC)
    publication = publishing.prepare(
        policy=read_policy(policy, policy_keys, policy_threshold),
        attestations=attestations,
        artifacts=[_artifact(text) for text in artifacts],
        requests=publishing.read_requests(launch),
        engine=RegorusEngine(),
        now=now,
        environment=environment,
        image=attached,
    )
    for line in publication.refused:
        output.note(f"attached, and does not count: {line}")
    answer: Any = None
    if output_file is not None and signing_key is not None:
        publishing.write_statement(publication, output_file, signing_key, now)
    elif not dry_run:
        for line in _missing(publication):
            output.note(line)
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


def _missing(publication: Publication) -> list[str]:
    """What a receiver will wait for."""
    return [
        f"artefact {digest}: {count} more trust domain(s) must attest it before its values count"
        for digest, count in publication.agreement.missing.items()
    ]


def _document(publication: Publication, answer: Any, written: Path | None) -> dict[str, Any]:
    first = publication.admitted[0]
    checks = [check for item in publication.admitted for check in item.checks]
    return {
        "attestation": first.authentic.attestation,
        "attestations": [item.authentic.attestation for item in publication.admitted],
        "supporting": [item.authentic.attestation for item in publication.supporting],
        "predicate_type": first.authentic.statement.predicate_type,
        "signers": [signer.identity for item in publication.admitted for signer in item.authentic.signers],
        "builder": first.builder,
        "source_uri": first.source_uri,
        "source_revision": first.source_revision,
        "values": msgspec.to_builtins(publication.values),
        "agreement": msgspec.to_builtins(publication.agreement)
        | {"missing": publication.agreement.missing},
        "checks": msgspec.to_builtins(checks),
        "server": answer[0] if answer is not None and len(answer) == 1 else answer,
        "written": None if written is None else str(written),
    }


def _text(document: dict[str, Any]) -> str:
    lines = [f"attestation  {digest}" for digest in document["attestations"]]
    lines += [f"supported by {digest}" for digest in document["supporting"]]
    lines += [
        f"signed by    {', '.join(document['signers'])}",
        f"builder      {document['builder'] or '-'}",
        f"source       {document['source_uri'] or '-'} @ {document['source_revision'] or '-'}",
    ]
    lines += [f"value        {value['name']} = {value['value']}" for value in document["values"]]
    agreement = document["agreement"]
    if agreement["required"] > 1:
        lines += [
            f"agreed       {vote['digest']}: {', '.join(vote['domains']) or 'no domain'}"
            f" ({len(vote['domains'])} of {agreement['required']} trust domains)"
            for vote in agreement["votes"]
        ]
    if document["written"]:
        lines.append(f"written      {document['written']}")
    elif document["server"] is not None:
        lines.append("submitted    the server verified it again and stored the values")
    else:
        lines.append("dry run      nothing was submitted")
    return "\n".join(lines)
