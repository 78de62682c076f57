"""Settings: one TOML file, overridden by environment variables ``TOUCHSTONE_SECTION__KEY``.

Invariants:

* An unknown section or key is refused, in the file and in the environment: a misspelt floor must not
  pass as the default.
* ``profile`` is ``production`` unless said otherwise, and production refuses every switch that weakens
  a verdict: test anchors, plain HTTP beyond loopback, an OPA server reached in the clear
  (``service.profile``).
* No setting holds a secret; secrets are files, named here and read with their mode checked.

Order: file, then environment on top of it, then validation of the whole, then the profile's rules.
The keys are in ``service.sections``; ``docs/configuration.md`` is generated (``service.settings_doc``).
"""

from __future__ import annotations

import json
import logging
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, create_model

from common.errors import InvalidSetting
from common.files import read_limited
from common.section import Section
from service import profile
from service.sections import (
    FeedSettings,
    FetchSettings,
    LimitSettings,
    LogSettings,
    PolicySettings,
    RegistrySettings,
    ServerSettings,
    SigstoreSettings,
    SourceSection,
    StorageSettings,
    TokenSettings,
)
from service.sections_coco import CocoSettings
from service.sections_collateral import CollateralSettings
from service.sections_grpc import GrpcSection
from verifier.tees import TEES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verifier.tee import TeeSection

_LOG = logging.getLogger(__name__)
ENV_PREFIX = "TOUCHSTONE_"
ENV_DELIMITER = "__"
CONFIG_VARIABLE = "TOUCHSTONE_CONFIG"
_MAX_CONFIG_BYTES = 1 << 20


class Settings(Section):
    """Every setting; each TEE adds a section of its own name (``MODEL``)."""

    profile: Literal["production", "development"] = Field(
        default="production",
        description="`development` permits test anchors and says so at start and in /healthz.",
    )
    server: ServerSettings = Field(default_factory=ServerSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    token: TokenSettings = Field(default_factory=TokenSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)
    fetch: FetchSettings = Field(default_factory=FetchSettings)
    collateral: CollateralSettings = Field(default_factory=CollateralSettings)
    sigstore: SigstoreSettings = Field(default_factory=SigstoreSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    feed: FeedSettings = Field(default_factory=FeedSettings)
    coco: CocoSettings = Field(default_factory=CocoSettings)
    grpc: GrpcSection = Field(default_factory=GrpcSection)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    sources: tuple[SourceSection, ...] = Field(
        default=(), max_length=64, description="Registries and folders that are pulled, see below."
    )

    def tee_section(self, tee: str) -> TeeSection:
        """The section of a TEE."""
        section: TeeSection = getattr(self, field_of(tee))
        return section

    @property
    def collateral_dir(self) -> Path:
        """Folder of the endorsement store."""
        return self.storage.data_dir / "collateral"

    @property
    def database_url(self) -> str:
        """The database URL, with the default filled in."""
        return self.storage.url or f"sqlite:///{self.storage.data_dir / 'touchstone.db'}"

    @property
    def keys_dir(self) -> Path:
        """Folder of the key files."""
        return self.storage.data_dir / "keys"

    @property
    def sigstore_dir(self) -> Path:
        """Folder of the TUF metadata and the refreshed public-good root."""
        return self.storage.data_dir / "sigstore-tuf"

    @property
    def checkpoint_file(self) -> Path:
        """The signed checkpoints of the audit log, one a line, to be copied elsewhere."""
        return self.storage.data_dir / "audit-checkpoints.jws"


def field_of(tee: str) -> str:
    """Name of a TEE's section: its own, with ``_`` where a name of a field cannot have ``-``."""
    return tee.replace("-", "_")


_SECTIONS: dict[str, Any] = {
    field_of(tee.name): (tee.section, Field(default_factory=tee.section)) for tee in TEES.values()
}
# What is read: ``Settings`` with a section for each TEE.
MODEL: type[Settings] = create_model("SettingsOfAllTees", __base__=Settings, **_SECTIONS)


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        path: TOML file; ``$TOUCHSTONE_CONFIG`` otherwise; defaults alone where neither is given.
        environ: the environment; the process's own otherwise.

    Raises:
        NotFound: the named file does not exist.
        InvalidSetting: not TOML, an unknown key, an unusable value, or one the profile refuses.
    """
    environ = os.environ if environ is None else environ
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    values = _from_file(path) if path is not None else {}
    _merge(values, _from_environment(environ))
    _move_renamed(values)
    return build(values)


def build(values: Mapping[str, Any]) -> Settings:
    """Validate nested values and hold them against the profile.

    Raises:
        InvalidSetting: as ``load``.
    """
    try:
        settings = MODEL(**values)
    except ValidationError as error:
        raise InvalidSetting(_describe(error)) from error
    profile.enforce(settings)
    return settings


# Old place of a setting, and its new one.
_RENAMED = ((("coco", "sample_tee"), ("sample", "enabled")),)


def _move_renamed(values: dict[str, Any]) -> None:
    """Read settings that stand in a place they had before; the new place wins."""
    for (section, key), (new_section, new_key) in _RENAMED:
        old = values.get(section)
        if isinstance(old, dict) and key in old:
            _LOG.warning("[%s] %s is now [%s] %s", section, key, new_section, new_key)
            values.setdefault(new_section, {}).setdefault(new_key, old.pop(key))


def _from_file(path: Path) -> dict[str, Any]:
    data = read_limited(path, what="configuration", max_bytes=_MAX_CONFIG_BYTES)
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSetting(f"{path} is not TOML: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """``TOUCHSTONE_PROFILE``, ``_SOURCES`` and every ``TOUCHSTONE_<SECTION>__<KEY>``, as nested values.

    Every variable of that shape is taken, so that validation refuses a misspelt section too. Others
    (``TOUCHSTONE_CONFIG``, those of the command line) are none of ours.
    """
    values: dict[str, Any] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX):
            continue
        path = variable.removeprefix(ENV_PREFIX).lower().split(ENV_DELIMITER)
        if len(path) > 1 or path in (["profile"], ["sources"]):
            _put(values, path, _value(variable, text))
    return values


def _describe(error: ValidationError) -> str:
    faults = [
        f"[{'.'.join(str(part) for part in fault['loc'])}] {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return "; ".join(faults)


def _value(variable: str, text: str) -> Any:
    """Lists and objects are JSON; anything else is text that the model converts."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidSetting(f"{variable} is not JSON") from error


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            raise InvalidSetting(
                f"{ENV_PREFIX}{ENV_DELIMITER.join(path).upper()} contradicts another variable"
            )
        values = inner
    values[path[-1]] = value


def _merge(base: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    for name, value in overrides.items():
        present = base.get(name)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge(present, value)
        else:
            base[name] = value
