"""A real PostgreSQL server for tests, from the distribution's binaries.

It listens on a Unix socket in a private folder and on no network address, so that its trusting
authentication is open to nobody else. ``initdb`` and the server refuse to run as root; then they run as
``nobody``, to whom the folder is given. Everything is in one temporary folder, removed at the end; the
server also ends when the process that started it does.

Databases are copies of a template that is migrated once, so that a test costs no migration.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import psycopg

from common.errors import DependencyMissing, UnavailableError
from storage.database import Database
from storage.migrate import migrate

if TYPE_CHECKING:
    from types import TracebackType

_BINARIES: Final = Path("/usr/lib/postgresql")  # Debian and Ubuntu
_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.05
_USER: Final = "postgres"
_TEMPLATE: Final = "touchstone_template"
_ADVICE: Final = "Install the package postgresql (scripts/system-packages)."
_INITDB: Final = (
    *("-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C"),
    *("--no-sync", "--no-instructions"),
)
# Speed over durability: the machine does not crash during a test, and clients that are killed lose
# nothing by it.
_SETTINGS: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=")


class PostgresNotStarted(UnavailableError):
    """The PostgreSQL server for tests did not come up."""

    code = "unavailable.test_postgres"
    advice = _ADVICE


def find_binaries() -> Path | None:
    """Folder of ``initdb`` and ``postgres``, the newest version that is there; None if none is."""
    found = [path.parent for path in _BINARIES.glob("*/bin/initdb") if (path.parent / "postgres").exists()]
    return max(found, key=_version, default=None)


def _version(binaries: Path) -> int:
    digits = re.match(r"[0-9]+", binaries.parent.name)
    return int(digits.group()) if digits else 0


class PostgresServer:
    """Runs a server while its ``with`` block does.

    Raises:
        DependencyMissing: the binaries are not installed.
        PostgresNotStarted: the server did not come up.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def __enter__(self) -> Self:
        """Initialise a cluster, start it, make the template."""
        binaries = find_binaries()
        if binaries is None or shutil.which("setpriv") is None:
            raise DependencyMissing("PostgreSQL's initdb and postgres are not installed", advice=_ADVICE)
        self._folder = Path(tempfile.mkdtemp(prefix="touchstone-pg-"))
        try:
            self._start(binaries, self._folder)
            self._create(_TEMPLATE, "template0")
            self._migrate_template()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and remove everything."""
        self.stop()

    def database_url(self) -> str:
        """URL of a new, migrated, empty database."""
        name = f"test_{next(self._numbers)}"
        self._create(name, _TEMPLATE)
        return self._url(name)

    def empty_database_url(self) -> str:
        """URL of a new database without a schema."""
        name = f"test_{next(self._numbers)}"
        self._create(name, "template0")
        return self._url(name)

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)  # "fast": sessions that are left are ended
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self, binaries: Path, folder: Path) -> None:
        prefix = ["setpriv", "--pdeathsig", "QUIT"]
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            prefix += [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        data = folder / "data"
        made = subprocess.run(
            [*prefix, str(binaries / "initdb"), "-D", str(data), *_INITDB],
            cwd=folder,
            capture_output=True,
            check=False,
        )
        if made.returncode != 0:
            raise PostgresNotStarted(f"initdb failed: {made.stderr.decode(errors='replace')[-500:]}")
        settings = [argument for setting in _SETTINGS for argument in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*prefix, str(binaries / "postgres"), "-D", str(data), "-k", str(folder), *settings],
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        self._wait(folder)

    def _wait(self, folder: Path) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            try:
                psycopg.connect(host=str(folder), user=_USER, dbname=_USER).close()
            except psycopg.OperationalError:
                time.sleep(_POLL_S)
            else:
                return
        log = (folder / "log").read_text(errors="replace")[-500:]
        raise PostgresNotStarted(f"the PostgreSQL server did not come up: {log}")

    def _create(self, name: str, template: str) -> None:
        with psycopg.connect(
            host=str(self._folder), user=_USER, dbname=_USER, autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")

    def _migrate_template(self) -> None:
        database = Database(self._url(_TEMPLATE))
        try:
            migrate(database)
        finally:
            database.close()

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://{_USER}@/{name}?host={self._folder}"
