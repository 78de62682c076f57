"""Fuzz targets of NVIDIA devices: exchange, opaque data, identity, OCSP, lists, manifests, JSON."""

from __future__ import annotations

import contextlib
import json

from common.errors import TouchstoneError
from testkit.nvidia_authority import NvidiaAuthority
from testkit.nvidia_device import TestDevice, encode_opaque
from verifier.errors import CrlInvalid
from verifier.nvidia import dice, revocation
from verifier.nvidia.chain import verify_chain
from verifier.nvidia.coco import NvidiaCocoForm
from verifier.nvidia.opaque import Opaque, parse_opaque
from verifier.nvidia.rim import verify_rim
from verifier.nvidia.spdm import parse_exchange

_AUTHORITY = NvidiaAuthority()
_DEVICE = TestDevice(_AUTHORITY)
_NONCE = bytes(32)
_PAIR = (_AUTHORITY.identity.certificate, _AUTHORITY.root.certificate)
_READERS = (
    Opaque.fwid,
    Opaque.gpu_vbios_version,
    Opaque.counts,
    Opaque.mode,
    Opaque.own_pdi,
    Opaque.linked_gpus,
    Opaque.linked_switches,
)


def exchange(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        parse_exchange(data)


def opaque(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        parsed = parse_opaque(data)
        for read in _READERS:
            with contextlib.suppress(TouchstoneError):
                read(parsed)


def identity(data: bytes) -> None:
    for oid in (dice.COMPOSITE_OID, dice.TCB_INFO_OID):
        with contextlib.suppress(TouchstoneError):
            dice.fwids(oid, data)


def chain(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        verify_chain((data,), (_PAIR[1],))


def response(data: bytes) -> None:
    with contextlib.suppress(CrlInvalid):
        revocation._response(data, *_PAIR, _PAIR[0].not_valid_before_utc)


def revocation_list(data: bytes) -> None:
    with contextlib.suppress(CrlInvalid):
        revocation._list(data, *_PAIR)


def manifest(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        verify_rim(data, (_AUTHORITY.rim_root.certificate,))


def json_form(data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    with contextlib.suppress(TouchstoneError):
        NvidiaCocoForm().evidence_of(document)


TARGETS = {
    "nvidia-exchange": exchange,
    "nvidia-opaque": opaque,
    "nvidia-fwid": identity,
    "nvidia-chain": chain,
    "nvidia-ocsp": response,
    "nvidia-crl": revocation_list,
    "nvidia-rim": manifest,
    "nvidia-json": json_form,
}
SEEDS = {
    "nvidia-exchange": [_DEVICE.exchange(_NONCE)],
    "nvidia-opaque": [encode_opaque(_DEVICE.fields), encode_opaque(_DEVICE.fields, typed=True)],
    "nvidia-fwid": [
        TestDevice(_AUTHORITY, chip).extensions()[1][0].value  # type: ignore[attr-defined]
        for chip in ("GH100", "GB100")
    ],
    "nvidia-ocsp": [_AUTHORITY.root.ocsp(_PAIR[0])],
    "nvidia-crl": [_AUTHORITY.root.crl()],
    "nvidia-rim": list(_DEVICE.manifests().values()),
    "nvidia-json": [json.dumps({"device_evidence_list": [_DEVICE.coco(_NONCE)]}).encode()],
}
