"""``touchstone serve-grpc``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.commands.local import load_settings, settings_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@settings_options
def command(config: Path | None, data_dir: Path | None) -> None:
    """Run the gRPC services alone, without HTTP, until SIGTERM or SIGINT.

    `touchstone serve` runs them beside HTTP where [grpc] names an address. Use this one where they run on
    a machine or in a container of their own, on the same database and keys.
    """
    from common.errors import InvalidSetting
    from service import composition, server
    from service.observability import configure

    loaded = load_settings(config, data_dir)
    if not loaded.grpc.enabled:
        raise InvalidSetting(
            "[grpc] names no address", advice="Set `attestation` or `reference_values` in [grpc]."
        )
    configure(loaded.log.level)
    server.announce(loaded)
    composition.prepare(loaded)
    from service.grpc import process

    process.run(loaded)
