"""A real TUF repository, made with python-tuf, in memory: each test breaks one thing of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from common.errors import FetchFailed

URL = "https://tuf.test"
TOP = ("root", "timestamp", "snapshot", "targets")


def later(**amount: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**amount)


class Repository:
    """Files by path, as a server would give them; ``publish`` writes the next version."""

    def __init__(self, target: bytes) -> None:
        self.signers = {role: CryptoSigner(Ed25519PrivateKey.generate()) for role in TOP}
        self.files: dict[str, bytes] = {}
        self.root = Root(version=1, expires=later(days=365), consistent_snapshot=True)
        for role, signer in self.signers.items():
            self.root.add_key(signer.public_key, role)
        self.version = 0
        self.tuf_root = self.publish_root()
        self.publish(target)

    def publish_root(self, extra: CryptoSigner | None = None) -> bytes:
        metadata = Metadata(self.root)
        metadata.sign(self.signers["root"])
        if extra is not None:
            metadata.sign(extra, append=True)
        data = metadata.to_bytes()
        self.files[f"{self.root.version}.root.json"] = data
        return data

    def rotate_root_key(self) -> None:
        """The next root is signed by the old key and the new one."""
        old, new = self.signers["root"], CryptoSigner(Ed25519PrivateKey.generate())
        self.root.revoke_key(old.public_key.keyid, "root")
        self.root.add_key(new.public_key, "root")
        self.root.version += 1
        self.signers["root"] = new
        self.publish_root(extra=old)

    def publish(
        self,
        target: bytes,
        *,
        version: int | None = None,
        expires: dict[str, datetime] | None = None,
        name: str = "trusted_root.json",
    ) -> None:
        self.version = version or self.version + 1
        ends = expires or {}
        info = TargetFile.from_data(name, target, ["sha256"])
        targets = Targets(self.version, expires=ends.get("targets", later(days=90)), targets={name: info})
        digest = info.hashes["sha256"]
        folder, _, base = name.rpartition("/")
        self.files[f"targets/{folder + '/' if folder else ''}{digest}.{base}"] = target
        self._write(targets, f"{self.version}.targets.json", "targets")
        snapshot = Snapshot(
            self.version,
            expires=ends.get("snapshot", later(days=30)),
            meta={"targets.json": MetaFile(self.version)},
        )
        self._write(snapshot, f"{self.version}.snapshot.json", "snapshot")
        timestamp = Timestamp(
            self.version,
            expires=ends.get("timestamp", later(days=7)),
            snapshot_meta=MetaFile(self.version),
        )
        self._write(timestamp, "timestamp.json", "timestamp")

    def _write(self, signed: Any, path: str, role: str) -> None:
        metadata = Metadata(signed)
        metadata.sign(self.signers[role])
        self.files[path] = metadata.to_bytes()


class FileFetcher:
    """``common.fetch.Fetcher`` over a repository's files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []

    def fetch(self, url: str) -> bytes:
        path = url.removeprefix(URL + "/")
        self.asked.append(path)
        if path not in self.files:
            raise FetchFailed(f"status 404: {path}", details={"status": 404})
        return self.files[path]
