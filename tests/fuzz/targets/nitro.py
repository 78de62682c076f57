"""Fuzz targets of AWS Nitro Enclaves, and of the COSE and CBOR readers that it shares with Arm CCA."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.serialization import Encoding

from common import cbor, cose
from common.errors import TouchstoneError
from verifier import vendor_roots
from verifier.nitro.chain import ROOT_FILE, Roots, verify_chain
from verifier.nitro.document import parse

ROOTS = Roots()
ROOT = vendor_roots.load(ROOT_FILE).public_bytes(Encoding.DER)


def document(data: bytes) -> None:
    """An attestation document."""
    _swallow(lambda: parse(data))


def certificates(data: bytes) -> None:
    """A chain: the first byte says where the leaf ends and an intermediate begins."""
    if data:
        cut = data[0] * 4
        _swallow(lambda: verify_chain(data[1:cut], (ROOT, data[cut:]), ROOTS))


def sign1(data: bytes) -> None:
    """A COSE_Sign1."""
    _swallow(lambda: cose.parse(data, what="it", kind=cose.Sign1, tagged=None, key_id_unprotected=True))


def key(data: bytes) -> None:
    """A COSE_Key."""
    _swallow(lambda: cose.ec_key(data, what="it"))


def endless(data: bytes) -> None:
    """CBOR with indefinite lengths."""
    _swallow(lambda: cbor.decode(data, what="it", indefinite=True))


def _swallow(read: Callable[[], object]) -> None:
    try:
        read()
    except TouchstoneError:
        pass


TARGETS: dict[str, Callable[[bytes], None]] = {
    "nitro-document": document,
    "nitro-certificates": certificates,
    "cose-sign1": sign1,
    "cose-key": key,
    "cbor-indefinite": endless,
}
