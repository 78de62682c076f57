"""``touchstone audit``: the hash-chained log, on the server's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.commands import output
from service.commands.local import load_settings, settings_options
from service.commands.output import ExitCode, json_option

if TYPE_CHECKING:
    from service.settings import Settings
    from storage.database import Database


@click.group()
def command() -> None:
    """Read and verify the audit log."""


@command.command()
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A copy of the checkpoint file kept elsewhere; the server's own otherwise.",
)
@settings_options
@json_option
def verify(checkpoints: Path | None, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Walk the whole log: hash chain, signed checkpoints, and the tables that it speaks of.

    Then the reference values are held against their own chain of changes.

    Exit code 1, with the first break, if anything does not hold. Only a copy of the checkpoints that
    the server cannot write shows that the log's end was cut off and signed anew.
    """
    from kms.audit import AuditLog
    from kms.checkpoints import CheckpointKey, verify_checkpoints
    from kms.consistency import compare
    from rvps.integrity import verify_store

    settings, database = _open(config, data_dir)
    public_jwk = CheckpointKey.open_or_create(_checkpoint_key(settings)).public_jwk
    file = checkpoints or _own_file(settings)
    log = AuditLog(database).verify()
    signed = verify_checkpoints(database, public_jwk, file)
    differences = compare(database)
    store = verify_store(database)
    holds = log.holds and signed.holds and not differences and store.holds
    document = {
        "holds": holds,
        "log": log,
        "checkpoints": signed,
        "checkpoint_file": None if file is None else str(file),
        "discrepancies": differences,
        "reference_values": store,
    }
    text = (
        f"{log.records} records, {signed.checkpoints} checkpoints: the log holds; "
        f"so do {store.changes} changes of reference values"
    )
    if not holds:
        reasons = [
            f"record {log.broken_at}: {log.reason}" if not log.holds else "",
            f"checkpoints: {signed.reason}" if not signed.holds else "",
            *(f"{item.target}: logged {item.logged!r}, stored {item.stored!r}" for item in differences),
            ""
            if store.broken_at is None
            else f"reference values: change {store.broken_at} does not follow",
            *(f"{item.target}: {item.what}, of change {item.epoch}" for item in store.discrepancies),
        ]
        text = "the log or what it speaks of does not hold\n" + "\n".join(
            f"  {reason}" for reason in reasons if reason
        )
    output.emit(document, as_json=as_json, text=lambda: text)
    if not holds:
        raise SystemExit(ExitCode.NEGATIVE)


@command.command(name="list")
@click.option("--action", help="Only records of this action, e.g. secret.release.")
@click.option("--target", help="Only records about this, e.g. resource/demo/key/1.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@settings_options
@json_option
def list_(
    action: str | None,
    target: str | None,
    limit: int,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """List records, newest first."""
    from kms.queries import audit_page

    _, database = _open(config, data_dir)
    with database.read() as connection:
        page = audit_page(connection, before=None, limit=limit, action=action, target=target)
    rows = [
        (str(item.sequence), str(item.entry["action"]), str(item.entry["target"]), item.digest)
        for item in page.items
    ]
    output.emit(
        page, as_json=as_json, text=lambda: output.table(("SEQUENCE", "ACTION", "TARGET", "DIGEST"), rows)
    )


@command.command()
@settings_options
@json_option
def head(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the log's head: note it down elsewhere, and a cut shows later."""
    from kms.audit import AuditLog

    _, database = _open(config, data_dir)
    found = AuditLog(database).head()
    output.emit(found, as_json=as_json, text=lambda: f"{found.sequence} {found.digest}")


def _own_file(settings: Settings) -> Path | None:
    """The server's checkpoint file; none where no checkpoint was written yet, or another replica did."""
    if settings.checkpoint_file.is_file():
        return settings.checkpoint_file
    output.note(f"no {settings.checkpoint_file}: only checkpoints in the database are compared")
    return None


def _open(config: Path | None, data_dir: Path | None) -> tuple[Settings, Database]:
    """The database and its settings; nothing is made where no server has been."""
    from common.errors import InvalidSetting
    from service.composition import open_database

    loaded = load_settings(config, data_dir)
    if not _checkpoint_key(loaded).is_file():
        raise InvalidSetting(
            f"no server has run on {loaded.storage.data_dir}: there is no checkpoint key",
            advice="Name the server's own files with --config or --data-dir.",
        )
    return loaded, open_database(loaded)


def _checkpoint_key(settings: Settings) -> Path:
    return settings.keys_dir / "audit-checkpoint.pem"
