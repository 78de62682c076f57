"""Where Intel's items are asked for, how they are called here, and how answers are taken apart.

Source: Intel PCS API version 4: addresses, and headers with URL-encoded chains. A PCCS answers the same
addresses, and has the root's list at ``rootcacrl``, in hex. Intel's own service gives that list at the
address in the pinned root, which is a constant here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import hex_decode
from common.errors import Malformed
from verifier.endorsements.kinds import Ask
from verifier.errors import CrlInvalid
from verifier.intel.certificates import MAX_CHAIN_BYTES
from verifier.intel.endorsements import SignedDocument

if TYPE_CHECKING:
    from common.fetch import Answer
    from verifier.endorsements.kinds import Item, Sources

VENDOR: Final = "intel"
PCS: Final = "https://api.trustedservices.intel.com"
ROOT_CRL_URL: Final = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
CHAIN: Final = ".chain.pem"
CAS: Final = ("platform", "processor")
ROOT_CRL: Final = "intel/root-ca.crl"
UPDATES: Final = ("standard", "early")
FMSPC_BYTES: Final = 6
_MAX_EVALUATION: Final = 0xFFFFFFFF
_PEM_CRL: Final = b"-----BEGIN X509 CRL-----"
_HEX: Final = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
CRL_HEADER: Final = ("sgx-pck-crl-issuer-chain",)
QE_HEADER: Final = ("sgx-enclave-identity-issuer-chain",)
TCB_HEADER: Final = ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain")


def pck_crl_name(ca: str) -> str:
    """Name of a PCK authority's list."""
    return f"intel/pck-{ca}.crl"


def tcb_name(tee: str, fmspc: bytes) -> str:
    """Name of a platform's TCB info."""
    return f"intel/{tee}/tcb-{fmspc.hex()}.json"


def qe_name(tee: str) -> str:
    """Name of the QE identity."""
    return f"intel/{tee}/qe-identity.json"


def root_crl_ask(sources: Sources) -> Ask:
    """Where the root's list is asked for: a PCCS has it among the rest, Intel has it elsewhere."""
    urls = (
        ROOT_CRL_URL if base == PCS else f"{base}/sgx/certification/v4/rootcacrl"
        for base in sources.of(VENDOR, PCS)
    )
    return Ask(ROOT_CRL, tuple(urls))


def pck_crl_ask(ca: str, sources: Sources) -> Ask:
    """Where a PCK authority's list is asked for."""
    query = f"pckcrl?ca={ca}&encoding=der"
    return Ask(
        pck_crl_name(ca),
        tuple(f"{base}/sgx/certification/v4/{query}" for base in sources.of(VENDOR, PCS)),
    )


def tcb_ask(tee: str, fmspc: bytes, sources: Sources, evaluation: str | None = None) -> Ask:
    """Where a platform's TCB info is asked for."""
    query = f"tcb?fmspc={fmspc.hex()}&{update_query(sources, evaluation)}"
    return Ask(
        tcb_name(tee, fmspc),
        tuple(f"{base}/{tee}/certification/v4/{query}" for base in sources.of(VENDOR, PCS)),
    )


def qe_ask(tee: str, sources: Sources, evaluation: str | None = None) -> Ask:
    """Where the QE identity is asked for."""
    query = f"qe/identity?{update_query(sources, evaluation)}"
    return Ask(
        qe_name(tee), tuple(f"{base}/{tee}/certification/v4/{query}" for base in sources.of(VENDOR, PCS))
    )


def document_of(item: Item) -> SignedDocument:
    """An item as Intel's verifiers take it."""
    return SignedDocument(item.data, item.companions.get(CHAIN, b""))


def der_list(data: bytes) -> bytes:
    """A revocation list in DER, of one in DER, PEM or hex.

    Raises:
        CrlInvalid: PEM that cannot be parsed.
    """
    text = data.strip()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text.decode("ascii"))
    if not text.startswith(_PEM_CRL):
        return data
    try:
        return x509.load_pem_x509_crl(text).public_bytes(Encoding.DER)
    except ValueError as error:
        raise CrlInvalid("the revocation list cannot be parsed") from error


def update_query(sources: Sources, evaluation: str | None) -> str:
    """The part of a query that says which TCB evaluation is meant.

    Raises:
        Malformed: neither an update that there is, nor a number.
    """
    if evaluation is None:
        if sources.update not in UPDATES:
            raise Malformed(f"the update is one of {', '.join(UPDATES)}")
        return f"update={sources.update}"
    if not (evaluation.isascii() and evaluation.isdecimal()) or int(evaluation[:11]) > _MAX_EVALUATION:
        raise Malformed("a TCB evaluation number is a decimal number of 32 bits")
    return f"tcbEvaluationDataNumber={int(evaluation)}"


def checked_ca(text: str) -> str:
    """``platform`` or ``processor``.

    Raises:
        Malformed: neither.
    """
    if text not in CAS:
        raise Malformed(f"a PCK authority is one of {', '.join(CAS)}")
    return text


def fmspc_of(name: str) -> bytes:
    """The FMSPC in the name of a TCB info.

    Raises:
        Malformed: there is none.
    """
    text = name.rpartition("/tcb-")[2].removesuffix(".json")
    if text != text.lower():
        raise Malformed("an FMSPC in a name is in lower case")
    return hex_decode(text, what="fmspc", length=FMSPC_BYTES)


def chain_of(answer: Answer, headers: tuple[str, ...]) -> dict[str, bytes]:
    """The companion with the chain, from the first of these headers that is there.

    Raises:
        Malformed: there is none, or it is not URL-encoded.
    """
    text = next((answer.headers[name] for name in headers if name in answer.headers), None)
    if text is None:
        raise Malformed(f"the answer has no header {headers[0]}")
    if len(text) > 3 * MAX_CHAIN_BYTES or not text.isascii():
        raise Malformed(f"the header {headers[0]} is too long, or is not URL-encoded")
    return {CHAIN: unquote_to_bytes(text)}
