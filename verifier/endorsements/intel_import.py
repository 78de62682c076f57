"""Collateral of a quote as one JSON object, as quote verification libraries pass it around, as items.

Members: ``tcb_info``, ``tcb_info_signature``, ``tcb_info_issuer_chain``, the same of ``qe_identity``,
``pck_crl`` and ``root_ca_crl`` in hex, ``pck_crl_issuer_chain``. Which platform and which authority it is
of is read from the documents; whether that is so is verified when the items are kept.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import Malformed
from verifier.endorsements.intel_addresses import (
    CHAIN,
    FMSPC_BYTES,
    ROOT_CRL,
    pck_crl_name,
    qe_name,
    tcb_name,
)
from verifier.endorsements.kinds import Item
from verifier.intel.certificates import CA_NAMES, common_name, load_chain
from verifier.intel.endorsements import FixedEndorsements
from verifier.intel.tcb_info import unhex

if TYPE_CHECKING:
    from verifier.intel.endorsements import SignedDocument

_MEMBER: Final = b'"tcb_info"'
_ANY: Final = datetime.min.replace(tzinfo=UTC)  # the port asks for a time; this answer has none


class _Named(msgspec.Struct, frozen=True):
    fmspc: str
    id: str = "SGX"  # version 2 has none, and is of SGX


class _Signed(msgspec.Struct, frozen=True, rename={"info": "tcbInfo"}):
    info: _Named


def is_quote_collateral(data: bytes) -> bool:
    """Whether a file looks like it."""
    return data.lstrip().startswith(b"{") and _MEMBER in data


def items_of(data: bytes) -> tuple[Item, ...]:
    """The items in it; verified by nobody yet.

    Raises:
        InputError: not of that form.
        EndorsementError: a document is not as it was signed.
    """
    given = FixedEndorsements.from_json(data)
    info = given.tcb_info("", b"", _ANY)
    identity = given.qe_identity("", _ANY)
    pck_crl = given.pck_crl("", _ANY)
    root_crl = given.root_crl(_ANY)
    if info is None or identity is None or pck_crl is None or root_crl is None:
        raise Malformed("the collateral is not whole: TCB info, QE identity and two lists belong to it")
    tee, fmspc = _platform(info.body)
    leaf = load_chain(pck_crl.chain, "the chain of the PCK revocation list")[0]
    name = common_name(leaf.subject)
    if name not in CA_NAMES:
        raise Malformed("the PCK revocation list is of no authority that is known here")
    return (
        Item(ROOT_CRL, root_crl),
        _item(pck_crl_name(CA_NAMES[name]), pck_crl),
        _item(tcb_name(tee, fmspc), info),
        _item(qe_name(tee), identity),
    )


def _platform(body: bytes) -> tuple[str, bytes]:
    try:
        info = msgspec.json.decode(body, type=_Signed).info
    except msgspec.MsgspecError as error:
        raise Malformed("the TCB info names no platform") from error
    if info.id not in ("TDX", "SGX"):
        raise Malformed("the TCB info is of neither TDX nor SGX")
    return info.id.lower(), unhex(info.fmspc, FMSPC_BYTES, "fmspc")


def _item(name: str, document: SignedDocument) -> Item:
    return Item(name, document.body, {CHAIN: document.chain})
