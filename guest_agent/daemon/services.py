"""What the guest agent does for the guest, whoever asks by whatever protocol.

Invariants:

* Nothing is kept that was asked for: secrets go to the caller and are gone.
* What waits for somebody else (KBS, attestation service, TEE) has places of its own, fewer than there are
  for requests: with all of them taken, one more is refused and everything else still answered.
* Runtime data of a caller is report data as it is, at most 64 bytes: the agent neither hashes nor cuts it.
  (IBM SE takes the verifier's attestation request in its place, which is JSON.)
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from common.encoding import identifier
from common.errors import Malformed, NotFound, TooLarge
from guest_agent import init_data, sealed
from guest_agent.daemon import keyprovider
from guest_agent.errors import Busy, InitDataDiffers, NotConfigured
from guest_agent.measurements import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from common.init_data import InitData
    from guest_agent.coco import CocoAttester
    from guest_agent.resource_uri import ResourceUri

MAX_REPORT_DATA: Final = 64
_MAX_SE_REQUEST: Final = 1 << 20
_MAX_KEY_FILE: Final = 8192
_INIT_DATA_SIZES: Final = (32, 48, 64)


class Secrets(Protocol):
    """Gets resources, after attestation where that is due."""

    def resource(self, uri: ResourceUri) -> bytes:
        """The resource's bytes."""


class Tokens(Protocol):
    """Gets attestation tokens of one kind."""

    def token(self) -> bytes:
        """The token, in the form that its kind has."""


class Measurements(Protocol):
    """Measures events of the running guest."""

    def extend(
        self, domain: str, operation: str, content: str, register_index: int | None = None
    ) -> Result:
        """Measure one event."""


class GuestServices:
    """The services of one guest.

    Args:
        attester: makes the CPU's evidence.
        devices: makes that of devices, by TEE name.
        measurements: measures events.
        secrets: the KBS; None where none is configured.
        tokens: kind of token to its source.
        key_dir: folder of verification keys of sealed secrets.
        verify_sealed: whether their signatures must hold.
        waiting: requests that may wait for somebody else at the same time.
    """

    def __init__(
        self,
        attester: CocoAttester,
        *,
        devices: Mapping[str, CocoAttester],
        measurements: Measurements,
        secrets: Secrets | None,
        tokens: Mapping[str, Tokens],
        key_dir: Path,
        verify_sealed: bool = True,
        waiting: int = 16,
    ) -> None:
        """Keep the parts."""
        self._attester = attester
        self._devices = dict(devices)
        self._measurements = measurements
        self._secrets = secrets
        self._tokens = dict(tokens)
        self._key_dir = key_dir
        self._verify_sealed = verify_sealed
        self._waiting = threading.BoundedSemaphore(waiting)

    @property
    def tee(self) -> str:
        """The CPU's TEE name."""
        return self._attester.tee

    @property
    def additional_tees(self) -> list[str]:
        """TEE names of devices, sorted."""
        return sorted(self._devices)

    def evidence(self, report_data: bytes) -> bytes:
        """JSON evidence of the CPU over exactly ``report_data``.

        Raises:
            TooLarge: more than 64 bytes.
            UnavailableError: the TEE's interface does not answer.
        """
        self._require_report_data(report_data)
        with self._place():
            return _json(self._attester.evidence(report_data))

    def additional_evidence(self, report_data: bytes) -> bytes:
        """JSON object, TEE name to evidence; no bytes at all where there are no devices.

        Raises:
            TooLarge, UnavailableError: as for ``evidence``.
        """
        self._require_report_data(report_data)
        if not self._devices:
            return b""
        with self._place():
            return _json({tee: device.evidence(report_data) for tee, device in self._devices.items()})

    def token(self, kind: str) -> bytes:
        """An attestation token.

        Args:
            kind: ``kbs`` or ``coco_as``.

        Raises:
            Malformed: another kind.
            NotConfigured: its service is not configured.
            TouchstoneError: attestation fails.
        """
        if kind not in {"kbs", "coco_as"}:
            raise Malformed("a token is of kind kbs or coco_as")
        source = self._tokens.get(kind)
        if source is None:
            raise NotConfigured(f"there is no service for tokens of kind {kind}")
        with self._place():
            return source.token()

    def extend(self, domain: str, operation: str, content: str, register: int | None = None) -> Result:
        """Measure an event; what the platform says of it.

        Raises:
            InputError: an event that cannot be logged.
            UnavailableError: the register or the log cannot be written.
        """
        return self._measurements.extend(domain, operation, content, register)

    def bind_init_data(self, digest: bytes) -> None:
        """Hold a digest against that of the launch. Errors: see ``require_init_data``."""
        require_init_data(self._attester, digest)

    def resource(self, uri: ResourceUri) -> bytes:
        """A resource of the KBS.

        Raises:
            NotConfigured: there is no KBS.
            TouchstoneError: it is not released.
        """
        if self._secrets is None:
            raise NotConfigured("there is no KBS", advice="Set [kbs] url: docs/guest-agent.md.")
        with self._place():
            return self._secrets.resource(uri)

    def local_key(self, name: str) -> bytes:
        """A verification key in the guest's folder.

        Raises:
            InvalidIdentifier: a name that could lead elsewhere.
            NotFound: no such regular file, or too large.
        """
        return read_key(self._key_dir, name)

    def unseal(self, secret: bytes) -> bytes:
        """What a sealed secret holds. Errors: see ``guest_agent.sealed.unseal``."""
        if len(secret) > sealed.MAX_SEALED:
            raise TooLarge(f"a sealed secret has at most {sealed.MAX_SEALED} characters")
        try:
            text = secret.decode("ascii")
        except UnicodeDecodeError as error:
            raise Malformed("a sealed secret is ASCII text") from error
        return sealed.unseal(text, self, verify=self._verify_sealed)

    def unwrap_key(self, request: bytes) -> bytes:
        """Unwrap a layer key. Errors: see ``keyprovider.unwrap_key``."""
        return keyprovider.unwrap_key(request, self.resource)

    def wrap_key(self, request: bytes) -> bytes:
        """Wrap a layer key. Errors: see ``keyprovider.wrap_key``."""
        return keyprovider.wrap_key(request, self.resource)

    def _require_report_data(self, data: bytes) -> None:
        limit = _MAX_SE_REQUEST if self.tee == "se" else MAX_REPORT_DATA
        if len(data) > limit:
            raise TooLarge(
                f"runtime data has {len(data)} bytes, the report has room for {limit}",
                advice="Send a digest of it: the guest agent does not hash for you.",
            )

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place among those who wait for somebody else.

        Raises:
            Busy: there is none.
        """
        if not self._waiting.acquire(blocking=False):
            raise Busy("too many requests wait for the KBS, the attestation service or the TEE")
        try:
            yield
        finally:
            self._waiting.release()


def require_init_data(attester: CocoAttester, data: InitData | bytes) -> None:
    """Hold init-data, or its digest, against that of the launch; a TPM's PCR 8 is extended if it is zero.

    Raises:
        Malformed: a digest of another size than 32, 48 or 64 bytes.
        InitDataUnfit: the platform has no place for one of that algorithm.
        InitDataDiffers: it is another, or the platform cannot tell.
    """
    if isinstance(data, bytes) and len(data) not in _INIT_DATA_SIZES:
        raise Malformed("an init-data digest has 32, 48 or 64 bytes")
    if init_data.bind(attester, data) is not Result.OK:
        raise InitDataDiffers(f"a guest on {attester.tee} cannot tell its init-data")


def read_key(folder: Path, name: str) -> bytes:
    """A file of ``folder``, by name alone; no symbolic link is followed.

    Raises:
        InvalidIdentifier: a name with a separator or with dots that lead elsewhere.
        NotFound: no such regular file, or larger than a key is.
    """
    path = folder / identifier(name, what="kid")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotFound(f"{name} is not a verification key")
            data = os.read(descriptor, _MAX_KEY_FILE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NotFound(f"there is no verification key {name}") from error
    if len(data) > _MAX_KEY_FILE:
        raise NotFound(f"{name} is not a verification key")
    return data


def _json(document: Any) -> bytes:
    return msgspec.json.encode(document, order="sorted")  # as the reference has it
