"""``touchstone-guest secret``: make keys, seal secrets, unseal them.

Sealing happens outside the guest, at whoever deploys it. Unsealing needs what the secret names: the guest's
KBS, as ``serve`` is configured for it, or the keys as files (``--verification-key``, ``--key-file``), with
which an envelope can be checked where there is no TEE.

Private keys and secrets go to files of mode 0600 or, asked for by name, to standard output. A sealed secret
is no secret: it goes to standard output.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from common.files import read_limited, read_private, write_private, write_public
from guest_agent import aead, sealed, sealed_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import ECKey

    from guest_agent.daemon.services import GuestServices
    from guest_agent.resource_uri import ResourceUri

_MAX_KEY: Final = 8192
_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_SIGNING: Final = (
    click.option("--signing-key", type=_FILE, required=True, help="Private JWK that seals, mode 0600."),
    click.option(
        "--kid", required=True, help="Where guests find its public half: kbs:///... or a file name."
    ),
    click.option("--output", type=_FILE, help="File for the sealed secret; standard output otherwise."),
    click.option("--json", "as_json", is_flag=True, help="Errors as JSON."),
)


@click.group()
def secret() -> None:
    """Seal secrets for guests, and unseal them."""


@secret.command()
@click.option("--output", type=_FILE, required=True, help="File for the private key, made with mode 0600.")
@click.option("--public-output", type=_FILE, help="File for the public key, for the guests.")
@click.option(
    "--encryption", is_flag=True, help="A key for envelopes: 32 bytes, as the KBS is to hold them."
)
@click.option("--json", "as_json", is_flag=True, help="Errors as JSON.")
def keygen(*, output: Path, public_output: Path | None, encryption: bool, as_json: bool) -> None:
    """Make a sealing key (P-256, JWK), or one that envelopes are encrypted under."""
    del as_json
    if encryption:
        if public_output is not None:
            raise click.UsageError("a key for envelopes has no public half")
        write_private(output, aead.new_key())
        return
    if public_output is None:
        raise click.UsageError("say where the public key goes: --public-output FILE")
    key = sealed_keys.new_key()
    write_private(output, sealed_keys.jwk_bytes(key, private=True))
    write_public(public_output, sealed_keys.jwk_bytes(key, private=False))


@secret.group()
def seal() -> None:
    """Seal a secret."""


def _signing(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SIGNING):
        function = option(function)
    return function


@seal.command()
@_signing
@click.option("--resource-uri", required=True, help="The resource that is the secret: kbs:///...")
def vault(*, resource_uri: str, signing_key: Path, kid: str, output: Path | None, as_json: bool) -> None:
    """Seal a reference to a resource: the secret itself stays in the KBS."""
    del as_json
    _emit(sealed.seal(sealed.vault(resource_uri), _signing_key(signing_key), kid), output)


@seal.command()
@_signing
@click.option("--file", "source", type=_FILE, required=True, help="The secret.")
@click.option("--key-id", required=True, help="The key that encrypts it, as the KBS names it: kbs:///...")
@click.option("--key-file", type=_FILE, required=True, help="That key: 32 bytes, mode 0600.")
def envelope(
    *,
    source: Path,
    key_id: str,
    key_file: Path,
    signing_key: Path,
    kid: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Seal a secret with what encrypts it: the KBS holds the key alone."""
    del as_json
    kek = read_private(key_file, what="key file", max_bytes=_MAX_KEY)
    data = read_limited(source, what="secret", max_bytes=sealed.MAX_SEALED // 2)
    _emit(
        sealed.seal(sealed.envelope(data, key_id=key_id, kek=kek), _signing_key(signing_key), kid), output
    )


@secret.command()
@click.option("--file", "source", type=_FILE, required=True, help="The sealed secret.")
@click.option("--output", type=_FILE, help="File for the secret, made with mode 0600.")
@click.option("--stdout", "to_stdout", is_flag=True, help="Write the secret to standard output.")
@click.option("--verification-key", type=_FILE, help="Public JWK, in place of what `kid` names.")
@click.option("--key-file", type=_FILE, help="Key of an envelope, in place of what `key_id` names.")
@click.option("--config", type=_FILE, help="Configuration of `serve`; its KBS is asked.")
@click.option("--development", is_flag=True, help="Accept settings that take protection away.")
@click.option("--json", "as_json", is_flag=True, help="Errors as JSON.")
def unseal(
    *,
    source: Path,
    output: Path | None,
    to_stdout: bool,
    verification_key: Path | None,
    key_file: Path | None,
    config: Path | None,
    development: bool,
    as_json: bool,
) -> None:
    """Unseal a secret, as the guest's services would; the signature is always checked."""
    del as_json
    if (output is None) != to_stdout:
        raise click.UsageError("say where the secret goes: --output FILE, or --stdout")
    text = read_limited(source, what="sealed secret", max_bytes=sealed.MAX_SEALED + 2)
    key = kek = None
    if verification_key is not None:
        key = sealed_keys.public_key(
            read_limited(verification_key, what="verification key", max_bytes=_MAX_KEY)
        )
    if key_file is not None:
        kek = read_private(key_file, what="key file", max_bytes=_MAX_KEY)
    with ExitStack() as stack:
        services = _Services(config, stack, development=development)
        plaintext = sealed.unseal(
            text.decode("ascii", "replace").rstrip("\r\n"), services, key=key, kek=kek
        )
    if output is None:
        click.echo(plaintext, nl=False)
    else:
        write_private(output, plaintext)


class _Services:
    """The guest's services, made when the first thing is asked of them."""

    def __init__(self, config: Path | None, stack: ExitStack, *, development: bool) -> None:
        self._config = config
        self._stack = stack
        self._development = development

    @cached_property
    def _made(self) -> GuestServices:
        from guest_agent.daemon.process import compose  # noqa: PLC0415 (only `unseal` may need it)
        from guest_agent.daemon.sources import gather  # noqa: PLC0415

        gathered = gather(options={}, own=self._config, development=self._development)
        return compose(gathered.settings, Path("/"), self._stack)[0]

    def resource(self, uri: ResourceUri) -> bytes:
        """A resource of the KBS."""
        return self._made.resource(uri)

    def local_key(self, name: str) -> bytes:
        """A key in the guest's folder."""
        return self._made.local_key(name)


def _signing_key(path: Path) -> ECKey:
    return sealed_keys.private_key(read_private(path, what="signing key", max_bytes=_MAX_KEY))


def _emit(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text)
    else:
        write_public(output, text.encode("ascii"))
