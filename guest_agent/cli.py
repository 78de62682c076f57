"""``touchstone-guest``: attests from inside a TEE and fetches secrets.

A secret goes to a file of mode 0600 (``--output``), or to standard output where that is asked for by name
(``--stdout``); never into a message, an argument or a log. Everything that is not a result goes to
standard error.

Exit codes (docs/guest-agent.md), the same as those of ``touchstone``: 0 done and affirming; 1 a negative
verdict, or the server refuses; 2 wrong usage or input; 3 configuration; 4 TEE, server or network does
not answer as it should.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from enum import IntEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
import msgspec

from common.encoding import b64url_encode, hex_decode
from common.errors import ConfigurationError, InputError, TouchstoneError, UnavailableError
from common.files import read_limited, write_private
from guest_agent.client import GuestClient
from guest_agent.daemon.cli import serve
from guest_agent.keys import EphemeralKey
from guest_agent.offline import collect_over, parse_registers
from guest_agent.sealed_cli import secret
from wire.rcar import InitData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guest_agent.attesters import Attester
    from guest_agent.client import Session

_AFFIRMING: Final = "affirming"
_FIRST_SERVER_ERROR: Final = 500
_REMOTE_USAGE: Final = ("input.", "configuration.")
_DEFAULT_URL: Final = "http://127.0.0.1:8080"
_MAX_INIT_DATA: Final = 1 << 20
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


class ExitCode(IntEnum):
    """What the end of a command says."""

    OK = 0
    NEGATIVE = 1
    USAGE = 2
    CONFIGURATION = 3
    UNAVAILABLE = 4


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The options that every command has."""

    server: str
    ca_file: Path | None
    audience: str | None
    timeout: float
    tee: str
    init_data: Path | None
    init_data_algorithm: str
    tcti: str | None
    ek: str
    ek_certificate: Path | None
    ek_chain: Path | None
    ak: str
    ak_handle: str | None
    event_log: Path | None
    ima_log: Path | None
    no_endorse: bool


_COMMON: Final = (
    click.option(
        "--server",
        envvar="TOUCHSTONE_SERVER",
        default=_DEFAULT_URL,
        show_default=True,
        help="URL of the server. [$TOUCHSTONE_SERVER]",
    ),
    click.option(
        "--ca-file",
        envvar="TOUCHSTONE_CA_FILE",
        type=_FILE,
        help="PEM authorities for the server's certificate. [$TOUCHSTONE_CA_FILE]",
    ),
    click.option("--audience", help="Go on only if the server's challenge is of this relying party."),
    click.option(
        "--timeout",
        type=click.FloatRange(1, 600),
        default=60.0,
        show_default=True,
        help="Seconds per call.",
    ),
    click.option(
        "--tee", type=click.Choice(["snp", "tpm"]), required=True, help="Where evidence comes from."
    ),
    click.option("--init-data", type=_FILE, help="The launch data that the TEE carries."),
    click.option(
        "--init-data-algorithm",
        type=click.Choice(["sha256", "sha384", "sha512"]),
        default="sha256",
        show_default=True,
        help="Hash under which the TEE carries it.",
    ),
    click.option("--tcti", envvar="TPM2TOOLS_TCTI", help="TPM: how to reach it. [$TPM2TOOLS_TCTI]"),
    click.option("--ek", default="rsa2048", show_default=True, help="TPM: kind of endorsement key."),
    click.option("--ek-certificate", type=_FILE, help="TPM: the EK certificate (DER); else from its NV."),
    click.option("--ek-chain", type=_FILE, help="TPM: the EK certificate's intermediates (PEM)."),
    click.option("--ak", default="ecc256", show_default=True, help="TPM: kind of attestation key."),
    click.option("--ak-handle", help="TPM: a provisioned attestation key, in place of a new one."),
    click.option("--event-log", type=_FILE, help="TPM: the firmware's event log; else the kernel's."),
    click.option("--ima-log", type=_FILE, help="TPM: the IMA measurement list to send along."),
    click.option(
        "--no-endorse", is_flag=True, help="TPM: send no EK certificate: the server allow-lists the key."
    ),
)
_OUTPUT: Final = (
    click.option("--output", type=_FILE, help="File for the secret, made with mode 0600."),
    click.option("--stdout", "to_stdout", is_flag=True, help="Write the secret to standard output."),
    click.option("--version", "version", type=click.IntRange(1), help="A version; the newest otherwise."),
    click.option("--policy", help="Appraisal policy; the server's default otherwise."),
)
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Results and errors as JSON.")


def _with(*options: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds options, in their order."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("touchstone"), prog_name="touchstone-guest")
def cli() -> None:
    """Attest from inside a TEE, and fetch the secrets that are released to it."""


@cli.command()
@_with(*_COMMON, _JSON)
@click.option("--policy", help="Appraisal policy; the server's default otherwise.")
@click.option("--explain", is_flag=True, help="Also show every check that did not pass.")
@click.option("--output", type=_FILE, help="File for the attestation result (EAR), mode 0600.")
def attest(*, as_json: bool, policy: str | None, explain: bool, output: Path | None, **common: Any) -> None:
    """Attest, and show the verdict. Ends with 1 where it is not affirming."""
    with _client(common) as client:
        session = client.attest(policy=policy, explain=explain)
    if output is not None:
        write_private(output, session.token.encode("ascii") + b"\n")
    document: dict[str, Any] = {"status": session.status, "jti": session.jti, "token": session.token}
    if session.explanation is not None:
        document["explanation"] = session.explanation
    _emit(document, as_json=as_json, text=lambda: _verdict(session))
    if session.status != _AFFIRMING:
        sys.exit(ExitCode.NEGATIVE)


@cli.command("get-resource")
@click.argument("path", metavar="REPOSITORY/TYPE/TAG")
@_with(*_COMMON, *_OUTPUT, _JSON)
def get_resource(*, path: str, **options: Any) -> None:
    """Attest, and fetch a resource that is released to this guest."""
    _fetch(f"resource/{path}", options, lambda client, **more: client.get_resource(path, **more))


@cli.command("get-key")
@click.argument("key_id", metavar="KEY")
@_with(*_COMMON, *_OUTPUT, _JSON)
def get_key(*, key_id: str, **options: Any) -> None:
    """Attest, and fetch a key (its 32 bytes) that is released to this guest."""
    _fetch(f"key/{key_id}", options, lambda client, **more: client.get_key(key_id, **more))


@cli.command()
@_with(*_COMMON, _JSON)
@click.option("--report-data", help="A relying party's own challenge (hex), in place of the server's.")
@click.option("--pcrs", help="TPM, with --report-data: registers to quote, as sha256:0,1,2+sha384:0.")
@click.option("--output", type=_FILE, help="File for the evidence; standard output otherwise.")
def evidence(
    *, as_json: bool, report_data: str | None, pcrs: str | None, output: Path | None, **common: Any
) -> None:
    """Make evidence and show it as the body of POST /v1/appraisals, without having it appraised.

    The session's key is discarded: such evidence can be inspected, it releases nothing.
    """
    del as_json  # evidence is JSON anyway; the option is for errors
    settings = msgspec.convert(common, Settings)
    if report_data is None:
        with _client(common) as client:
            request = client.evidence(EphemeralKey())
    else:
        wanted = hex_decode(report_data, what="--report-data")
        with _attester(settings) as attester:
            request = collect_over(
                attester, wanted, registers=parse_registers(pcrs), init_data=_init_data(settings)
            )
    encoded = msgspec.json.encode(request) + b"\n"
    if output is None:
        click.echo(encoded, nl=False)
    else:
        write_private(output, encoded)


cli.add_command(serve)
cli.add_command(secret)


def main() -> None:
    """Entry point: typed errors become one message and an exit code."""
    try:
        cli(standalone_mode=True)
    except TouchstoneError as error:
        fail(error, as_json="--json" in sys.argv[1:])


def exit_code_of(error: TouchstoneError) -> ExitCode:
    """The exit code of an error; of one that the server reported, by its code and status."""
    remote_code = getattr(error, "remote_code", None)
    if isinstance(remote_code, str):
        if getattr(error, "status", 0) >= _FIRST_SERVER_ERROR:
            return ExitCode.UNAVAILABLE
        return ExitCode.USAGE if remote_code.startswith(_REMOTE_USAGE) else ExitCode.NEGATIVE
    if isinstance(error, UnavailableError):
        return ExitCode.UNAVAILABLE
    if isinstance(error, ConfigurationError):
        return ExitCode.CONFIGURATION
    return ExitCode.USAGE if isinstance(error, InputError) else ExitCode.NEGATIVE


def fail(error: TouchstoneError, *, as_json: bool) -> NoReturn:
    """Show an error and end."""
    code = getattr(error, "remote_code", None) or error.code
    if as_json:
        document: dict[str, Any] = {"code": code, "message": error.message, "advice": error.advice}
        if error.details:
            document["details"] = error.details
        click.echo(_encode({"error": document}))
    else:
        click.echo(f"error: {error.message} [{code}]", err=True)
        click.echo(f"  next: {error.advice}", err=True)
    sys.exit(exit_code_of(error))


def _fetch(name: str, options: dict[str, Any], get: Callable[..., bytes]) -> None:
    """Attest, fetch, and put the secret where it was asked for."""
    chosen = {key: options.pop(key) for key in ("output", "to_stdout", "version", "policy", "as_json")}
    output, to_stdout, as_json = chosen["output"], chosen["to_stdout"], chosen["as_json"]
    if (output is None) != to_stdout:
        raise click.UsageError("say where the secret goes: --output FILE, or --stdout")
    if to_stdout and as_json:
        raise click.UsageError("--stdout gives the secret's bytes: it does not go with --json")
    with _client(options) as client:
        secret = get(client, version=chosen["version"], policy=chosen["policy"])
    if to_stdout:
        click.echo(secret, nl=False)
        return
    write_private(output, secret)
    document = {"secret": name, "size": len(secret), "output": str(output)}
    _emit(document, as_json=as_json, text=lambda: f"{name}: {len(secret)} bytes in {output}")


@contextmanager
def _client(common: dict[str, Any]) -> Iterator[GuestClient]:
    settings = msgspec.convert(common, Settings)
    with _attester(settings) as attester:
        yield GuestClient(
            settings.server,
            attester,
            ca_file=settings.ca_file,
            audience=settings.audience,
            init_data=_init_data(settings),
            timeout_s=settings.timeout,
        )


@contextmanager
def _attester(settings: Settings) -> Iterator[Attester]:
    if settings.tee == "snp":
        from guest_agent.attesters.configfs_tsm import ConfigfsTsmAttester  # noqa: PLC0415 (one of two)

        yield ConfigfsTsmAttester()
        return
    from guest_agent.attesters.tpm import TpmAttester  # noqa: PLC0415 (one of two)

    with TpmAttester(
        tcti=settings.tcti,
        ek=settings.ek,
        ek_certificate=settings.ek_certificate,
        ek_chain=settings.ek_chain,
        ak=settings.ak,
        ak_handle=settings.ak_handle,
        event_log=settings.event_log,
        ima_log=settings.ima_log,
        endorse=not settings.no_endorse,
    ) as attester:
        yield attester


def _init_data(settings: Settings) -> InitData | None:
    if settings.init_data is None:
        return None
    data = read_limited(settings.init_data, what="init-data", max_bytes=_MAX_INIT_DATA)
    return InitData(algorithm=settings.init_data_algorithm, data=b64url_encode(data))


def _verdict(session: Session) -> str:
    lines = [f"{session.status}  (attestation result {session.jti})"]
    checks = (session.explanation or {}).get("checks")
    for check in checks if isinstance(checks, list) else ():
        if isinstance(check, dict) and check.get("verdict") not in {"pass", None}:
            note = check.get("note") or f"expected {check.get('expected')!r}, saw {check.get('observed')!r}"
            lines.append(f"  {check.get('verdict')}  {check.get('name')}: {note}")
    return "\n".join(lines)


def _emit(document: object, *, as_json: bool, text: Callable[[], str]) -> None:
    click.echo(_encode(document) if as_json else text())


def _encode(document: object) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode("utf-8")
