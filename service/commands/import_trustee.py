"""``touchstone import trustee``: what a Trustee deployment keeps, into this server's stores."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands import import_cca, output
from service.commands.local import load_settings, settings_options
from service.commands.output import ExitCode, json_option

if TYPE_CHECKING:
    from coco.trustee.config import Found
    from coco.trustee.importer import Report
    from service.settings import Settings

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def command() -> None:
    """Take over what another deployment keeps, or what vouches for its platforms."""


command.add_command(import_cca.command)


@command.command()
@click.option("--kbs-config", "kbs", type=_FILE, help="kbs-config.toml of the deployment.")
@click.option(
    "--as-config", "attestation", type=_FILE, help="Its attestation service's, if it stands apart."
)
@click.option("--rvps-config", "rvps", type=_FILE, help="Its RVPS's, if it stands apart.")
@click.option("--local-fs", type=_FOLDER, help="Folder of a LocalFs store.")
@click.option("--local-json", type=_FOLDER, help="Folder of a LocalJson store.")
@click.option("--repository", type=_FOLDER, help="Resources of an older KBS: repository/type/tag.")
@click.option("--postgres", metavar="URL", help="A PostgreSQL store; $POSTGRES_URL if it is `env`.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@settings_options
@json_option
def trustee(
    kbs: Path | None,
    attestation: Path | None,
    rvps: Path | None,
    local_fs: Path | None,
    local_json: Path | None,
    repository: Path | None,
    postgres: str | None,
    dry_run: bool,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Take over a Trustee deployment's policies, resources and reference values.

    Works on this server's own data folder; running it again changes nothing. Policies outside the profile,
    expired values and whatever cannot be read are refused one by one, with the reason; the exit code is
    then 1. Reference values become declared values, which count only where the settings let them.
    """
    found = _stores(kbs, attestation, rvps, local_fs, local_json, repository, postgres)
    if not found.stores and not found.notes:
        raise click.UsageError("say what to take over: a configuration, a folder or a database")
    report = _run(load_settings(config, data_dir), found, dry_run=dry_run)
    output.emit(report, as_json=as_json, text=lambda: _text(report))
    if "refused" in report.counts:
        raise SystemExit(ExitCode.NEGATIVE)


def _stores(
    kbs: Path | None,
    attestation: Path | None,
    rvps: Path | None,
    local_fs: Path | None,
    local_json: Path | None,
    repository: Path | None,
    postgres: str | None,
) -> Found:
    import os

    from coco.trustee import config, folders
    from coco.trustee.postgres import Postgres

    files = [None if path is None else config.read(path) for path in (kbs, attestation, rvps)]
    found = config.stores_of(*files)
    if local_fs is not None:
        found.stores.append(folders.LocalFs(local_fs))
    if local_json is not None:
        found.stores.append(folders.LocalJson(local_json))
    if repository is not None:
        found.stores.append(folders.Repository(repository))
    if postgres is not None:
        # From the environment, since a password on a command line is seen by everyone on the machine.
        found.stores.append(Postgres(os.environ.get("POSTGRES_URL", "") if postgres == "env" else postgres))
    return found


def _run(settings: Settings, found: Found, *, dry_run: bool) -> Report:
    from coco.trustee.importer import Importer
    from kms.root_key import FileRootKey
    from kms.secrets import SecretStore
    from policy.store import PolicyStore
    from service import composition, engines

    composition.prepare(settings)
    database = composition.open_database(settings)
    try:
        secrets = SecretStore(
            database,
            FileRootKey.open_or_create(settings.keys_dir / "root.key"),
            max_bytes=settings.limits.resource_bytes,
        )
        importer = Importer(
            database,
            engines.policy_engine(settings.policy),
            PolicyStore(database),
            secrets,
            by=f"import:{_user()}",
            max_resource_bytes=settings.limits.resource_bytes,
            dry_run=dry_run,
        )
        return importer.run(found.stores, composition.utc_now(), notes=found.notes)
    finally:
        database.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _text(report: Report) -> str:
    lines: list[Any] = [f"read {where}" for where in report.sources]
    lines += [f"note: {note}" for note in report.notes]
    rows = [
        (item.outcome, item.target or f"{item.namespace}/{item.key}", item.reason) for item in report.items
    ]
    if rows:
        lines.append(output.table(("OUTCOME", "WHAT", "WHY"), rows))
    lines.append(
        ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items()) or "nothing found"
    )
    return "\n".join(lines)
