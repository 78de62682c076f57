"""Fuzz targets of Azure's HCL report, its runtime claims, and the evidence JSON of its VMs."""

from __future__ import annotations

import json

from common.errors import TouchstoneError
from testkit.azure_vtpm import hcl_report
from verifier.az_snp_vtpm.coco import AzSnpVtpmCocoForm
from verifier.azure.hcl import parse_hcl
from verifier.azure.runtime_claims import parse_runtime_claims

_CLAIMS = b'{"keys":[{"kid":"HCLAkPub","kty":"RSA","e":"AQAB","n":"'


def hcl(data: bytes) -> None:
    """A whole report."""
    try:
        parse_hcl(data).expected_report_data()
    except TouchstoneError:
        pass


def hcl_claims(data: bytes) -> None:
    """Runtime claims in a report that is sound otherwise."""
    hcl(hcl_report(bytes(1184), data[: 60 << 10], padding=b""))


def claims(data: bytes) -> None:
    """Runtime claims, whole or with a beginning that is right."""
    for text in (data, _CLAIMS + data):
        try:
            parse_runtime_claims(text)
        except TouchstoneError:
            pass


def coco(data: bytes) -> None:
    """Evidence JSON of Confidential Containers."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = {"version": 1, "hcl_report": data.decode("latin-1"), "tpm_quote": {}, "vcek": ""}
    try:
        AzSnpVtpmCocoForm().evidence_of(document)
    except TouchstoneError:
        pass


TARGETS = {"azure-hcl": hcl, "azure-hcl-claims": hcl_claims, "azure-claims": claims, "azure-coco": coco}
