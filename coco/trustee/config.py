"""Which stores a Trustee deployment's configuration files name.

Read are the KBS file (TOML or JSON), and, where they stand apart, the attestation service's and the RVPS's
(JSON): current releases (``storage_backend``, ``storage``) and older ones (``[[plugins]]`` and
``[repository_config]`` with a folder, ``[policy_engine] policy_path``, ``policy_dir``, RVPS ``file_path``).

What a file names that is not read (Redis, Vault, a cloud's secret manager, sled) or that keeps nothing
(memory) is told in the notes: nothing is left out in silence.

Source: coco-wire sections 1.11 to 1.13, 2.9 and 3.4.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL

from coco.trustee.entries import ATTESTATION_POLICY, KBS, REFERENCE_VALUE, REPOSITORY
from coco.trustee.folders import LocalFs, LocalJson, PolicyFile, PolicyFolder, Repository, ValueList
from coco.trustee.postgres import Postgres
from common import strict_json
from common.errors import InvalidSetting
from common.files import read_limited

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coco.trustee.entries import Store

_MAX_CONFIG_BYTES: Final = 1 << 20
_LOCAL_FS: Final = "/opt/confidential-containers/storage/local_fs"
_LOCAL_JSON: Final = "/opt/confidential-containers/storage/local_json"
_REPOSITORY: Final = "/opt/confidential-containers/kbs/repository"
_VALUE_LIST: Final = "/opt/confidential-containers/attestation-service/reference_values.json"
_POSTGRES_PORT: Final = 5432


class Found:
    """Stores and notes, gathered.

    Attributes:
        stores: in the order of the files.
        notes: what is not read, and why.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.stores: list[Store] = []
        self.notes: list[str] = []


def read(path: Path) -> dict[str, Any]:
    """A configuration file, TOML or JSON.

    Raises:
        NotFound, TooLarge: it cannot be read.
        InvalidSetting: it is neither.
    """
    data = read_limited(path, what="configuration", max_bytes=_MAX_CONFIG_BYTES)
    try:
        if data.lstrip().startswith(b"{"):
            document = strict_json.loads(data, what="configuration")
        else:
            document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is neither TOML nor JSON") from error
    if not isinstance(document, dict):
        raise InvalidSetting(f"{path} is not a configuration")
    return document


def stores_of(
    kbs: Mapping[str, Any] | None = None,
    attestation: Mapping[str, Any] | None = None,
    rvps: Mapping[str, Any] | None = None,
) -> Found:
    """The stores that the files name; the KBS's own attestation service and RVPS where none stands apart.

    Raises:
        InvalidSetting: a member is not of its form.
    """
    found = Found()
    own = _table(kbs or {}, "attestation_service")
    builtin = str(own.get("type", "coco_as_builtin")) in ("coco_as_builtin", "coco_as")
    if kbs is not None:
        _backend(found, _table(kbs, "storage_backend"), (KBS, REPOSITORY), "the KBS")
        _older_kbs(found, kbs)
        if builtin and attestation is None:
            attestation = {**own, "storage_backend": kbs.get("storage_backend", {})}
    if attestation is not None:
        _backend(found, _table(attestation, "storage_backend"), (ATTESTATION_POLICY,), "the AS")
        _older_attestation(found, attestation)
        config = _table(attestation, "rvps_config")
        if rvps is None and config.get("type", "BuiltIn") == "BuiltIn":
            inner = config.get("storage") or attestation.get("storage_backend") or {}
            rvps = {"storage": inner}
    if rvps is not None:
        _rvps(found, _table(rvps, "storage"))
    return found


def _backend(found: Found, backend: Mapping[str, Any], namespaces: tuple[str, ...], whose: str) -> None:
    kind = str(backend.get("storage_type", "Memory")).lower().replace("_", "")
    backends = _table(backend, "backends")
    if kind == "localfs":
        folder = _path(_table(backends, "local_fs").get("dir_path", _LOCAL_FS))
        found.stores.append(LocalFs(folder, namespaces))
    elif kind == "localjson":
        folder = _path(_table(backends, "local_json").get("file_dir_path", _LOCAL_JSON))
        found.stores.append(LocalJson(folder, namespaces))
    elif kind == "postgres":
        found.stores.append(Postgres(_postgres_url(_table(backends, "postgres")), namespaces))
    elif kind == "memory":
        found.notes.append(
            f"{whose} keeps {', '.join(namespaces)} in memory: there is nothing to take over"
        )
    else:
        found.notes.append(f"{whose} keeps {', '.join(namespaces)} in {kind[:32]}, which is not read")


def _older_kbs(found: Found, kbs: Mapping[str, Any]) -> None:
    plugins = kbs.get("plugins", [])
    sections = [item for item in plugins if isinstance(item, dict)] if isinstance(plugins, list) else []
    resources = [item for item in sections if item.get("name") == "resource"]
    if "repository_config" in kbs:
        resources.append(dict(_table(kbs, "repository_config")))
    for item in resources:
        kind = str(item.get("storage_backend_type") or item.get("type") or "kvstorage")
        if kind == "LocalFs":
            found.stores.append(Repository(_path(item.get("dir_path", _REPOSITORY))))
        elif kind.lower() != "kvstorage":
            found.notes.append(f"resources are in {kind[:32]}, which is not read: point ours at it instead")
    path = _table(kbs, "policy_engine").get("policy_path")
    if path is not None:
        found.stores.append(PolicyFile(_path(path)))


def _older_attestation(found: Found, attestation: Mapping[str, Any]) -> None:
    broker = _table(attestation, "attestation_token_broker")
    folder = broker.get("policy_dir")
    if folder is not None:
        found.stores.append(PolicyFolder(_path(folder), ATTESTATION_POLICY))


def _rvps(found: Found, storage: Mapping[str, Any]) -> None:
    kind = storage.get("type")
    if kind is None or "storage_type" in storage:
        _backend(found, storage, (REFERENCE_VALUE,), "the RVPS")
    elif kind == "LocalJson":
        found.stores.append(ValueList(_path(storage.get("file_path", _VALUE_LIST))))
    else:
        found.notes.append(
            f"the RVPS keeps its values in an older {str(kind)[:32]} store, which is not read"
        )


def _postgres_url(section: Mapping[str, Any]) -> str:
    port = section.get("port", _POSTGRES_PORT)
    if not isinstance(port, int):
        raise InvalidSetting("postgres.port is not a number")
    password = section.get("password")
    return URL.create(
        "postgresql",
        username=str(section.get("username", "postgres")),
        password=None if password is None else str(password),
        host=str(section.get("host", "localhost")),
        port=port,
        database=str(section.get("db", "postgres")),
    ).render_as_string(hide_password=False)


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidSetting(f"{name} of the configuration is not a section")
    return value


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidSetting("a path of the configuration is not text")
    return Path(value)
