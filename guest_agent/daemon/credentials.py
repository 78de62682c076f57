"""Resources that are fetched to files before anything is served.

Invariants:

* A file is below the folder for credentials: no ``..`` or doubled slash in its path, no symbolic link among
  its folders, and a link in its own place is replaced, not followed.
* Mode 0600 in folders of mode 0700, written whole or not at all.
* One that cannot be fetched stops the start: what reads the file would find the old one or none.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from common.errors import InvalidSetting
from common.files import write_private
from guest_agent import resource_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guest_agent.daemon.boot import Credential
    from guest_agent.daemon.services import Secrets

_FOLDER_MODE: Final = 0o700


def fetch(
    credentials: Sequence[Credential], folder: Path, secrets: Secrets, stopping: Callable[[], bool]
) -> int:
    """Fetch each to its file.

    Args:
        credentials: which.
        folder: where they must be.
        secrets: gets them.
        stopping: whether to fetch no more.

    Returns:
        How many were fetched.

    Raises:
        InvalidSetting: a path outside ``folder``, or a folder that cannot be written.
        TouchstoneError: a resource that is not released.
    """
    targets = [(target(credential.path, folder), credential) for credential in credentials]
    for number, (path, credential) in enumerate(targets):
        if stopping():
            return number
        write_private(path, secrets.resource(resource_uri.parse(credential.resource_uri)))
    return len(targets)


def target(text: str, folder: Path) -> Path:
    """The path of a credential; its folders are made.

    Raises:
        InvalidSetting: it is not below ``folder``.
    """
    path = PurePosixPath(text)
    if str(path) != text or ".." in path.parts or "\0" in text or not path.is_relative_to(folder):
        raise InvalidSetting(f"a credential's path is below {folder}", advice="Name a file in that folder.")
    inside = path.relative_to(folder)
    if not inside.parts:
        raise InvalidSetting(
            "a credential's path is the folder itself", advice="Name a file in that folder."
        )
    try:
        current = folder
        current.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        for part in inside.parts[:-1]:
            current /= part
            if current.is_symlink():
                raise InvalidSetting("a folder of a credential is a symbolic link")
            current.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(f"cannot make the folder of a credential ({error.strerror})") from error
    return current / inside.name
