"""A Rekor-v1-like transparency log: Merkle tree, signed checkpoints, signed entry timestamps.

Sources: RFC 6962 section 2.1 (tree and audit path); transparency-dev/formats, log/README.md
(checkpoint); sigstore/rekor openapi.yaml (signed entry timestamp).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from common import strict_json
from common.encoding import b64_encode
from testkit.authority.certificates import spki

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class TransparencyLog:
    """An append-only log in memory.

    Args:
        origin: its name in checkpoints.
    """

    def __init__(self, origin: str) -> None:
        """Make a fresh key and an empty tree."""
        self.origin = origin
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.log_id = hashlib.sha256(spki(self.key)).digest()
        self._leaves: list[bytes] = []

    def append(
        self, body: dict[str, Any], *, moment: datetime, proof: bool = True, promise: bool = True
    ) -> dict[str, Any]:
        """Log ``body`` and return the bundle's TransparencyLogEntry.

        Args:
            body: canonicalised by this method.
            moment: integrated time.
            proof: give an inclusion proof with checkpoint.
            promise: give a signed entry timestamp.
        """
        data = strict_json.canonical(body)
        index = len(self._leaves)
        self._leaves.append(_hash(b"\x00" + data))
        entry: dict[str, Any] = {
            "logIndex": str(index),
            "logId": {"keyId": b64_encode(self.log_id)},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "integratedTime": str(int(moment.timestamp())),
            "canonicalizedBody": b64_encode(data),
        }
        if promise:
            timestamp = self._sign(self._promised(data, index, moment))
            entry["inclusionPromise"] = {"signedEntryTimestamp": b64_encode(timestamp)}
        if proof:
            entry["inclusionProof"] = self._proof(index)
        return entry

    def _promised(self, data: bytes, index: int, moment: datetime) -> bytes:
        return strict_json.canonical(
            {
                "body": b64_encode(data),
                "integratedTime": int(moment.timestamp()),
                "logID": self.log_id.hex(),
                "logIndex": index,
            }
        )

    def _proof(self, index: int) -> dict[str, Any]:
        root = b64_encode(_tree(self._leaves))
        size = len(self._leaves)
        note = f"{self.origin}\n{size}\n{root}\n"
        signature = b64_encode(self.log_id[:4] + self._sign(note.encode()))
        return {
            "logIndex": str(index),
            "rootHash": root,
            "treeSize": str(size),
            "hashes": [b64_encode(item) for item in _path(index, self._leaves)],
            "checkpoint": {"envelope": f"{note}\n\u2014 {self.origin} {signature}\n"},
        }

    def _sign(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


def _tree(leaves: Sequence[bytes]) -> bytes:
    """Merkle tree hash of leaf hashes (RFC 6962 section 2.1)."""
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _hash(b"\x01" + _tree(leaves[:split]) + _tree(leaves[split:]))


def _path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Audit path, leaf to root (RFC 6962 section 2.1.1)."""
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*_path(index, leaves[:split]), _tree(leaves[split:])]
    return [*_path(index - split, leaves[split:]), _tree(leaves[:split])]


def _split(count: int) -> int:
    """The largest power of two smaller than ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
