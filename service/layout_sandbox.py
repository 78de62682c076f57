"""Runs inspections of in-toto layouts in a sandbox of Linux namespaces (util-linux: unshare, setpriv).

The command runs as an argument vector in new user, mount, network, process, IPC and host-name
namespaces: no network (not even loopback is up), no other process, no file but the system's programs
and libraries, read-only, and its own folder ``/work`` with the final product, in which it starts. It
has no capability and cannot gain one, an empty environment but ``PATH``, no input, and its output is
dropped. Time, memory, processes and the size of a file are bounded; the number of files and their total
size are bounded when they are hashed.

Each run gets a fresh copy of the files in a temporary folder. Without the tools, or where the kernel
refuses unprivileged namespaces, nothing runs (``SandboxUnavailable``).

What is not done: no seccomp filter (the kernel's system calls are all there), no quota on the folder's
disk space while the command runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.errors import InvalidSetting
from provenance.errors import InspectionFailed
from provenance.layout import parsing
from provenance.layout.inspection import InspectionRun
from service.errors import SandboxUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.layout.model import Artifacts

TIMEOUT_S: Final = 60.0
MAX_FILES: Final = parsing.MAX_ARTIFACTS
MAX_TOTAL_BYTES: Final = 1 << 30
_TOOLS: Final = ("unshare", "mount", "chroot", "prlimit", "setpriv")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIMITS: Final = (
    "--as=2147483648",
    "--fsize=268435456",
    "--nproc=256",
    "--cpu=60",
    "--core=0",
    "--nofile=256",
)
# What the setup says once the sandbox stands: a status alone would not tell its failure from the command's.
_READY: Final = b"ready"
# Builds the root file system inside the new namespaces, then gives up every privilege and becomes the
# command. Constant: folder and command are positional parameters and are never read as shell text.
_SETUP: Final = """
set -eu
root=$1; work=$2; shift 2
mount -t tmpfs -o size=1m,mode=0755,nosuid,nodev none "$root"
mkdir "$root/work" "$root/dev"
for name in usr bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then
    ln -s "$(readlink "/$name")" "$root/$name"
  elif [ -d "/$name" ]; then
    mkdir "$root/$name"
    mount --bind "/$name" "$root/$name"
    mount -o remount,bind,ro "$root/$name"
  fi
done
touch "$root/dev/null"
mount --bind /dev/null "$root/dev/null"
mount --bind "$work" "$root/work"
mount -o remount,ro "$root"
printf ready
exec chroot "$root" /bin/sh -c 'cd /work && exec "$@"' sh "$@" >"$root/dev/null"
"""


class SandboxRunner:
    """Runs inspections on copies of given files. Thread-safe.

    Args:
        files: path (relative, normal) to content: the final product.
        timeout_s: how long one command may take.

    Raises:
        LayoutMalformed: a path that no link could record, or too many.
        InvalidSetting: a time that is not positive.
    """

    def __init__(self, files: Mapping[str, bytes], *, timeout_s: float = TIMEOUT_S) -> None:
        """Keep the files, hashed."""
        if timeout_s <= 0:
            raise InvalidSetting("the time limit of an inspection is not positive")
        self._files = dict(files)
        self._materials = {path: _digest(hashlib.sha256(data)) for path, data in self._files.items()}
        parsing.check_artifacts(self._materials)
        self._timeout_s = timeout_s

    def run(self, command: Sequence[str]) -> InspectionRun:
        """See ``InspectionRunner``.

        Raises:
            SandboxUnavailable: the sandbox cannot be built on this machine.
            InspectionFailed: the command takes too long, or leaves too much, or something that is not a
                file.
        """
        tools = _tools()
        with tempfile.TemporaryDirectory(
            prefix="touchstone-inspection-", ignore_cleanup_errors=True
        ) as name:
            folder = Path(name)
            root, work = folder / "root", folder / "work"
            root.mkdir()
            work.mkdir()
            self._write(work)
            status = self._execute(tools, root, work, command)
            return InspectionRun(status=status, materials=dict(self._materials), products=_snapshot(work))

    def _write(self, work: Path) -> None:
        try:
            for path, data in self._files.items():
                target = work / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        except OSError as error:
            raise InspectionFailed("the final product cannot be laid out as files") from error

    def _execute(self, tools: Mapping[str, str], root: Path, work: Path, command: Sequence[str]) -> int:
        with subprocess.Popen(  # noqa: S603 (an argument vector; the command is data to the constant setup)
            _argv(tools, root, work, command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # the setup's; the command's own is dropped
            stderr=subprocess.DEVNULL,
            env={"PATH": _PATH},
            cwd=work,
        ) as process:
            try:
                said, _ = process.communicate(timeout=self._timeout_s)
            except subprocess.TimeoutExpired as error:
                # unshare --kill-child takes the first process of the namespace along, and that all others.
                process.kill()
                raise InspectionFailed(f"an inspection took longer than {self._timeout_s:g} s") from error
        if said != _READY:
            raise SandboxUnavailable("the sandbox for inspections cannot be built on this machine")
        return process.returncode


def is_available() -> bool:
    """Whether a command can be run in the sandbox on this machine; runs ``true`` in it to see."""
    try:
        return SandboxRunner({}).run(("true",)).status == 0
    except SandboxUnavailable:
        return False


def _tools() -> dict[str, str]:
    found = {name: shutil.which(name, path=_PATH) for name in _TOOLS}
    missing = sorted(name for name, path in found.items() if path is None)
    if missing:
        raise SandboxUnavailable(
            f"the sandbox for inspections needs {', '.join(missing)} (util-linux, coreutils)"
        )
    return {name: path for name, path in found.items() if path is not None}


def _argv(tools: Mapping[str, str], root: Path, work: Path, command: Sequence[str]) -> list[str]:
    namespaces = ("--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--uts")
    privileges = ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
    return [
        tools["unshare"],
        *namespaces,
        "--fork",
        "--kill-child",
        "--",
        "/bin/sh",
        "-c",
        _SETUP,
        "sh",
        str(root),
        str(work),
        tools["prlimit"],
        *_LIMITS,
        "--",
        tools["setpriv"],
        *privileges,
        "--",
        *command,
    ]


def _snapshot(work: Path) -> Artifacts:
    found: Artifacts = {}
    total = 0
    for path in _regular_files(work):
        total += path.lstat().st_size
        if len(found) >= MAX_FILES or total > MAX_TOTAL_BYTES:
            raise InspectionFailed("an inspection left more files, or larger ones, than are hashed")
        with path.open("rb") as file:
            found[path.relative_to(work).as_posix()] = _digest(hashlib.file_digest(file, "sha256"))
    return found


def _regular_files(work: Path) -> list[Path]:
    found: list[Path] = []
    for folder, folders, names in os.walk(work, onerror=_unreadable):
        for name in (*folders, *names):
            path = Path(folder) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(path)
            elif not stat.S_ISDIR(mode):
                raise InspectionFailed("an inspection left something that is neither a file nor a folder")
            if len(found) > MAX_FILES:
                raise InspectionFailed(f"an inspection left more than {MAX_FILES} files")
    return sorted(found)


def _unreadable(error: OSError) -> None:
    raise InspectionFailed("an inspection left a folder that cannot be read") from error


def _digest(hashed: hashlib._Hash) -> dict[str, str]:
    return {"sha256": hashed.hexdigest()}
