"""``touchstone-guest serve``: options over files, then the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from guest_agent.daemon.sources import gather

_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--config", type=_FILE, help="Configuration; /etc/touchstone-guest.toml if there is one.")
@click.option(
    "--aa-config", type=_FILE, help="An attestation-agent's file; init-data's or /etc's otherwise."
)
@click.option("--cdh-config", type=_FILE, help="A confidential-data-hub's file; likewise.")
@click.option("-b", "--bind", help="Address and port of REST. [127.0.0.1:8006]")
@click.option(
    "--features", type=click.Choice(["resource", "attestation", "all"]), help="What REST serves. [resource]"
)
@click.option("--attestation-sock", "--attestation_sock", help="Address of the attestation agent's gRPC.")
@click.option("--cdh-sock", "--cdh_sock", help="Address of the confidential data hub's gRPC.")
@click.option(
    "--initdata-toml", "--initdata_toml", type=_FILE, help="Init-data, held against the platform."
)
@click.option(
    "--initdata-digest", "--initdata_digest", help="Its digest (base64), where the text is not here."
)
@click.option("--development", is_flag=True, help="Accept settings that take protection away.")
@click.option("--json", "as_json", is_flag=True, help="Errors as JSON.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=Path("/"), hidden=True)
def serve(
    *,
    config: Path | None,
    aa_config: Path | None,
    cdh_config: Path | None,
    development: bool,
    as_json: bool,
    root: Path,
    **options: Any,
) -> None:
    """Serve attestation, secrets and unsealing to this guest: REST and gRPC, until SIGTERM."""
    from guest_agent.daemon.process import run  # noqa: PLC0415 (only `serve` needs it)

    del as_json  # read by the entry point, for errors
    gathered = gather(
        options=_members(options),
        own=config,
        aa=aa_config,
        cdh=cdh_config,
        development=development,
        root=root,
    )
    run(gathered.settings, warnings=gathered.warnings, root=root)


def _members(options: dict[str, Any]) -> dict[str, Any]:
    """Options as members of the configuration."""
    file = options["initdata_toml"]
    given = {
        "rest": {"listen": options["bind"], "features": options["features"]},
        "grpc": {
            "attestation_agent": options["attestation_sock"],
            "confidential_data_hub": options["cdh_sock"],
        },
        "init_data": {
            "file": None if file is None else str(file),
            "digest": options["initdata_digest"],
        },
    }
    return {
        part: chosen
        for part, members in given.items()
        if (chosen := {name: value for name, value in members.items() if value is not None})
    }
