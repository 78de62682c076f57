"""Fuzz targets of Intel TDX and SGX: quotes, PCK chains and extensions, collateral, the JSON forms."""

from __future__ import annotations

import contextlib
import json

from common.encoding import b64url_encode
from common.errors import TouchstoneError
from testkit.intel_platform import IntelPlatform, sgx_extension
from verifier.intel import der
from verifier.intel.certificates import Anchors, load_chain
from verifier.intel.chain import verify_qe
from verifier.intel.endorsements import (
    FixedEndorsements,
    SignedDocument,
    check_pck_crl,
    check_qe_identity,
    check_root_crl,
    check_tcb_info,
)
from verifier.intel.qe_identity import read_qe_identity
from verifier.intel.quote import parse_quote
from verifier.intel.signed_json import Opened, Signer
from verifier.intel.tcb_info import read_tcb_info
from verifier.model import Unbound
from verifier.sgx.coco import SgxCocoForm
from verifier.tdx.coco import TdxCocoForm
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier

_PLATFORM = IntelPlatform()
_ANCHOR = Anchors((_PLATFORM.root,))
_ROOT = _ANCHOR.of_chain(_PLATFORM.root, "root")
_VERIFIER = TdxVerifier(TdxSettings(), _PLATFORM.endorsements(), extra_anchors=(_PLATFORM.root,))
_SIGNER = Signer(1, "", _PLATFORM.now, _PLATFORM.now, _PLATFORM.now)


def quote(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        verify_qe(parse_quote(data).proof, _ANCHOR)
    with contextlib.suppress(TouchstoneError):
        _VERIFIER.verify(TdxEvidence(quote=b64url_encode(data)), Unbound(), None, _PLATFORM.now)


def chain(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        load_chain(data, "fuzz")


def extension(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        for tag, content in der.by_oid(data, "fuzz").values():
            if tag == der.SEQUENCE:
                der.by_oid(der.sequence(content), "fuzz")


def signed_document(data: bytes) -> None:
    document = SignedDocument(data, _PLATFORM.chain(_PLATFORM.signing))
    with contextlib.suppress(TouchstoneError):
        check_tcb_info(document, _PLATFORM.now, tee="tdx", anchor=_ROOT)
    with contextlib.suppress(TouchstoneError):
        check_qe_identity(document, _PLATFORM.now, tee="sgx", anchor=_ROOT)


def signed_value(data: bytes) -> None:
    opened = Opened(data, "", _SIGNER)
    for tee in ("TDX", "SGX"):
        with contextlib.suppress(TouchstoneError):
            read_tcb_info(opened, tee)
        with contextlib.suppress(TouchstoneError):
            read_qe_identity(opened, tee)


def revocation_list(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        check_root_crl(data, _PLATFORM.now, anchor=_ROOT)
    authority = _PLATFORM.chain(_PLATFORM.authorities["platform"])
    with contextlib.suppress(TouchstoneError):
        check_pck_crl(SignedDocument(data, authority), _PLATFORM.now, ca="platform", anchor=_ROOT)


def collateral(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        FixedEndorsements.from_json(data)


def json_form(data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    for form in (TdxCocoForm(), SgxCocoForm()):
        with contextlib.suppress(TouchstoneError):
            form.evidence_of(document)


TARGETS = {
    "intel-quote": quote,
    "intel-chain": chain,
    "intel-extension": extension,
    "intel-document": signed_document,
    "intel-value": signed_value,
    "intel-crl": revocation_list,
    "intel-collateral": collateral,
    "intel-json": json_form,
}
SEEDS = {
    "intel-quote": [
        _PLATFORM.td_quote(),
        _PLATFORM.td_quote(version=5),
        _PLATFORM.sgx_quote(),
        _PLATFORM.sgx_quote(version=5),
    ],
    "intel-chain": [_PLATFORM.pck_chain()],
    "intel-extension": [sgx_extension(_PLATFORM.pck_values)],
    "intel-document": [_PLATFORM.signed("tcbInfo", _PLATFORM.tcb_info()).body],
    "intel-value": [
        json.dumps(_PLATFORM.tcb_info()).encode(),
        json.dumps(_PLATFORM.qe_identity("sgx")).encode(),
    ],
    "intel-crl": [_PLATFORM.crl(_PLATFORM.root_key)],
    "intel-collateral": [_PLATFORM.collateral_json()],
    "intel-json": [b'{"quote": "AAAA", "cc_eventlog": null}'],
}
