"""``touchstone policy``: what is for trust policies alone (init, sign, verify; parts of test, explain)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.commands import output
from service.commands.output import ExitCode, json_option
from service.commands.trust_files import read_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy.port import PolicyEngine
    from policy.testing import CaseResult
    from provenance.trust import TrustPolicy
    from provenance.trust.explanation import Explanation

_FILE = click.Path(path_type=Path, dir_okay=False)
_MAX_SHOWN = 160


@click.command()
@click.option("--attestation", required=True, type=_FILE, help="The example: bundle or DSSE envelope.")
@click.option("--trusted-root", type=_FILE, help="trusted_root.json; the public-good root otherwise.")
@click.option("--key", type=_FILE, help="Public key (PEM) that signed it, where no certificate did.")
@click.option("--legacy-bundles", is_flag=True, help="Take an old bundle without an inclusion proof.")
@click.option("--name", default="default", show_default=True, help="Name of the policy.")
@click.option("-o", "--output", "output_file", type=_FILE, help="Write here; to standard output otherwise.")
@json_option
def init(
    attestation: Path,
    trusted_root: Path | None,
    key: Path | None,
    legacy_bundles: bool,
    name: str,
    output_file: Path | None,
    as_json: bool,
) -> None:
    """Propose a trust policy from an example attestation, with a comment for each line.

    The example is verified first. The proposal admits it and others of its release line, and refuses other
    repositories, workflows and branches: read it before you trust it.
    """
    from common.files import write_public
    from service import policy_init

    folder = Path.cwd() if output_file is None else output_file.resolve().parent
    text = policy_init.propose(
        attestation,
        name=name,
        trusted_root=None if trusted_root is None else trusted_root.resolve(),
        key=None if key is None else key.resolve(),
        legacy=legacy_bundles,
        folder=folder,
        now=datetime.now(UTC),
    )
    if output_file is not None:
        write_public(output_file, text.encode("utf-8"))
    document = {"written": None if output_file is None else str(output_file), "policy": text}
    output.emit(
        document, as_json=as_json, text=lambda: text if output_file is None else f"written to {output_file}"
    )


@click.command()
@click.argument("file", type=_FILE)
@click.option("--key", required=True, type=_FILE, help="PEM private key, mode 0600.")
@click.option("-o", "--output", "output_file", required=True, type=_FILE, help="The signed policy.")
@json_option
def sign(file: Path, key: Path, output_file: Path, as_json: bool) -> None:
    """Sign a trust policy, or add a signature to a signed one.

    The policy needs a serial and an end of validity. Files that it names are inlined first.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from common.errors import InvalidSetting
    from common.files import read_limited, read_private, write_public
    from provenance import dsse, trust
    from provenance.trust import signed

    try:
        private = load_pem_private_key(read_private(key, what="signing key"), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidSetting(f"{key} is not an unencrypted PEM private key") from error
    data = read_limited(file, what="trust policy", max_bytes=dsse.MAX_ENVELOPE_BYTES)
    if file.suffix == ".toml" or not signed.is_signed(data):
        data = trust.load_file(file).to_json()
    envelope = signed.sign(data, private)
    write_public(output_file, envelope)
    policy = signed.unverified(envelope)
    count = len(dsse.parse(dsse.load_json(envelope)).signatures)
    document = {
        "written": str(output_file),
        "digest": policy.digest,
        "name": policy.name,
        "serial": policy.document.serial,
        "expires": policy.document.expires,
        "signatures": count,
    }
    output.emit(
        document,
        as_json=as_json,
        text=lambda: (
            f"signed: {policy.name} serial {policy.document.serial}, {count} signature(s), in {output_file}"
        ),
    )


@click.command()
@click.argument("file", type=_FILE)
@click.option("--key", "keys", required=True, multiple=True, type=_FILE, help="Pinned public key, PEM.")
@click.option(
    "--threshold",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many of the keys must have signed.",
)
@json_option
def verify(file: Path, keys: tuple[Path, ...], threshold: int, as_json: bool) -> None:
    """Verify a signed trust policy; say which of the keys signed it."""
    from provenance.trust import limits, signed

    found = signed.load_file(file, read_keys(keys, threshold))
    policy = found.policy
    end = limits.expires_at(policy.document)
    expired = end is not None and datetime.now(UTC) >= end
    document = {
        "name": policy.name,
        "digest": policy.digest,
        "serial": policy.document.serial,
        "expires": policy.document.expires,
        "expired": expired,
        "signers": list(found.signers),
    }
    lines = [
        f"{policy.name} serial {policy.document.serial}, good until {policy.document.expires}"
        + (" (EXPIRED)" if expired else ""),
        f"sha256 {policy.digest}",
        *(f"signed by {signer}" for signer in found.signers),
    ]
    output.emit(document, as_json=as_json, text=lambda: "\n".join(lines))
    if expired:
        raise SystemExit(ExitCode.NEGATIVE)


def explain_attestation(
    policy: TrustPolicy, attestation: Path, environment: str | None, *, as_json: bool
) -> None:
    """Every check of a trust policy on an attestation, and what to change in the policy."""
    from common.files import read_limited
    from policy.regorus_engine import RegorusEngine
    from provenance import dsse
    from provenance.pipeline import Pipeline
    from provenance.trust import explanation

    envelope = read_limited(attestation, what="attestation", max_bytes=dsse.MAX_ENVELOPE_BYTES)
    pipeline = Pipeline(policy, RegorusEngine(), environment=environment)
    found = explanation.explain(pipeline, envelope, datetime.now(UTC))
    output.emit(found, as_json=as_json, text=lambda: _explained(found))
    if not found.admitted:
        raise SystemExit(ExitCode.NEGATIVE)


def run_cases(
    policy: TrustPolicy, cases: Path, engines: Sequence[PolicyEngine]
) -> list[tuple[str, CaseResult]]:
    """The results of a trust policy's cases on every engine."""
    from provenance.trust import testing

    folder, parsed = testing.read_cases(cases)
    now = datetime.now(UTC)
    return [
        (engine.name, result)
        for engine in engines
        for result in testing.run(policy, engine, folder, parsed, now)
    ]


def _explained(found: Explanation) -> str:
    lines = ["admitted" if found.admitted else f"refused: {found.message} [{found.code}]", ""]
    for check in found.checks:
        lines.append(f"{check.verdict.value:13} {check.name}" + (f" [{check.code}]" if check.code else ""))
        lines += [
            f"              {label}: {_shown(value)}"
            for label, value in (("expected", check.expected), ("observed", check.observed))
            if value not in (None, "")
        ]
        if check.note:
            lines.append(f"              {check.note}")
    if found.advice:
        lines += ["", "To admit it, the policy would have to say otherwise (only if that is meant):"]
        lines += [f"  {item.check}: {item.change}" for item in found.advice]
    return "\n".join(lines)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else output.encode(value).replace("\n", " ")
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= _MAX_SHOWN else printable[: _MAX_SHOWN - 3] + "..."
