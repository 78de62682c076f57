"""Fuzz targets of Arm CCA: every parser that bytes of others reach."""

from __future__ import annotations

from collections.abc import Callable

from common.errors import TouchstoneError
from verifier.cca import platform, realm
from verifier.cca import token as tokens
from verifier.cca.endorsements import read_key, read_store


def token(data: bytes) -> None:
    """A CCA token, with the claims of both parts."""
    try:
        parsed = tokens.parse(data)
    except TouchstoneError:
        return
    for read in (
        lambda: platform.parse(parsed.platform.fields),
        lambda: realm.rak_of(parsed.realm.fields),
        lambda: realm.parse(parsed.realm.fields),
    ):
        _swallow(read)


def attestation_key(data: bytes) -> None:
    """A key file of the endorsement store."""
    _swallow(lambda: read_key(data))


def trust_anchor_store(data: bytes) -> None:
    """A store of Confidential Containers."""
    _swallow(lambda: read_store(data))


def _swallow(read: Callable[[], object]) -> None:
    try:
        read()
    except TouchstoneError:
        pass


TARGETS: dict[str, Callable[[bytes], None]] = {
    "cca-token": token,
    "cca-attestation-key": attestation_key,
    "cca-trust-anchor-store": trust_anchor_store,
}
