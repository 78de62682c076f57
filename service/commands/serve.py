"""``touchstone serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.commands.local import load_settings, settings_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@settings_options
@click.option("--check", is_flag=True, help="Validate the configuration and end.")
def command(config: Path | None, data_dir: Path | None, check: bool) -> None:
    """Run the server until SIGTERM or SIGINT.

    At the first start keys are generated (0600) and an admin token is written to admin.token in the data
    folder: use it to make tokens with fewer rights, then revoke it.
    """
    from service.commands import output

    loaded = load_settings(config, data_dir)
    if check:
        output.note(f"the configuration holds ({loaded.profile} profile)")
        return
    from service import server

    server.serve(loaded)
