"""QE identity: which enclave may quote, and what Intel says of each of its versions.

Source: Intel PCS API version 4, ``Get SGX QE Identity`` and ``Get TDX QE Identity``.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from verifier.errors import CollateralInvalid, CollateralMismatch
from verifier.intel.signed_json import Opened, Signer, decode
from verifier.intel.tcb_info import Instant, IsvLevel, IsvLevelJson, isv_levels, unhex

MEMBER: Final = "enclaveIdentity"
_IDS: Final = {"SGX": "QE", "TDX": "TD_QE"}
_VERSIONS: Final = (2, 3)
_MISC_BYTES: Final = 4
_ATTRIBUTES_BYTES: Final = 16
_SIGNER_BYTES: Final = 32


class QeIdentity(msgspec.Struct, frozen=True):
    """A QE identity that Intel signed.

    Attributes:
        tee: ``SGX`` or ``TDX``.
        issue_date: UTC.
        next_update: UTC.
        evaluation_number: of the TCB evaluation.
        misc_select: MISCSELECT under its mask, 4 bytes, as they stand in the report.
        misc_mask: the bits that count.
        attributes: ATTRIBUTES under its mask, 16 bytes.
        attributes_mask: the bits that count.
        mr_signer: 32 bytes.
        isv_prod_id: product id.
        levels: highest first.
        sha256: of the signed bytes, hex.
        signer: who signed.
    """

    tee: str
    issue_date: datetime
    next_update: datetime
    evaluation_number: int
    misc_select: bytes
    misc_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mr_signer: bytes
    isv_prod_id: int
    levels: tuple[IsvLevel, ...]
    sha256: str
    signer: Signer


class _QeIdentity(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    version: int
    issue_date: Instant
    next_update: Instant
    tcb_evaluation_data_number: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
    miscselect: str
    miscselect_mask: str
    attributes: str
    attributes_mask: str
    mrsigner: str
    isvprodid: Annotated[int, Meta(ge=0, le=65535)]
    tcb_levels: tuple[IsvLevelJson, ...]


def read_qe_identity(opened: Opened, tee: str) -> QeIdentity:
    """Read a QE identity whose signature was verified.

    Raises:
        CollateralInvalid: not of the published form.
        CollateralMismatch: of another enclave than that of ``tee`` (``SGX``, ``TDX``).
    """
    document = decode(opened, _QeIdentity, MEMBER)
    if document.id != _IDS[tee]:
        raise CollateralMismatch(f"the enclave identity is of {document.id}, not of {_IDS[tee]}")
    if document.version not in _VERSIONS or not document.tcb_levels:
        raise CollateralInvalid(f"QE identity version {document.version} is not known, or has no levels")
    return QeIdentity(
        tee=tee,
        issue_date=document.issue_date,
        next_update=document.next_update,
        evaluation_number=document.tcb_evaluation_data_number,
        # Written as a number, most significant byte first; in the report the least comes first.
        misc_select=unhex(document.miscselect, _MISC_BYTES, "miscselect")[::-1],
        misc_mask=unhex(document.miscselect_mask, _MISC_BYTES, "miscselectMask")[::-1],
        attributes=unhex(document.attributes, _ATTRIBUTES_BYTES, "attributes"),
        attributes_mask=unhex(document.attributes_mask, _ATTRIBUTES_BYTES, "attributesMask"),
        mr_signer=unhex(document.mrsigner, _SIGNER_BYTES, "mrsigner"),
        isv_prod_id=document.isvprodid,
        levels=isv_levels(document.tcb_levels, "the QE identity"),
        sha256=opened.sha256,
        signer=opened.signer,
    )
