"""Runtime measurements: an event extends a register and is written to a log that explains the register.

Order of one extension, under the registers' lock and a file lock:

1. what an earlier crash left is settled (``recover``);
2. register, its value before, the log's size and the record go to a file beside the log, durably;
3. the register is extended by the record's digest;
4. the record is appended to the log, durably; the file of step 2 is removed.

``recover`` looks at the register: at its value before, step 3 did not happen and the record is dropped;
at the value after, it did, and the record becomes the log's end. Any other value means that something
else extends the register too: the log can explain it no more, and every call says so
(``EventLogBroken``).

One register is computed once and both extended and logged: a caller's index cannot make them differ.

Source: guest-components, attestation agent (AAEL; ``.wal_event_entry`` beside the log, of our own form).
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from common import aael
from common.aael import LogicalEvent
from common.errors import InputError, NotFound
from common.files import read_limited, write_private
from common.runtime_data import hash_bytes
from guest_agent.errors import EventLogBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_agent.coco.protocol import CocoAttester, Registers

DEFAULT_REGISTER: Final = 17
EVENT_LOG: Final = Path("/run/attestation-agent/eventlog")
_PENDING: Final = ".wal_event_entry"
_LOCK: Final = ".eventlog.lock"
_MAX_PENDING: Final = 1 << 20


class Result(IntEnum):
    """What became of a request, by the numbers of the attestation agent's protocol."""

    OK = 0
    NOT_SUPPORTED = 1
    NOT_ENABLED = 2


class _Pending(msgspec.Struct, frozen=True):
    """A record on its way from the register to the log."""

    register: int
    before: bytes
    digest: bytes
    log_size: int
    record: bytes


class RuntimeMeasurements:
    """Extends registers and keeps their log.

    Args:
        attester: of the guest's TEE.
        enabled: whether events are measured at all.
        default_register: PCR for events that name none.
        log: the event log's file.

    Raises:
        EventLogBroken: enabled, and an earlier crash left what cannot be settled.
        UnavailableError: enabled, and the register cannot be read.
    """

    def __init__(
        self,
        attester: CocoAttester,
        *,
        enabled: bool = False,
        default_register: int = DEFAULT_REGISTER,
        log: Path = EVENT_LOG,
    ) -> None:
        """Settle what an earlier crash left."""
        self._registers = attester.registers if enabled else None
        self._enabled = enabled
        self._default = default_register
        self._log = log
        if self._registers is not None:
            self._registers.register_of(default_register)
            with self._locked(self._registers):
                self._recover(self._registers)

    def extend(
        self, domain: str, operation: str, content: str, register_index: int | None = None
    ) -> Result:
        """Measure an event.

        Args:
            domain: whose vocabulary the event is of; no spaces.
            operation: what was done; no spaces.
            content: to what; no line breaks.
            register_index: PCR to extend; on TDX and CSV the register that stands for it. None for the
                configured one.

        Raises:
            Malformed, TooLarge: the event cannot be logged so that it is read one way.
            RuntimeRegisterInvalid: no such register, or not for software.
            EventLogBroken: the log cannot explain the register any more.
            UnavailableError: the register cannot be extended, or the log not written.
        """
        if not self._enabled:
            return Result.NOT_ENABLED
        registers = self._registers
        if registers is None:
            return Result.NOT_SUPPORTED
        event = LogicalEvent(domain, operation, content)
        register = registers.register_of(self._default if register_index is None else register_index)
        digest = aael.digest(event, registers.algorithm)
        record = aael.encode(event, register=register, algorithm=registers.algorithm)
        with self._locked(registers):
            self._recover(registers)
            size = self._log.stat().st_size if self._log.exists() else 0
            if size + len(record) > aael.MAX_LOG_BYTES:
                raise EventLogBroken(f"the event log is full ({aael.MAX_LOG_BYTES} bytes)")
            pending = _Pending(register, registers.read(register), digest, size, record)
            write_private(self._pending_file, msgspec.json.encode(pending))
            registers.extend(register, digest)
            self._append(pending)
        return Result.OK

    @property
    def _pending_file(self) -> Path:
        return self._log.with_name(_PENDING)

    def _recover(self, registers: Registers) -> None:
        try:
            data = read_limited(self._pending_file, what="pending event", max_bytes=_MAX_PENDING)
        except NotFound:
            self._require_readable(registers)
            return
        try:
            pending = msgspec.json.decode(data, type=_Pending)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # it is written whole or not at all
            raise EventLogBroken(f"{self._pending_file} is not what this agent wrote") from error
        value = registers.read(pending.register)
        if value == pending.before:
            self._truncate(pending)
            self._pending_file.unlink(missing_ok=True)
        elif value == hash_bytes(pending.before + pending.digest, registers.algorithm):
            self._append(pending)
        else:
            raise EventLogBroken("a measurement register was extended by something else than this agent")
        self._require_readable(registers)

    def _require_readable(self, registers: Registers) -> None:
        if not self._log.exists():
            return
        data = read_limited(self._log, what="event log", max_bytes=aael.MAX_LOG_BYTES)
        try:
            aael.parse_log(data, registers.algorithm)
        except InputError as error:
            raise EventLogBroken(f"{self._log} was changed: {error}") from error

    def _append(self, pending: _Pending) -> None:
        """Make the record the log's end, whatever part of it a crash left there."""
        try:
            descriptor = os.open(self._log, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "r+b") as file:
                file.truncate(pending.log_size)
                file.seek(pending.log_size)
                file.write(pending.record)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise EventLogBroken(f"cannot write {self._log} ({error.strerror})") from error
        self._pending_file.unlink(missing_ok=True)

    def _truncate(self, pending: _Pending) -> None:
        if self._log.exists():
            os.truncate(self._log, pending.log_size)

    @contextmanager
    def _locked(self, registers: Registers) -> Iterator[None]:
        """Hold the registers against this process, the log against others."""
        try:
            self._log.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(self._log.with_name(_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EventLogBroken(f"cannot write beside {self._log} ({error.strerror})") from error
        try:
            with registers.lock:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
        finally:
            os.close(descriptor)
