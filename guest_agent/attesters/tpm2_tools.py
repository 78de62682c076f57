"""Runs the programs of tpm2-tools: one at a time, with a time limit, in a private folder.

Contexts, sessions and opened credentials pass between the programs as files of that folder (mode 0700,
removed by ``close``); nothing secret is an argument. Key and session contexts are encrypted by the TPM.

Transient objects are flushed after each program: a TPM without a resource manager holds only three.
With one (/dev/tpmrm0, the default) that does nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.errors import DependencyMissing
from common.files import read_limited
from guest_agent.errors import EvidenceNotMade, TeeUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_S: Final = 60.0  # RSA key generation on a hardware TPM takes many seconds
_MAX_MESSAGE: Final = 300
_MAX_FILE: Final = 1 << 16
_INSTALL: Final = (
    "Install tpm2-tools: `apt-get install tpm2-tools` (Debian, Ubuntu), `dnf install tpm2-tools` (Fedora)."
)


class Tpm2Tools:
    """A private folder and the programs that work in it.

    Args:
        tcti: TCTI string (``device:/dev/tpmrm0``, ``swtpm:path=...``); None for the tools' default.
    """

    def __init__(self, tcti: str | None = None) -> None:
        """Make the folder."""
        self._tcti = tcti
        self._folder = Path(tempfile.mkdtemp(prefix="touchstone-tpm-"))

    def close(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def path(self, name: str) -> Path:
        """A file of the folder."""
        return self._folder / name

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the folder, mode 0600."""
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)

    def read(self, name: str) -> bytes:
        """Read a file that a program wrote.

        Raises:
            NotFound, TooLarge: it is not there, or larger than any TPM structure.
        """
        return read_limited(self.path(name), what=f"output of tpm2-tools ({name})", max_bytes=_MAX_FILE)

    def remove(self, name: str) -> None:
        """Remove a file of the folder, if it is there."""
        self.path(name).unlink(missing_ok=True)

    def run(self, program: str, arguments: Sequence[str], *, failure: str) -> None:
        """Run a program and flush what it left in the TPM.

        Args:
            program: ``tpm2_quote`` and the like.
            arguments: nothing secret.
            failure: what could not be done, for the message.

        Raises:
            DependencyMissing: the program is not installed.
            TeeUnavailable: there is no TPM behind the TCTI.
            EvidenceNotMade: the program failed or took too long.
        """
        self._execute(program, arguments, failure)
        self._execute("tpm2_flushcontext", ("-t",), "flush transient objects")

    def succeeds(self, program: str, arguments: Sequence[str]) -> bool:
        """Whether the program ends well; for things that a TPM may or may not have.

        Raises:
            DependencyMissing, TeeUnavailable: as ``run``.
        """
        try:
            self.run(program, arguments, failure="look something up")
        except EvidenceNotMade:
            return False
        return True

    def _execute(self, program: str, arguments: Sequence[str], failure: str) -> None:
        executable = shutil.which(program)
        if executable is None:
            raise DependencyMissing(f"the program {program} is not installed", advice=_INSTALL)
        try:
            result = subprocess.run(  # noqa: S603 (a fixed program, arguments of ours, no shell)
                [executable, *arguments],
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EvidenceNotMade(f"cannot {failure}: {program} took over {_TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise EvidenceNotMade(f"cannot {failure}: {program}: {error.strerror}") from error
        if result.returncode == 0:
            return
        message = _last_error(result.stderr)
        if "tcti" in message.lower():
            raise TeeUnavailable(f"no TPM answers ({message})")
        raise EvidenceNotMade(f"cannot {failure}: {program}: {message}")

    def _environment(self) -> dict[str, str]:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        if self._tcti is not None:
            environment["TPM2TOOLS_TCTI"] = self._tcti
        return environment


def _last_error(stderr: bytes) -> str:
    lines = [line for line in stderr.decode("ascii", "replace").splitlines() if line.startswith("ERROR")]
    about_tcti = [line for line in lines if "tcti" in line.lower()]
    chosen = about_tcti or lines[-2:-1] or lines or ["no message"]
    return chosen[0][:_MAX_MESSAGE]
