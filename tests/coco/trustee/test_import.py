"""Taking over a Trustee deployment, from folders and databases in its documented layouts."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from coco.trustee import config
from coco.trustee.folders import LocalFs, LocalJson, Repository
from coco.trustee.importer import Importer, Report
from coco.trustee.postgres import Postgres
from common.errors import InvalidSetting, NotFound, TouchstoneError
from kms import secret_id
from kms.audit import AuditLog
from kms.root_key import FileRootKey
from kms.secrets import SecretStore
from kms.tables import audit_record
from policy.port import PolicyKind
from policy.regorus_engine import RegorusEngine
from policy.store import PolicyStore
from rvps import declared
from storage.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from coco.trustee.entries import Store
    from testkit.postgres import PostgresServer

NOW = datetime(2026, 5, 1, tzinfo=UTC)
RESOURCE_POLICY = 'package policy\n\ndefault allow = false\n\nallow if data.plugin == "resource"\n'
CPU_POLICY = 'package policy\n\ntrust_claims := {"executables": 3} if input.snp\n'
SECRET = b"\x00secret\xff"


def record(name: str, value: object, expiration: str = "2027-11-24T00:30:47Z") -> bytes:
    return json.dumps({"version": "0.1.0", "name": name, "expiration": expiration, "value": value}).encode()


GOOD: dict[str, dict[str, bytes]] = {
    "kbs": {"resource-policy.rego": RESOURCE_POLICY.encode()},
    "attestation_service_policy": {"default_cpu.rego": CPU_POLICY.encode()},
    "reference_value": {
        "snp_launch_measurement": record("snp_launch_measurement", ["6a65"]),
        "snp_smt_enabled": record("snp_smt_enabled", value=True),
    },
    "repository": {"default/key/1": SECRET, "one/two/three.pem": b"-----"},
}
BAD: dict[str, dict[str, bytes]] = {
    "kbs": {"other.rego": RESOURCE_POLICY.encode()},
    "attestation_service_policy": {
        "extra_cpu.rego": b'package policy\n\nx := opa.runtime()\n\ntrust_claims := {"hardware": 2}\n',
        "old_cpu.rego": b"package policy\n\ntrust_claims { input.snp }\n",
        "default.rego": CPU_POLICY.encode(),
        "default_gpu": CPU_POLICY.encode(),
        "bytes_cpu.rego": b"\xff",
    },
    "reference_value": {
        "stale": record("stale", ["x"], "2020-01-01T00:00:00Z"),
        "no-end": record("no-end", ["x"], "tomorrow"),
        "no-value": b'{"name": "no-value", "expiration": "2027-01-01T00:00:00Z"}',
        "no-json": b"{",
        "twice": b'{"name": "a", "name": "b"}',
    },
    "repository": {"one/two": b"x", "default/key/empty": b"", "default/.hidden/x": b"x"},
}


def local_fs(folder: Path, content: dict[str, dict[str, bytes]]) -> Store:
    for namespace, entries in content.items():
        (folder / namespace).mkdir(parents=True, exist_ok=True)
        for key, data in entries.items():
            (folder / namespace / key.replace("/", "\\x2F")).write_bytes(data)
    return LocalFs(folder)


def local_json(folder: Path, content: dict[str, dict[str, bytes]]) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    for namespace, entries in content.items():
        items = {key: base64.urlsafe_b64encode(data).decode() for key, data in entries.items()}
        (folder / namespace).write_text(json.dumps(items))
    return LocalJson(folder)


class World:
    """Our side."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.versions = PolicyStore(database)
        self.secrets = SecretStore(database, FileRootKey.open_or_create(folder / "root.key"))

    def run(self, stores: Iterable[Store], *, dry_run: bool = False, now: datetime = NOW) -> Report:
        importer = Importer(
            self.database,
            RegorusEngine(),
            self.versions,
            self.secrets,
            by="import:test",
            max_resource_bytes=1 << 20,
            dry_run=dry_run,
        )
        return importer.run(stores, now)

    def content(self, path: str) -> bytes:
        ref = secret_id.resource(path)
        context = self.secrets.find(ref)
        assert context is not None
        with self.database.write() as connection:
            stored = self.secrets.usable(connection, ref, context.version)
        return self.secrets.unseal(stored)

    def declared(self) -> dict[str, Any]:
        with self.database.read() as connection:
            return {item.name: item for item in declared.everything(connection, NOW)}

    def actions(self) -> list[str]:
        with self.database.read() as connection:
            rows = connection.execute(audit_record.select().order_by(audit_record.c.sequence)).all()
        return [json.loads(row.entry)["action"] for row in rows]


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


def outcomes(report: Report) -> dict[str, str]:
    return {f"{item.namespace}/{item.key}": item.outcome for item in report.items}


def everything_is_there(world: World) -> None:
    assert world.versions.active(PolicyKind.RESOURCE, "resource-policy").text == RESOURCE_POLICY
    assert world.versions.active(PolicyKind.APPRAISAL, "default_cpu").text == CPU_POLICY
    values = world.declared()
    assert {name: item.value for name, item in values.items()} == {
        "snp_launch_measurement": ["6a65"],
        "snp_smt_enabled": True,
    }
    assert {item.expires_at for item in values.values()} == {datetime(2027, 11, 24, 0, 30, 47, tzinfo=UTC)}
    assert {item.kind for item in values.values()} == {"import"}
    assert world.content("default/key/1") == SECRET
    assert world.content("one/two/three.pem") == b"-----"


@pytest.mark.parametrize("layout", [local_fs, local_json])
def test_a_deployment_is_taken_over_once(
    world: World, tmp_path: Path, layout: Callable[[Path, dict[str, dict[str, bytes]]], Store]
) -> None:
    store = layout(tmp_path / "store", GOOD)
    report = world.run([store])
    assert report.counts == {"stored": 6}
    assert report.sources == (str(tmp_path / "store"),)
    everything_is_there(world)
    actions = world.actions()
    assert sorted(set(actions)) == [
        "policy.activate",
        "policy.put",
        "reference.declare",
        "secret.put",
    ]
    assert world.run([store]).counts == {"unchanged": 6}
    assert world.actions() == actions
    assert AuditLog(world.database).verify().holds


def test_a_dry_run_does_nothing(world: World, tmp_path: Path) -> None:
    store = local_fs(tmp_path / "store", GOOD)
    report = world.run([store], dry_run=True)
    assert report.counts == {"would-store": 6}
    assert world.versions.list() == ()
    assert world.declared() == {}
    assert world.secrets.find(secret_id.resource("default/key/1")) is None
    assert world.actions() == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_each_entry_is_taken_or_refused_by_itself(world: World, tmp_path: Path, *, dry_run: bool) -> None:
    both = {namespace: {**GOOD[namespace], **BAD[namespace]} for namespace in GOOD}
    report = world.run([local_fs(tmp_path / "store", both)], dry_run=dry_run)
    found = outcomes(report)
    for namespace, entries in BAD.items():
        for key in entries:
            assert found[f"{namespace}/{key}"] == "refused", key
    for namespace, entries in GOOD.items():
        for key in entries:
            assert found[f"{namespace}/{key}"] == ("would-store" if dry_run else "stored"), key
    refused = {item.key: item for item in report.items if item.outcome == "refused"}
    assert all(item.code and item.reason for item in refused.values())
    assert "opa.runtime is refused" in refused["extra_cpu.rego"].reason
    assert "`if` keyword is required" in refused["old_cpu.rego"].reason
    assert "ended at 2020-01-01" in refused["stale"].reason
    assert "class" in refused["default.rego"].reason
    if not dry_run:
        everything_is_there(world)


def test_what_changed_there_is_taken_over_again(world: World, tmp_path: Path) -> None:
    store = local_fs(tmp_path / "store", GOOD)
    world.run([store])
    (tmp_path / "store/repository/default\\x2Fkey\\x2F1").write_bytes(b"another")
    (tmp_path / "store/reference_value/snp_smt_enabled").write_bytes(record("snp_smt_enabled", value=False))
    assert world.run([store]).counts == {"stored": 2, "unchanged": 4}
    assert world.content("default/key/1") == b"another"
    assert world.declared()["snp_smt_enabled"].value is False


def test_nothing_outside_the_folder_is_read(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "kbs").mkdir(parents=True)
    (outside / "secret").write_bytes(b"of somebody else")
    (outside / "kbs/resource-policy.rego").write_text(RESOURCE_POLICY)
    store = local_fs(tmp_path / "store", {"repository": {"default/key/1": SECRET}})
    (tmp_path / "store/repository/default\\x2Fkey\\x2Flink").symlink_to(outside / "secret")
    (tmp_path / "store/kbs").symlink_to(outside / "kbs")
    os.mkfifo(tmp_path / "store/repository/default\\x2Fkey\\x2Fpipe")
    (tmp_path / "store/repository/default\\x2Fkey\\x2Ffolder").mkdir()
    report = world.run([store])
    assert outcomes(report) == {
        "kbs/": "refused",
        "repository/default/key/1": "stored",
        "repository/default/key/link": "refused",
        "repository/default/key/pipe": "refused",
        "repository/default/key/folder": "refused",
    }
    assert "of somebody else" not in json.dumps([item.reason for item in report.items])


def test_the_repository_of_an_older_key_broker(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    (folder / "default/key").mkdir(parents=True)
    (folder / "default/key/1").write_bytes(SECRET)
    (folder / "stray").write_bytes(b"x")
    (folder / "default/linked").symlink_to(tmp_path)
    report = world.run([Repository(folder)])
    assert outcomes(report) == {
        "repository/default/key/1": "stored",
        "repository/default/linked": "refused",
        "repository/stray": "refused",
    }
    assert world.content("default/key/1") == SECRET


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"a": "x", "a": "y"}', b"\xff"])
def test_a_damaged_json_store_is_told(world: World, tmp_path: Path, damage: bytes) -> None:
    store = local_json(tmp_path / "store", GOOD)
    (tmp_path / "store/repository").write_bytes(damage)
    report = world.run([store])
    assert report.counts == {"refused": 1, "stored": 4}


def test_a_value_of_a_json_store_that_is_no_base64_is_told(world: World, tmp_path: Path) -> None:
    (tmp_path / "repository").write_text(json.dumps({"a/b/c": "!!", "a/b/d": 1}))
    assert world.run([LocalJson(tmp_path)]).counts == {"refused": 2}


def test_a_store_that_is_not_there_is_an_error(world: World, tmp_path: Path) -> None:
    for store in (LocalFs(tmp_path / "absent"), LocalJson(tmp_path / "absent")):
        with pytest.raises(NotFound):
            world.run([store])


def test_a_database_of_trustee(world: World, postgres: PostgresServer) -> None:
    url = postgres.empty_database_url()
    theirs = Database(url)
    with theirs.write() as connection:
        for namespace, entries in GOOD.items():
            connection.execute(text(f'CREATE TABLE "{namespace}" (value BYTEA, key TEXT PRIMARY KEY)'))
            for key, data in entries.items():
                statement = text(f'INSERT INTO "{namespace}" (key, value) VALUES (:key, :value)')  # noqa: S608
                connection.execute(statement, {"key": key, "value": data})
    theirs.close()
    report = world.run([Postgres(url.replace("postgresql+psycopg", "postgresql"))])
    assert report.counts == {"stored": 6}
    everything_is_there(world)
    assert world.run([Postgres(url)]).counts == {"unchanged": 6}


@pytest.mark.parametrize("url", ["", "mysql://x/y", "sqlite:///x", "postgresql", "://"])
def test_only_postgresql_is_a_database_of_trustee(url: str) -> None:
    with pytest.raises(InvalidSetting):
        Postgres(url)


def test_a_password_is_in_no_report() -> None:
    store = Postgres("postgresql://user:hunter2@db.example:5432/trustee")
    assert store.where == "postgresql://db.example/trustee"


def where(found: config.Found) -> list[str]:
    return [f"{type(store).__name__} {store.where}" for store in found.stores]


def test_a_configuration_names_its_stores() -> None:
    kbs: dict[str, Any] = {
        "storage_backend": {
            "storage_type": "LocalFs",
            "backends": {"local_fs": {"dir_path": "/a"}},
        },
        "attestation_service": {"type": "coco_as_builtin", "rvps_config": {"type": "BuiltIn"}},
    }
    found = config.stores_of(kbs)
    assert where(found) == ["LocalFs /a"] * 3
    assert found.notes == []
    kbs["attestation_service"]["type"] = "coco_as_grpc"
    attestation = {
        "storage_backend": {"storage_type": "LocalJson"},
        "rvps_config": {"type": "GrpcRemote", "address": "http://rvps:50003"},
    }
    rvps = {
        "storage": {
            "storage_type": "Postgres",
            "backends": {"postgres": {"host": "h", "db": "d", "password": "p"}},
        }
    }
    assert where(config.stores_of(kbs, attestation, rvps)) == [
        "LocalFs /a",
        "LocalJson /opt/confidential-containers/storage/local_json",
        "Postgres postgresql://h/d",
    ]


def test_what_is_not_read_is_told() -> None:
    kbs = {
        "storage_backend": {"storage_type": "Redis"},
        "plugins": [{"name": "resource", "type": "Vault"}, {"name": "sample", "item": "x"}],
    }
    found = config.stores_of(kbs, None, {"storage": {"type": "LocalFs", "file_path": "/sled"}})
    assert where(found) == []
    assert len(found.notes) == 4
    assert len(config.stores_of({}).notes) == 3


def test_older_configurations_are_read(world: World, tmp_path: Path) -> None:
    (tmp_path / "repository/default/key").mkdir(parents=True)
    (tmp_path / "repository/default/key/1").write_bytes(SECRET)
    (tmp_path / "policy.rego").write_text(RESOURCE_POLICY)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/default_cpu.rego").write_text(CPU_POLICY)
    (tmp_path / "policies/notes.txt").write_text("x")
    values = [
        {
            "version": "0.1.0",
            "name": "mr_td",
            "expired": "2027-01-01T00:00:00Z",
            "hash-value": [{"alg": "sha384", "value": "aa"}, {"alg": "sha384", "value": "bb"}],
        }
    ]
    (tmp_path / "values.json").write_text(json.dumps(values))
    kbs = {
        "repository_config": {"type": "LocalFs", "dir_path": str(tmp_path / "repository")},
        "policy_engine": {"policy_path": str(tmp_path / "policy.rego")},
        "attestation_service": {
            "attestation_token_broker": {"policy_dir": str(tmp_path / "policies")},
        },
    }
    rvps = {"storage": {"type": "LocalJson", "file_path": str(tmp_path / "values.json")}}
    report = world.run(config.stores_of(kbs, None, rvps).stores)
    assert report.counts == {"stored": 4}
    assert world.declared()["mr_td"].value == ["aa", "bb"]


@pytest.mark.parametrize(
    "document",
    [
        b"storage_backend = 1",
        b'{"storage_backend": ["x"]}',
        b"[storage_backend]\nstorage_type = 'LocalFs'\nbackends.local_fs.dir_path = 1",
        b"[storage_backend]\nstorage_type = 'Postgres'\nbackends.postgres.port = 'x'",
        b"= broken",
        b"\xff",
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path, document: bytes) -> None:
    path = tmp_path / "kbs-config.toml"
    path.write_bytes(document)
    with pytest.raises(TouchstoneError):
        config.stores_of(config.read(path))
