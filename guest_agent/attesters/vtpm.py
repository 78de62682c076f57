"""TPM operations that evidence of Confidential Containers needs: quotes over 24 PCRs, NV reads, extends.

The attestation key is a provisioned one (``handle``), or RSA-2048 with RSASSA and SHA-256 below the
endorsement key, made when first needed and kept until the TPM is reset. A quote and its register values
are of one moment: tpm2_quote compares them, and the lock keeps our own extends out.

PCRs 17 to 22 belong to the dynamic root of trust: most TPMs let only its software extend them, so runtime
measurements go to one of 8 to 15 there. 16 and 23 can be reset by software.

Source: TPM 2.0 Library Part 3; TCG PC Client Platform TPM Profile 1.05, section 4.6 (PCR attributes).
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Final

import msgspec

from common.closing import Closing
from guest_agent.attesters.tpm2_tools import Tpm2Tools
from guest_agent.errors import EvidenceNotMade, RuntimeRegisterInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

PCR_COUNT: Final = 24
DIGEST_BYTES: Final = 32
MAX_QUALIFYING_DATA: Final = 64  # TPM2B_DATA holds a TPMT_HA: 66 bytes with SHA-512
_DYNAMIC_PCRS: Final = range(17, 23)
_FIRST_RUNTIME_PCR: Final = 8  # 0 to 7 are the firmware's
_RSASSA_SHA256: Final = bytes.fromhex("0014000b")  # TPMT_SIGNATURE: sigAlg, hash
_SELECTION: Final = "sha256:" + ",".join(map(str, range(PCR_COUNT)))


class Quote(msgspec.Struct, frozen=True):
    """A signed quote.

    Attributes:
        message: TPMS_ATTEST.
        signature: TPMT_SIGNATURE, RSASSA with SHA-256.
        pcrs: values of all 24 registers of the SHA-256 bank.
    """

    message: bytes
    signature: bytes
    pcrs: tuple[bytes, ...]

    def rsa_signature(self) -> bytes:
        """The signature's octets alone.

        Raises:
            EvidenceNotMade: it is of another scheme.
        """
        head, size = self.signature[:4], int.from_bytes(self.signature[4:6], "big")
        if head != _RSASSA_SHA256 or len(self.signature) != 6 + size:
            raise EvidenceNotMade("the attestation key does not sign by RSASSA with SHA-256")
        return self.signature[6:]


class Vtpm(Closing):
    """A TPM, reached by tpm2-tools. It is the registers that runtime measurements extend, too.

    Args:
        tcti: how to reach it; None for the tools' default.
        handle: persistent handle of the attestation key; None to make one.
        tools: makes the tools' working folder.
    """

    algorithm = "sha256"

    def __init__(
        self,
        tcti: str | None = None,
        *,
        handle: str | None = None,
        tools: Callable[[str | None], Tpm2Tools] = Tpm2Tools,
    ) -> None:
        """Keep the settings; the TPM is not touched yet."""
        self._tcti = tcti
        self._handle = handle
        self._make_tools = tools
        self._opened: Tpm2Tools | None = None
        self._key_made = False
        self.lock = threading.RLock()

    def close(self) -> None:
        """Remove the working folder."""
        with self.lock:
            if self._opened is not None:
                self._opened.close()
            self._opened, self._key_made = None, False

    def quote(self, data: bytes) -> Quote:
        """A quote over all PCRs of the SHA-256 bank.

        Args:
            data: qualifying data, at most 64 bytes.

        Raises:
            DependencyMissing: tpm2-tools is not installed.
            TeeUnavailable, EvidenceNotMade: the TPM does not answer, or refuses.
        """
        with self.lock:
            arguments = ["-c", self._key(), "-l", _SELECTION, "-q", data.hex(), "-g", "sha256"]
            arguments += ["--scheme", "rsassa", "-m", "quote.msg", "-s", "quote.sig"]
            arguments += ["-o", "quote.pcrs", "-F", "values"]
            self._tools.run("tpm2_quote", arguments, failure="quote the registers")
            message, signature, values = map(self._tools.read, ("quote.msg", "quote.sig", "quote.pcrs"))
        if len(values) != PCR_COUNT * DIGEST_BYTES:
            raise EvidenceNotMade("the TPM has no active SHA-256 bank of 24 registers")
        starts = range(0, len(values), DIGEST_BYTES)
        return Quote(message, signature, tuple(values[at : at + DIGEST_BYTES] for at in starts))

    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo (DER) of the attestation key; errors as ``quote``."""
        with self.lock:
            arguments = ["-c", self._key(), "-f", "der", "-o", "ak.der"]
            self._tools.run("tpm2_readpublic", arguments, failure="read the attestation key")
            return self._tools.read("ak.der")

    def nv_read(self, index: str) -> bytes:
        """Content of an NV index by owner authorisation; errors as ``quote``."""
        with self.lock:
            arguments = ["-C", "o", index, "-o", "nv.out"]
            self._tools.run("tpm2_nvread", arguments, failure=f"read NV index {index}")
            return self._tools.read("nv.out")

    def register_of(self, pcr: int) -> int:
        """The PCR itself, 8 to 23; errors as ``guest_agent.coco.protocol.Registers.register_of``."""
        if not _FIRST_RUNTIME_PCR <= pcr < PCR_COUNT:
            raise RuntimeRegisterInvalid(f"PCR {pcr} is not one that runtime measurements extend")
        return pcr

    def read(self, register: int) -> bytes:
        """A PCR's value in the SHA-256 bank; errors as ``quote``."""
        with self.lock:
            arguments = [f"sha256:{register}", "-o", "pcr.out"]
            self._tools.run("tpm2_pcrread", arguments, failure=f"read PCR {register}")
            value = self._tools.read("pcr.out")
        if len(value) != DIGEST_BYTES:
            raise EvidenceNotMade("the TPM has no active SHA-256 bank")
        return value

    def extend(self, register: int, digest: bytes) -> None:
        """Extend a PCR of the SHA-256 bank; errors as ``quote``."""
        arguments = [f"{register}:sha256={digest.hex()}"]
        try:
            with self.lock:
                self._tools.run("tpm2_pcrextend", arguments, failure=f"extend PCR {register}")
        except EvidenceNotMade as error:
            if register not in _DYNAMIC_PCRS:
                raise
            raise EvidenceNotMade(
                str(error),
                advice="Most TPMs keep PCRs 17 to 22 for the dynamic root of trust: use one of 8 to 15.",
            ) from error

    @property
    def _tools(self) -> Tpm2Tools:
        if self._opened is None:
            self._opened = self._make_tools(self._tcti)
            weakref.finalize(self, self._opened.close)  # also where nobody calls close
        return self._opened

    def _key(self) -> str:
        """Handle or context of the attestation key."""
        if self._handle is not None:
            return self._handle
        if not self._key_made:
            arguments = ["-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub"]
            self._tools.run("tpm2_createek", arguments, failure="create the endorsement key")
            arguments = ["-C", "ek.ctx", "-c", "ak.ctx", "-u", "ak.pub", "-G", "rsa", "-g", "sha256"]
            self._tools.run(
                "tpm2_createak", [*arguments, "-s", "rsassa"], failure="create the attestation key"
            )
            self._key_made = True
        return "ak.ctx"
