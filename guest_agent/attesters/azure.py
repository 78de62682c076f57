"""Azure confidential VMs: the paravisor's report in the vTPM, and what the metadata service adds to it.

The HCL report is in NV index 0x01400001: a header of 32 bytes, the hardware report (SNP report, or
TDREPORT of 1024 bytes), at 0x4C0 the kind of report, then the runtime claims whose hash the hardware
report carries. The attestation key at handle 0x81000003 is named in those claims.

The instance metadata service makes a TD quote of the TDREPORT and gives the VCEK. It is reached over
plain HTTP at a link-local address that ends in the host: nothing that it says is believed, a verifier
checks it.

Sources: Microsoft, "Azure confidential VM guest attestation: HCL report format"; azure-cvm-tooling.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from urllib3.exceptions import HTTPError

from common.encoding import b64url_decode, b64url_encode
from common.errors import FetchFailed, InputError
from guest_agent.errors import EvidenceNotMade, ServerAnswerInvalid, ServerTimeout
from guest_agent.http import read_bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

HCL_REPORT_INDEX: Final = "0x01400001"
AK_HANDLE: Final = "0x81000003"
METADATA_URL: Final = "http://169.254.169.254"
SNP: Final = 2
TDX: Final = 4
_MAGIC: Final = b"HCLA"
_HARDWARE_REPORT: Final = 0x20
_TD_REPORT_BYTES: Final = 1024
_REPORT_TYPE: Final = 0x4C0 + 8
_OK: Final = 200
_TIMEOUT_S: Final = 30.0
_MAX_BODY: Final = 256 << 10


class HclReport(msgspec.Struct, frozen=True):
    """The paravisor's report.

    Attributes:
        data: as the NV index holds it.
        kind: ``SNP``, ``TDX``, or another number.
    """

    data: bytes
    kind: int

    @classmethod
    def parse(cls, data: bytes) -> HclReport:
        """Read its kind.

        Raises:
            EvidenceNotMade: not such a report.
        """
        if not data.startswith(_MAGIC) or len(data) < _REPORT_TYPE + 4:
            raise EvidenceNotMade("the vTPM's NV index holds no HCL report")
        return cls(data, int.from_bytes(data[_REPORT_TYPE : _REPORT_TYPE + 4], "little"))

    @property
    def td_report(self) -> bytes:
        """The TDREPORT, 1024 bytes."""
        return self.data[_HARDWARE_REPORT : _HARDWARE_REPORT + _TD_REPORT_BYTES]


class AzureMetadata(Protocol):
    """What the instance metadata service is asked for."""

    def td_quote(self, td_report: bytes) -> bytes:
        """A TD quote of a TDREPORT.

        Raises:
            EvidenceNotMade: no answer, or none of the documented form.
        """

    def vcek(self) -> bytes:
        """The VCEK certificate, DER.

        Raises:
            EvidenceNotMade: as ``td_quote``.
        """


class _TdQuote(msgspec.Struct, frozen=True):
    quote: str


class _Certificates(msgspec.Struct, frozen=True, rename="camel"):
    vcek_cert: str


class Imds:
    """The instance metadata service (``AzureMetadata``).

    Args:
        url: where it is.
        timeout_s: time limit of one call.
    """

    def __init__(self, url: str = METADATA_URL, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Prepare a connection pool; connects lazily, never through a proxy."""
        self._url = url
        self._timeout_s = timeout_s
        self._pool = urllib3.PoolManager(timeout=timeout_s, retries=False)

    def td_quote(self, td_report: bytes) -> bytes:
        """As ``AzureMetadata``."""
        body = msgspec.json.encode({"report": b64url_encode(td_report)})
        headers = {"Content-Type": "application/json"}
        answer = self._decoded(self._send("POST", "/acc/tdquote", body, headers), _TdQuote)
        try:
            return b64url_decode(answer.quote.rstrip("="), what="TD quote")
        except InputError as error:
            raise EvidenceNotMade(
                "Azure's metadata service gave a TD quote that is not base64url"
            ) from error

    def vcek(self) -> bytes:
        """As ``AzureMetadata``."""
        body = self._send("GET", "/metadata/THIM/amd/certification", None, {"Metadata": "true"})
        pem = self._decoded(body, _Certificates).vcek_cert
        try:
            return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
        except ValueError as error:
            raise EvidenceNotMade("Azure's metadata service gave a VCEK that is no certificate") from error

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        try:
            response = self._pool.request(
                method,
                self._url + path,
                body=body,
                headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            data = read_bounded(response, deadline)
        except (HTTPError, FetchFailed, ServerTimeout, ServerAnswerInvalid) as error:
            # Not the caller's kinds: it is no KBS that fails to answer here.
            raise EvidenceNotMade(
                f"Azure's metadata service does not answer ({type(error).__name__})"
            ) from error
        if response.status != _OK:
            raise EvidenceNotMade(f"Azure's metadata service answers status {response.status}")
        if len(data) > _MAX_BODY:
            raise EvidenceNotMade("Azure's metadata service answers more than it should")
        return data

    @staticmethod
    def _decoded(data: bytes, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise EvidenceNotMade("Azure's metadata service answers in another form") from error
