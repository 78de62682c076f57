"""Intel's kinds of items: TCB info, QE identity, revocation lists of the root and the PCK authorities.

Names::

    intel/root-ca.crl                            DER
    intel/pck-platform.crl, .chain.pem           DER; PCK authority and root, PEM (also pck-processor)
    intel/tdx/tcb-00806f050000.json, .chain.pem  as Intel's service gave it; TCB signing and root, PEM
    intel/tdx/qe-identity.json, .chain.pem       as Intel's service gave it (also sgx/)
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64url_decode, hex_decode
from common.errors import Malformed
from verifier.endorsements.intel_addresses import (
    CAS,
    CHAIN,
    CRL_HEADER,
    FMSPC_BYTES,
    QE_HEADER,
    ROOT_CRL,
    TCB_HEADER,
    VENDOR,
    chain_of,
    checked_ca,
    der_list,
    document_of,
    fmspc_of,
    pck_crl_ask,
    qe_ask,
    root_crl_ask,
    tcb_ask,
)
from verifier.endorsements.kinds import Ask, CollateralKind, Facts, Parameter
from verifier.endorsements.marks import EvaluationMarks
from verifier.errors import CollateralMismatch, CollateralRolledBack
from verifier.intel.certificates import Anchor, Anchors, intel_root
from verifier.intel.chain import verify_qe
from verifier.intel.endorsements import open_pck_crl, open_qe_identity, open_root_crl, open_tcb_info
from verifier.intel.quote import parse_quote
from verifier.intel.revocation import MAX_CRL_BYTES
from verifier.intel.signed_json import MAX_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from verifier.endorsements.kinds import Item, Sources

_PARAMETERS: Final = (
    Parameter("fmspc", "FMSPC of the platform, 6 bytes.", "HEX"),
    Parameter("ca", "Authority of the PCK certificates; both otherwise.", "platform|processor"),
    Parameter("evaluation", "TCB evaluation number to ask for; [collateral] pcs_update otherwise.", "N"),
)


def kinds(tee: str, anchor: Anchor | None = None) -> tuple[CollateralKind, ...]:
    """The kinds of a TEE (``tdx``, ``sgx``), below Intel's pinned root, or below another."""
    return (
        CollateralKind(
            name="intel.root-crl",
            title="revocation list of the Intel SGX Root CA",
            vendor=VENDOR,
            glob=ROOT_CRL,
            verify=lambda item, _now: _root_crl_facts(item, anchor or _root()),
            max_bytes=MAX_CRL_BYTES,
            asks=lambda _given, sources: (root_crl_ask(sources),),
            unpack=lambda answer: (der_list(answer.body), {}),
            again=lambda _name: {},
            needs=lambda _evidence: ({},),
        ),
        CollateralKind(
            name="intel.pck-crl",
            title="revocation list of an Intel PCK authority",
            vendor=VENDOR,
            glob="intel/pck-*.crl",
            companions=(CHAIN,),
            renewed_often=True,
            verify=lambda item, _now: _pck_crl_facts(item, anchor or _root()),
            max_bytes=MAX_CRL_BYTES,
            parameters=_PARAMETERS,
            asks=_pck_crl_asks,
            unpack=lambda answer: (der_list(answer.body), chain_of(answer, CRL_HEADER)),
            again=_pck_crl_again,
            needs=lambda evidence: ({"ca": _platform(evidence, anchor)[1]},),
        ),
        CollateralKind(
            name=f"{tee}.tcb-info",
            title=f"TCB info of Intel {tee.upper()}",
            vendor=VENDOR,
            glob=f"intel/{tee}/tcb-*.json",
            companions=(CHAIN,),
            renewed_often=True,
            verify=lambda item, _now: _tcb_facts(item, tee, anchor or _root()),
            max_bytes=MAX_BODY_BYTES,
            parameters=_PARAMETERS,
            asks=lambda given, sources: _tcb_asks(tee, given, sources),
            unpack=lambda answer: (answer.body, chain_of(answer, TCB_HEADER)),
            again=_tcb_again,
            needs=lambda evidence: ({"fmspc": _platform(evidence, anchor)[0].hex()},),
            admission=_HighWaterMark(tee),
        ),
        CollateralKind(
            name=f"{tee}.qe-identity",
            title=f"QE identity of Intel {tee.upper()}",
            vendor=VENDOR,
            glob=f"intel/{tee}/qe-identity.json",
            companions=(CHAIN,),
            renewed_often=True,
            verify=lambda item, _now: _qe_facts(item, tee, anchor or _root()),
            max_bytes=MAX_BODY_BYTES,
            parameters=_PARAMETERS,
            asks=lambda given, sources: (qe_ask(tee, sources, given.get("evaluation")),),
            unpack=lambda answer: (answer.body, chain_of(answer, QE_HEADER)),
            again=lambda _name: {},
            needs=lambda _evidence: ({},),
        ),
    )


class _HighWaterMark:
    """``Admission`` of TCB infos: none is of an older evaluation than one seen for its platform."""

    def __init__(self, tee: str) -> None:
        self._tee = tee
        self._marks = cache(EvaluationMarks)

    def require(self, folder: Path | None, item: Item, facts: Facts) -> None:
        """Hold the evaluation number against the mark."""
        floor = self._marks(folder).floor(self._tee, fmspc_of(item.name)) if folder is not None else 0
        if (facts.number or 0) < floor:
            raise CollateralRolledBack(
                f"{item.name} is of TCB evaluation {facts.number}, and {floor} was seen before"
            )

    def note(self, folder: Path | None, item: Item, facts: Facts) -> None:
        """Raise the mark."""
        if folder is not None:
            self._marks(folder).note(self._tee, fmspc_of(item.name), facts.number or 0)


@cache
def _root() -> Anchor:
    return intel_root()


def _root_crl_facts(item: Item, anchor: Anchor) -> Facts:
    crl = open_root_crl(item.data, anchor)
    return Facts(subject="root", issued=crl.issue_date, not_after=crl.next_update, revoked=len(crl.revoked))


def _pck_crl_facts(item: Item, anchor: Anchor) -> Facts:
    ca = checked_ca(item.name.removeprefix("intel/pck-").removesuffix(".crl"))
    found = open_pck_crl(document_of(item), ca, anchor)
    ends = (found.crl.next_update, found.issuer.not_valid_after_utc)
    return Facts(
        subject=ca, issued=found.crl.issue_date, not_after=min(ends), revoked=len(found.crl.revoked)
    )


def _tcb_facts(item: Item, tee: str, anchor: Anchor) -> Facts:
    fmspc = fmspc_of(item.name)
    info = open_tcb_info(document_of(item), tee, anchor)
    if info.fmspc != fmspc:
        raise CollateralMismatch(f"{item.name} is the TCB info of FMSPC {info.fmspc.hex()}")
    return Facts(
        subject=fmspc.hex(),
        issued=info.issue_date,
        not_after=min(info.next_update, info.signer.not_after),
        number=info.evaluation_number,
    )


def _qe_facts(item: Item, tee: str, anchor: Anchor) -> Facts:
    identity = open_qe_identity(document_of(item), tee, anchor)
    return Facts(
        subject=tee,
        issued=identity.issue_date,
        not_after=min(identity.next_update, identity.signer.not_after),
        number=identity.evaluation_number,
    )


def _pck_crl_asks(given: Mapping[str, str], sources: Sources) -> tuple[Ask, ...]:
    cas = (checked_ca(given["ca"]),) if "ca" in given else CAS
    return tuple(pck_crl_ask(ca, sources) for ca in cas)


def _pck_crl_again(name: str) -> Mapping[str, str] | None:
    ca = name.removeprefix("intel/pck-").removesuffix(".crl")
    return {"ca": ca} if ca in CAS else None


def _tcb_asks(tee: str, given: Mapping[str, str], sources: Sources) -> tuple[Ask, ...]:
    if "fmspc" not in given:
        return ()
    fmspc = hex_decode(given["fmspc"].lower(), what="fmspc", length=FMSPC_BYTES)
    return (tcb_ask(tee, fmspc, sources, given.get("evaluation")),)


def _tcb_again(name: str) -> Mapping[str, str] | None:
    try:
        return {"fmspc": fmspc_of(name).hex()}
    except Malformed:
        return None


def _platform(evidence: Any, anchor: Anchor | None) -> tuple[bytes, str]:
    """FMSPC and PCK authority of a quote, from the chain that is verified in it."""
    quote = parse_quote(b64url_decode(evidence.quote, what="quote"))
    anchors = Anchors(() if anchor is None else (anchor.certificate,))
    qe = verify_qe(quote.proof, anchors)
    return qe.pck.fmspc, qe.ca
