"""Size of the guest agent's dependency set, installed."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

_LOCK = Path(__file__).resolve().parent.parent / "requirements-guest.lock"
_MIB = 1 << 20


def run() -> list[str]:
    """The figure, as lines of text."""
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", _LOCK.read_text(), re.MULTILINE)
    sizes = {name: _size(name) for name in names if _installed(name)}
    shown = ", ".join(f"{name} {size / _MIB:.1f}" for name, size in sizes.items())
    return [f"{len(sizes)} packages, {sum(sizes.values()) / _MIB:.0f} MiB installed ({shown})"]


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False  # a package for another platform
    return True


def _size(name: str) -> int:
    files = metadata.distribution(name).files or []
    return sum(
        path.stat().st_size for path in (Path(str(file.locate())) for file in files) if path.is_file()
    )


if __name__ == "__main__":
    print("\n".join(run()))
