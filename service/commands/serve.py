"""``touchstone serve``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file (docs/configuration.md); $TOUCHSTONE_CONFIG otherwise.",
)
@click.option("--check", is_flag=True, help="Validate the configuration and end.")
def command(config: Path | None, check: bool) -> None:
    """Run the server until SIGTERM or SIGINT.

    At the first start keys are generated (0600) and an admin token is written to admin.token in the data
    folder: use it to make tokens with fewer rights, then revoke it.
    """
    from service import settings
    from service.commands import output

    loaded = settings.load(config)
    if check:
        output.note(f"the configuration holds ({loaded.profile} profile)")
        return
    from service import server

    server.serve(loaded)
