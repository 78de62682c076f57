"""Options of commands that work on the server's own files, the settings they name, and times."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.settings import Settings

_DATA_DIR_VARIABLE = "TOUCHSTONE_STORAGE__DATA_DIR"


def settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--config`` and ``--data-dir``."""
    for option in (
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="Data folder; that of the configuration otherwise.",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            help="TOML file of the server (docs/configuration.md); $TOUCHSTONE_CONFIG otherwise.",
        ),
    ):
        function = option(function)
    return function


def load_settings(config: Path | None, data_dir: Path | None) -> Settings:
    """The settings that the options describe; ``--data-dir`` is one more layer on top of the environment.

    Raises:
        NotFound: the file does not exist.
        InvalidSetting: a setting is not usable.
    """
    import os

    from service import settings

    environ = dict(os.environ)
    if data_dir is not None:
        environ[_DATA_DIR_VARIABLE] = str(data_dir)
    return settings.load(config, environ)


def instant(text: str | None) -> datetime:
    """What ``--at`` says, in UTC; now otherwise."""
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--at wants an RFC 3339 time, not {text!r}") from error
    if moment.tzinfo is None:
        raise click.UsageError("--at wants an offset: end it with Z for UTC")
    return moment.astimezone(UTC)
