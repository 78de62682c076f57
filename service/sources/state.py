"""How the sources fare, in one file of the data directory: written by the process that pulls, read by all.

The file is a report and nothing rests on it: what was ingested is in the database, and a lost or damaged
file only means that every source is pulled again, which changes nothing there.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING

import msgspec

from common.errors import TouchstoneError
from common.files import read_limited, write_private
from service.sources.collect import Refusal  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.settings import Settings

_FILE = "sources.json"
_MAX_BYTES = 4 << 20
MAX_REFUSALS = 32


class SourceState(msgspec.Struct, frozen=True):
    """How a source fares.

    Attributes:
        name: of the source.
        kind: ``registry`` or ``directory``.
        location: what is pulled.
        interval_s: from one pull to the next.
        trust_policy: that everything is held against.
        next_pull: not before.
        last_success: end of the last pull that saw everything.
        last_failure: end of the last pull that did not.
        failure: code of that failure, while it is the last pull's.
        message: of that failure.
        failures: failed pulls since the last good one.
        image: digest that the reference stood for at the last good pull.
        found: envelopes at the last good pull.
        added: attestations that the last good pull stored.
        refused: what it found and did not take, at most 32 of them.
    """

    name: str
    kind: str
    location: str
    interval_s: int
    trust_policy: str
    next_pull: datetime | None = None
    last_success: datetime | None = None
    last_failure: datetime | None = None
    failure: str | None = None
    message: str | None = None
    failures: int = 0
    image: str | None = None
    found: int = 0
    added: int = 0
    refused: tuple[Refusal, ...] = ()


def read(settings: Settings) -> dict[str, SourceState]:
    """The states by name; empty where there is no file that can be read."""
    try:
        data = read_limited(_path(settings), what="state of the sources", max_bytes=_MAX_BYTES)
        states = msgspec.json.decode(data, type=tuple[SourceState, ...])
    except (TouchstoneError, msgspec.MsgspecError):
        return {}
    return {state.name: state for state in states}


def write(settings: Settings, states: Mapping[str, SourceState]) -> None:
    """Replace the file.

    Raises:
        InvalidSetting: the data directory cannot be written.
    """
    write_private(_path(settings), msgspec.json.encode(tuple(states.values())))


def _path(settings: Settings) -> Path:
    return settings.storage.data_dir / _FILE
