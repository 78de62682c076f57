"""Options of commands that read from a registry, and what they find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.oci.attachments import Attachments

_FILE = click.Path(path_type=Path, dir_okay=False)


def registry_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--registry-config``, ``--registry-ca-file``, ``--allow-host`` and ``--plain-http``."""
    for option in (
        click.option("--plain-http", is_flag=True, help="Plain HTTP to a registry on loopback."),
        click.option(
            "--allow-host",
            "allowed_hosts",
            multiple=True,
            metavar="HOST",
            help="A further host that the registry may hand on to (token service, store). May be repeated.",
        ),
        click.option(
            "--registry-ca-file", type=_FILE, help="PEM authorities for the registry's certificate."
        ),
        click.option(
            "--registry-config",
            envvar="TOUCHSTONE_REGISTRY_CONFIG",
            type=_FILE,
            help="Docker config.json with the registry's credentials. [$TOUCHSTONE_REGISTRY_CONFIG]",
        ),
    ):
        function = option(function)
    return function


def attached_to(
    image: str,
    registry_config: Path | None,
    registry_ca_file: Path | None,
    allowed_hosts: Sequence[str],
    plain_http: bool,
) -> Attachments:
    """What is attached to an image, fetched from its registry as the options say.

    Raises:
        ImageReferenceInvalid: not a reference.
        NotFound: no such image, or no such configuration file.
        RegistryCredentialsInvalid: the docker configuration cannot be used.
        RegistryUnavailable, RegistryAccessDenied, RegistryForbidden, RegistryContentInvalid: see
            ``provenance.oci.attachments``.
    """
    from provenance.oci import credentials, reference
    from provenance.oci.attachments import attachments_of
    from provenance.oci.registry import RegistryClient
    from provenance.oci.transport import Transport, TransportOptions

    parsed = reference.parse(image)
    options = TransportOptions(
        allowed_hosts=(*parsed.hosts, *allowed_hosts), plain_http=plain_http, ca_file=registry_ca_file
    )
    known = credentials.ANONYMOUS if registry_config is None else credentials.load(registry_config)
    return attachments_of(RegistryClient(Transport(options), known), parsed)
