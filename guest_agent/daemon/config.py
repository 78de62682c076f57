"""Configuration of ``touchstone-guest serve``: one TOML file, strict, with a default for everything.

What this file does not set comes from the files of the reference components, then from the environment,
then from the kernel command line (``sources``). A member that is not known is an error. What takes
protection away is refused unless ``development`` is on, which is a switch of the command line and cannot
be set by a file.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from common import strict_json
from common.errors import InputError, InvalidSetting
from common.files import read_limited
from guest_agent.daemon.boot import Credential  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from pathlib import Path

RUN_DIR: Final = "/run/confidential-containers"
_MAX_FILE: Final = 1 << 20
UNIX: Final = "unix://"

KeyAlgorithm = Literal["ECDH-ES+A256KW-P256", "ECDH-ES+A256KW-P521", "RSA-OAEP-256", "ML-KEM-768+A192KW"]
Features = Literal["resource", "attestation", "all"]
Level = Literal["debug", "info", "warning", "error"]
Count = Annotated[int, msgspec.Meta(ge=1, le=256)]
Seconds = Annotated[float, msgspec.Meta(ge=1, le=600)]


class Kbs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where secrets come from.

    Attributes:
        url: ``https://host[:port][/prefix]``, or ``http://`` to a loopback address.
        ca_file: PEM authorities that replace the system's.
        certificate: the same as text; not both.
        key_algorithm: kind of the session key that secrets are encrypted to.
        hosts: ``host[:port]`` of further KBS that resource URIs may name, reached by the scheme of ``url``.
        timeout_s: seconds per call, of which there are at most five.
    """

    url: str | None = None
    ca_file: str | None = None
    certificate: str | None = None
    key_algorithm: KeyAlgorithm = "ECDH-ES+A256KW-P256"
    hosts: tuple[str, ...] = ()
    timeout_s: Seconds = 10.0


class AttestationService(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The attestation service behind token kind ``coco_as``.

    Attributes:
        url: base URL of its REST interface.
        ca_file: PEM authorities that replace the system's.
        timeout_s: seconds per call.
    """

    url: str | None = None
    ca_file: str | None = None
    timeout_s: Seconds = 50.0


class Rest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP interface.

    Attributes:
        enabled: whether it is served.
        listen: address and port.
        features: which part: ``resource``, ``attestation`` or ``all``.
        peers: networks besides loopback that may ask; needed to listen on another address than loopback.
        names: host names besides loopback's under which callers may name us.
        max_requests: worked on at the same time; one more is answered 503.
        max_body: bytes of a request body.
        read_timeout_s: seconds in which a request must have come.
    """

    enabled: bool = True
    listen: str = "127.0.0.1:8006"
    features: Features = "resource"
    peers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    max_requests: Count = 32
    max_body: Annotated[int, msgspec.Meta(ge=64, le=1 << 20)] = 64 << 10
    read_timeout_s: Seconds = 10.0


class Grpc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gRPC interfaces.

    Attributes:
        enabled: whether they are served.
        attestation_agent: ``unix:///path``, or a loopback ``address:port``.
        confidential_data_hub: the same; may be equal.
        max_requests: worked on at the same time, for each of the two.
        group: group that may connect to the sockets; the process's own otherwise.
    """

    enabled: bool = True
    attestation_agent: str = f"{UNIX}{RUN_DIR}/attestation-agent/attestation-agent.sock"
    confidential_data_hub: str = f"{UNIX}{RUN_DIR}/cdh.sock"
    max_requests: Count = 32
    group: str | None = None


class EventLog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Runtime measurement.

    Attributes:
        enabled: whether events are measured and logged.
        register: PCR that is extended unless the caller names one.
    """

    enabled: bool = False
    register: Annotated[int, msgspec.Meta(ge=0, le=23)] = 17


class SealedSecrets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unsealing.

    Attributes:
        key_dir: folder of verification keys that ``kid`` names without a URI.
        skip_verification: accept what nobody signed; development alone.
    """

    key_dir: str = f"{RUN_DIR}/cdh/sealed-secret"
    skip_verification: bool = False


class InitData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The launch's init-data, compared with what the platform holds before anything is served.

    Attributes:
        file: the TOML text itself; it is sent along with evidence.
        digest: base64 of its digest, where the text is not at hand; not both.
    """

    file: str | None = None
    digest: str | None = None


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log on standard error.

    Attributes:
        level: the least that is written.
    """

    level: Level = "info"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything.

    Attributes:
        credentials: resources that are fetched to files before anything is served.
        credentials_dir: the folder that these must be in.
        allow_sample: attest as ``sample`` where there is no TEE; development alone.
        allow_sample_device: also send evidence of ``sampledevice``; development alone.
        tpm_device: send a TPM that is not the TEE's own as an additional device; nothing binds the two.
        max_waiting: requests that wait for KBS, attestation service or TEE at the same time; fewer than
            ``max_requests`` of each interface, so that what waits for nobody is still answered.
    """

    kbs: Kbs = Kbs()
    attestation_service: AttestationService = AttestationService()
    rest: Rest = Rest()
    grpc: Grpc = Grpc()
    event_log: EventLog = EventLog()
    sealed_secrets: SealedSecrets = SealedSecrets()
    init_data: InitData = InitData()
    log: Log = Log()
    credentials: tuple[Credential, ...] = ()
    credentials_dir: str = f"{RUN_DIR}/cdh/kbs"
    allow_sample: bool = False
    allow_sample_device: bool = False
    tpm_device: bool = False
    max_waiting: Count = 16


def load(path: Path) -> dict[str, object]:
    """The members that a configuration file sets, checked.

    Raises:
        NotFound: no such file.
        InvalidSetting: not TOML, an unknown member, or a value that cannot be.
    """
    document = read_document(path)
    convert(document)
    return document


def read_document(path: Path) -> dict[str, object]:
    """A file of JSON where its name ends in ``.json``, of TOML otherwise.

    Raises:
        NotFound, TooLarge: see ``read_limited``.
        InvalidSetting: neither.
    """
    data = read_limited(path, what="configuration", max_bytes=_MAX_FILE)
    if path.suffix == ".json":
        try:
            document = strict_json.loads(data, what="configuration", max_bytes=_MAX_FILE)
        except InputError as error:
            raise InvalidSetting(f"{path} is not JSON") from error
        if not isinstance(document, dict):
            raise InvalidSetting(f"{path} is not a JSON object")
        return document
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is not TOML") from error


def convert(document: dict[str, object]) -> Settings:
    """Members as settings.

    Raises:
        InvalidSetting: an unknown member, or a value that cannot be.
    """
    try:
        return msgspec.convert(document, Settings)
    except msgspec.ValidationError as error:
        raise InvalidSetting(f"the configuration does not hold: {error}", advice=_ADVICE) from error


_ADVICE: Final = "Correct the named setting; docs/guest-agent.md lists every one."
