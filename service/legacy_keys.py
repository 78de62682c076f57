"""The key files of versions without ``token-keys.json``, taken over once: their keys go on verifying.

They were ``token-signing.pem``, the present key, and ``previous-<kid>.json`` for each retired one, with its
public JWK and the time of its retirement.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from common.errors import InvalidSetting
from common.files import read_limited
from service.key_files import read_key
from service.key_ring import KeyEntry, Ring
from verifier.compact import public_jwk

if TYPE_CHECKING:
    from pathlib import Path

_PREVIOUS = "previous-*.json"
_MAX_JWK_BYTES = 4096
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class RetiredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ``previous-<kid>.json``.

    Attributes:
        jwk: public JWK, with ``kid``.
        retired_at: when it stopped signing.
    """

    jwk: dict[str, str]
    retired_at: datetime


def imported(folder: Path, key_file: str) -> Ring:
    """The keys of such a folder; an empty ring where there is no present key.

    Raises:
        InvalidSetting: a file is not usable; nothing is put in its place.
    """
    path = folder / key_file
    if not path.exists():
        return Ring()
    keys, begins = [], _BEGINNING
    for old in sorted(_retired(folder), key=lambda key: key.retired_at):
        keys.append(KeyEntry(old.jwk, begins))
        begins = old.retired_at
    return Ring((*keys, KeyEntry(public_jwk(read_key(path)), begins, key_file)))


def forget(folder: Path) -> None:
    """Remove the files of retired keys, which the ring holds now."""
    for path in folder.glob(_PREVIOUS):
        path.unlink(missing_ok=True)


def _retired(folder: Path) -> list[RetiredKey]:
    found = []
    for path in folder.glob(_PREVIOUS):
        data = read_limited(path, what="retired key", max_bytes=_MAX_JWK_BYTES)
        try:
            found.append(msgspec.json.decode(data, type=RetiredKey))
        except msgspec.MsgspecError as error:
            raise InvalidSetting(f"{path} is not a retired key") from error
    return found
