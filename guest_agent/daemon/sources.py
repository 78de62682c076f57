"""Settings from all their sources; the first that says something counts.

1. options of the command line; 2. Touchstone's own file; 3. the reference's files (init-data's before
those of ``/etc``); 4. ``AA_KBC_PARAMS``; 5. the kernel command line.

Invariants:

* The attestation agent's and the data hub's file name the same KBS, or Touchstone's own file says which:
  one process has one.
* Everything that was found and not used is returned as a warning, by name and never by value.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.errors import InvalidSetting
from guest_agent.daemon import boot, config, config_checks, reference_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guest_agent.daemon.config import Settings

OWN_FILE: Final = "etc/touchstone-guest.toml"
_AA_FILES: Final = ("run/confidential-containers/initdata/aa.toml", "etc/attestation-agent.conf")
_CDH_FILES: Final = ("run/confidential-containers/initdata/cdh.toml", "etc/confidential-data-hub.conf")
_COMMAND_LINE: Final = "proc/cmdline"
_AA_KBC_PARAMS: Final = "AA_KBC_PARAMS"


class Gathered(msgspec.Struct, frozen=True):
    """Settings, and what to warn about.

    Attributes:
        settings: checked.
        warnings: one sentence each, without values.
    """

    settings: Settings
    warnings: tuple[str, ...]


def gather(
    *,
    options: Mapping[str, Any],
    own: Path | None = None,
    aa: Path | None = None,
    cdh: Path | None = None,
    development: bool = False,
    root: Path = Path("/"),
    environ: Mapping[str, str] = os.environ,
) -> Gathered:
    """Read everything that there is.

    Args:
        options: members from the command line, nested as in the file.
        own: Touchstone's file; ``/etc/touchstone-guest.toml`` where it exists otherwise.
        aa: the attestation agent's file; init-data's or that of ``/etc`` otherwise.
        cdh: the data hub's file, likewise.
        development: whether settings that take protection away are accepted.
        root: where the system's files are found.
        environ: the environment.

    Raises:
        NotFound: a file that was named is not there.
        ConfigurationError, InputError: what a source says does not hold.
    """
    warnings: list[str] = []
    own_members = _own(own, root)
    layers = [
        dict(options),
        own_members,
        *_reference(aa, cdh, root, warnings, decided=_says_kbs(options) or _says_kbs(own_members)),
        *_boot(root, environ, warnings),
    ]
    merged: dict[str, Any] = {}
    for layer in layers:
        _fill(merged, layer)
    settings = config.convert(merged)
    config_checks.check(settings, development=development)
    return Gathered(settings, tuple(warnings))


def _own(path: Path | None, root: Path) -> dict[str, Any]:
    if path is None:
        path = root / OWN_FILE
        if not path.exists():
            return {}
    return config.load(path)


def _reference(
    aa: Path | None, cdh: Path | None, root: Path, warnings: list[str], *, decided: bool
) -> list[dict[str, Any]]:
    agent = _reading(aa, _AA_FILES, root, reference_config.attestation_agent, warnings)
    hub = _reading(cdh, _CDH_FILES, root, reference_config.data_hub, warnings)
    if not decided:
        for name in ("url", "certificate"):
            said = {layer["kbs"][name] for layer in (agent, hub) if name in layer.get("kbs", {})}
            if len(said) > 1:
                raise InvalidSetting(
                    f"the attestation agent's and the data hub's file differ about the KBS ({name})",
                    advice="Make them agree, or set [kbs] in Touchstone's own file.",
                )
    return [agent, hub]


def _reading(
    path: Path | None,
    usual: tuple[str, ...],
    root: Path,
    read: Callable[[dict[str, Any]], reference_config.Reading],
    warnings: list[str],
) -> dict[str, Any]:
    if path is None:
        path = next((root / name for name in usual if (root / name).exists()), None)
    if path is None:
        return {}
    reading = read(config.read_document(path))
    warnings.extend(f"{path.name}: {name} is not used" for name in reading.ignored)
    return reading.members


def _boot(root: Path, environ: Mapping[str, str], warnings: list[str]) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = []
    if params := environ.get(_AA_KBC_PARAMS):
        layers.append({"kbs": {"url": boot.kbs_url(params)}})
    try:
        text = (root / _COMMAND_LINE).read_text(encoding="utf-8", errors="replace")
    except OSError:  # no /proc: nothing was said
        return layers
    said = boot.command_line(text)
    warnings.extend(f"kernel command line: {name} is not used" for name in said.ignored)
    if said.kbs_url is not None:
        layers.append({"kbs": {"url": said.kbs_url}})
    if said.credentials:
        layers.append({"credentials": [msgspec.to_builtins(item) for item in said.credentials]})
    return layers


def _says_kbs(members: Mapping[str, Any]) -> bool:
    return "url" in members.get("kbs", {})


def _fill(merged: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Put in what is not there yet; credentials of all layers are fetched."""
    for name, value in layer.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            _fill(merged[name], _of_its_server(merged[name], value) if name == "kbs" else value)
        elif name == "credentials" and isinstance(value, list):
            merged[name] = merged.get(name, []) + [
                item for item in value if item not in merged.get(name, [])
            ]
        elif name not in merged:
            merged[name] = dict(value) if isinstance(value, dict) else value


def _of_its_server(present: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """An authority goes with the URL that it was given for, and with no other."""
    if present.get("url", value.get("url")) != value.get("url", present.get("url")) or "ca_file" in present:
        return {
            name: item for name, item in value.items() if name not in {"ca_file", "certificate", "hosts"}
        }
    return value
