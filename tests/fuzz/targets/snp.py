"""Fuzz targets of SEV-SNP: report, certificate table, certificates and the JSON form."""

from __future__ import annotations

import base64
import contextlib
import json

from common.errors import TouchstoneError
from common.snp_report_json import from_json
from testkit.snp_firmware import SnpFirmware
from verifier.snp.certificates import load_certificate
from verifier.snp.chain import Anchors, certificates_of
from verifier.snp.platform import tcbs_of
from verifier.snp.products import Product, SigningKey
from verifier.snp.report import parse_report
from verifier.snp.revocation import verify_list
from verifier.snp.vek import check_vek

_FIRMWARE = SnpFirmware()
_CHAIN = _FIRMWARE.certificates()


def report(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        parsed = parse_report(data)
        for product in Product:
            tcbs_of(parsed, product)


def table(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        certificates_of((), base64.urlsafe_b64encode(data).rstrip(b"=").decode())


def certificate(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        load_certificate(data, "fuzz")
    for product in Product:
        for kind in SigningKey:
            with contextlib.suppress(TouchstoneError):
                check_vek(data, kind, product)


def revocation_list(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        verify_list(data, Anchors().amd(Product.MILAN))


def json_form(data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    with contextlib.suppress(TouchstoneError):
        from_json(document)


TARGETS = {
    "snp-report": report,
    "snp-table": table,
    "snp-certificate": certificate,
    "snp-crl": revocation_list,
    "snp-json": json_form,
}
SEEDS = {
    "snp-report": [_FIRMWARE.report(bytes(64))],
    "snp-certificate": list(_CHAIN.values()),
}
