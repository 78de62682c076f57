"""``touchstone trust``: the public-good Sigstore root of this machine's server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands import output
from service.commands.local import load_settings, settings_options
from service.commands.output import json_option

if TYPE_CHECKING:
    from service.settings import Settings

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def command() -> None:
    """Refresh and show the public-good Sigstore root."""


@command.command()
@click.option("--tuf-url", metavar="URL", help="TUF repository; [sigstore] tuf_url otherwise.")
@click.option("--root", type=_FILE, help="TUF root metadata to begin from; [sigstore] tuf_root otherwise.")
@click.option("--ca-file", type=_FILE, help="PEM authorities for a mirror.")
@click.option("--allow-private", is_flag=True, help="Also ask a private or loopback address.")
@settings_options
@json_option
def refresh(
    tuf_url: str | None,
    root: Path | None,
    ca_file: Path | None,
    allow_private: bool,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Ask the TUF repository for the newest root and keep it in the data folder.

    The server uses it from its next start on. What does not hold is refused, and everything stays as it
    was. A repository or root other than the settings' must be in the settings too: the server verifies
    what is stored from its own [sigstore] tuf_root on.
    """
    from service import trust_refresh

    changes = {
        "tuf_url": tuf_url,
        "tuf_root": root,
        "ca_file": ca_file,
        "allow_private": allow_private or None,
    }
    settings = _with(load_settings(config, data_dir), changes)
    found = trust_refresh.refresh(settings)
    document = {
        "changed": found.changed,
        "sha256": found.root.digest,
        "version": found.version,
        "tuf_root_version": found.root_version,
        "expires": found.expires,
        "folder": str(settings.sigstore_dir),
    }
    text = (
        f"{'refreshed' if found.changed else 'unchanged'}: targets version {found.version},"
        f" sha256 {found.root.digest}\n"
        f"good until {found.expires.isoformat()}: refresh before then;"
        " the server uses it from its next start"
    )
    output.emit(document, as_json=as_json, text=lambda: text)


@command.command()
@settings_options
@json_option
def show(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the root that a server on this data folder would use, and why."""
    from provenance.sigstore import trust_root
    from service import trust_refresh

    used = trust_refresh.root_in_use(load_settings(config, data_dir))
    root = trust_root.public_good() if used is None else used.root
    document = {
        "refreshed": used is not None and used.refreshed,
        "sha256": root.digest,
        "version": None if used is None else used.version,
        "warning": "" if used is None else used.warning,
    }
    origin = "refreshed by TUF" if document["refreshed"] else "pinned"
    lines = [f"{origin}: sha256 {root.digest}"]
    lines += [str(document["warning"])] if document["warning"] else []
    output.emit(document, as_json=as_json, text=lambda: "\n".join(lines))


def _with(settings: Settings, changes: dict[str, Any]) -> Settings:
    """The settings with what the options give."""
    given = {name: value for name, value in changes.items() if value is not None}
    return settings.model_copy(update={"sigstore": settings.sigstore.model_copy(update=given)})
