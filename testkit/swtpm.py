"""A real TPM 2.0 implementation (swtpm, libtpms) with its own manufacturer, for tests and the demo.

``SwTpm`` provisions a TPM with swtpm_setup (endorsement keys and their certificates, issued by a local
CA of its own), runs it on a Unix socket, and measures a boot into it: every ``measure`` extends each
bank and appends the matching record to a TCG crypto-agile event log.

Everything is kept in one temporary folder, the CA included; nothing is written elsewhere. The root
certificate must be configured to be trusted: no shipped setting knows it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509

from common.errors import DependencyMissing, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

PROGRAMS: Final = ("swtpm", "swtpm_setup", "swtpm_localca", "tpm2_pcrextend")
BANKS: Final = {"sha1": (0x0004, 20), "sha256": (0x000B, 32), "sha384": (0x000C, 48)}
# Event types, TCG PC Client Platform Firmware Profile (PFP) 1.05, section 10.4.1.
EV_NO_ACTION: Final = 0x00000003
EV_SEPARATOR: Final = 0x00000004
EV_ACTION: Final = 0x00000005
EV_S_CRTM_VERSION: Final = 0x00000008
EV_IPL: Final = 0x0000000D
_START_TIMEOUT_S: Final = 20.0
_ADVICE: Final = "Install swtpm, swtpm-tools and tpm2-tools."


class TpmNotStarted(UnavailableError):
    """The software TPM could not be provisioned or started."""

    code = "unavailable.swtpm"
    advice = _ADVICE


def missing_program() -> str | None:
    """Name of the first program that is not installed; None if all are."""
    return next((program for program in PROGRAMS if shutil.which(program) is None), None)


class SwTpm:
    """A provisioned, running software TPM (context manager).

    Args:
        banks: active PCR banks, names of ``BANKS``.

    Raises:
        DependencyMissing: a program is not installed.
        TpmNotStarted: provisioning or starting failed.
    """

    def __init__(self, banks: Sequence[str] = ("sha1", "sha256", "sha384")) -> None:
        """Keep the settings; ``start`` does the work."""
        self._banks = tuple(banks)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Provision and start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Provision, start, and begin the event log."""
        missing = missing_program()
        if missing is not None:
            raise DependencyMissing(f"the program {missing} is not installed", advice=_ADVICE)
        self._folder = Path(tempfile.mkdtemp(prefix="swtpm-"))
        try:
            self._provision()
            self._run()
        except BaseException:
            self.stop()
            raise
        self.event_log.write_bytes(spec_id_record(self._banks))

    def stop(self) -> None:
        """Stop the TPM and remove its folder."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=_START_TIMEOUT_S)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        if self._folder is None:
            raise TpmNotStarted("the software TPM is not running")
        return self._folder

    @property
    def tcti(self) -> str:
        """TCTI string for tpm2-tools."""
        return f"swtpm:path={self.folder / 'socket'}"

    @property
    def event_log(self) -> Path:
        """The event log's file."""
        return self.folder / "event_log"

    @property
    def ek_root(self) -> x509.Certificate:
        """Root certificate of the TPM's manufacturer."""
        pem = (self.folder / "ca" / "swtpm-localca-rootca-cert.pem").read_bytes()
        return x509.load_pem_x509_certificate(pem)

    @property
    def ek_chain(self) -> Path:
        """PEM file of the intermediate that issued the EK certificates."""
        return self.folder / "ca" / "issuercert.pem"

    def extend(self, pcr: int, digests: dict[str, bytes]) -> None:
        """Extend a register of each bank, without a log record.

        Raises:
            TpmNotStarted: the TPM refuses.
        """
        values = ",".join(f"{bank}={digest.hex()}" for bank, digest in digests.items())
        self._call(["tpm2_pcrextend", f"{pcr}:{values}"], {"TPM2TOOLS_TCTI": self.tcti})

    def registers(self, bank: str, indexes: Sequence[int]) -> dict[int, str]:
        """Values of registers of one bank, lower-case hex.

        Raises:
            TpmNotStarted: the TPM refuses.
        """
        selection = f"{bank}:{','.join(map(str, indexes))}"
        output = self.folder / "registers"
        command = ["tpm2_pcrread", selection, "--output", str(output)]
        self._call(command, {"TPM2TOOLS_TCTI": self.tcti})
        data, size = output.read_bytes(), hashlib.new(bank).digest_size
        return {
            index: data[place * size : (place + 1) * size].hex()
            for place, index in enumerate(sorted(indexes))
        }

    def measure(self, pcr: int, event_type: int, data: bytes, *, digest_of: bytes | None = None) -> None:
        """Measure an event: extend every bank, then append the record to the event log.

        Args:
            pcr: register.
            event_type: TCG event type.
            data: event data of the record.
            digest_of: what the digests are over, if not ``data`` (a PE image, a loaded file).
        """
        measured = data if digest_of is None else digest_of
        digests = {bank: hashlib.new(bank, measured).digest() for bank in self._banks}
        self.extend(pcr, digests)
        with self.event_log.open("ab") as log:
            log.write(event_record(pcr, event_type, digests, data))

    def measured_boot(self, kernel: bytes = b"test kernel", command_line: str = "quiet") -> None:
        """Measure a small boot: firmware, separators, kernel, command line, end of boot services."""
        self.measure(0, EV_S_CRTM_VERSION, "swtpm test firmware".encode("utf-16-le"))
        for pcr in range(8):
            self.measure(pcr, EV_SEPARATOR, bytes(4))
        self.measure(4, EV_IPL, b"kernel", digest_of=kernel)
        text = command_line.encode("ascii")
        self.measure(8, EV_IPL, b"kernel_cmdline: " + text + b"\x00", digest_of=text)
        self.measure(5, EV_ACTION, b"Exit Boot Services Invocation")

    def _provision(self) -> None:
        for name in ("state", "ca"):
            (self.folder / name).mkdir(mode=0o700)
        ca = self.folder / "ca"
        (self.folder / "localca.conf").write_text(
            f"statedir = {ca}\nsigningkey = {ca}/signkey.pem\n"
            f"issuercert = {ca}/issuercert.pem\ncertserial = {ca}/certserial\n"
        )
        (self.folder / "localca.options").write_text(
            "--platform-manufacturer Touchstone\n--platform-version 1\n--platform-model test\n"
        )
        localca = shutil.which("swtpm_localca")
        (self.folder / "setup.conf").write_text(
            f"create_certs_tool = {localca}\n"
            f"create_certs_tool_config = {self.folder}/localca.conf\n"
            f"create_certs_tool_options = {self.folder}/localca.options\n"
            f"active_pcr_banks = {','.join(self._banks)}\n"
        )
        command = ["swtpm_setup", "--tpm2", "--tpm-state", f"dir://{self.folder}/state"]
        command += ["--config", f"{self.folder}/setup.conf", "--create-ek-cert"]
        command += ["--pcr-banks", ",".join(self._banks), "--logfile", f"{self.folder}/setup.log"]
        # swtpm_setup looks for a user's configuration and keeps temporary files: both stay here.
        folder = str(self.folder)
        self._call(command, {"HOME": folder, "XDG_CONFIG_HOME": folder, "TMPDIR": folder})

    def _run(self) -> None:
        socket = self.folder / "socket"
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}/state"]
        command += ["--server", f"type=unixio,path={socket}"]
        command += ["--ctrl", f"type=unixio,path={socket}.ctrl"]
        command += ["--flags", "not-need-init,startup-clear", "--log", f"file={self.folder}/run.log"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise TpmNotStarted("swtpm did not open its socket")
            time.sleep(0.01)

    def _call(self, command: list[str], environment: dict[str, str]) -> None:
        result = subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )
        if result.returncode != 0:
            message = result.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise TpmNotStarted(f"{command[0]} failed: {' '.join(message)}")


def spec_id_record(banks: Sequence[str] = tuple(BANKS)) -> bytes:
    """First record of a crypto-agile log (PFP sections 10.2.1 and 10.4)."""
    header = b"Spec ID Event03\x00" + bytes(4) + bytes([0, 2, 0, 2])
    header += len(banks).to_bytes(4, "little")
    for bank in banks:
        algorithm, size = BANKS[bank]
        header += algorithm.to_bytes(2, "little") + size.to_bytes(2, "little")
    header += b"\x00"
    return (
        bytes(4)
        + EV_NO_ACTION.to_bytes(4, "little")
        + bytes(20)
        + len(header).to_bytes(4, "little")
        + header
    )


def event_record(pcr: int, event_type: int, digests: dict[str, bytes], data: bytes) -> bytes:
    """TCG_PCR_EVENT2 (PFP section 10.2.2)."""
    record = pcr.to_bytes(4, "little") + event_type.to_bytes(4, "little")
    record += len(digests).to_bytes(4, "little")
    for bank, digest in digests.items():
        record += BANKS[bank][0].to_bytes(2, "little") + digest
    return record + len(data).to_bytes(4, "little") + data
