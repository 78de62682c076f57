"""A second implementation's word on the cryptography of a quote: dcap-qvl, behind a small port.

dcap-qvl refuses by policies of its own as well (debug, SEPT_VE_DISABLE, migration, reserved attribute bits,
revoked or unknown TCB levels), and does not know every format. Its words are therefore sorted:

* it accepts, or refuses by a policy that it applies only after every signature has verified: confirmed;
* it does not know the format: no opinion;
* anything else, also what is not known here: refused.

That the policies come last in it is held by tests: a quote that breaks one of them and has a broken
signature too is refused for the signature.

Nothing of it fetches: only its verification with the collateral at hand is called.
"""

from __future__ import annotations

import importlib
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import DependencyMissing

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.intel.certificates import Anchor
    from verifier.intel.collateral import Collateral

_CACHED: Final = 64
# Said after the signatures of collateral, chain, quoting enclave and quote were verified.
_POLICIES: Final = (
    "Debug mode is enabled",
    "TD profiling is enabled",
    "SERVTD_EXT is enabled",
    "SEPT_VE_DISABLE is not enabled",
    "TD migration is enabled",
    "Reserved bits in TD attributes are set",
    "PKS is enabled",
    "KL is enabled",
    "Invalid MR service TD",
    "No matching TCB level found",
    "TCB status is invalid: Revoked",
)
# Said of forms that it does not take.
_UNKNOWN_FORMS: Final = (
    "SGX TEE quote must have version 3",
    "Unsupported DCAP quote version",
    "Unsupported body type",
    "Invalid QE auth data length",
    "Unsupported QE Identity id/version",
)


class Opinion(StrEnum):
    """What the second implementation makes of the cryptography."""

    CONFIRMED = "confirmed"
    REFUSED = "refused"
    NONE = "none"


class Answer(msgspec.Struct, frozen=True):
    """An opinion and its words.

    Attributes:
        opinion: see there.
        words: of the implementation, shortened.
    """

    opinion: Opinion
    words: str


class SecondOpinion(Protocol):
    """The port."""

    def of(self, quote: bytes, collateral: Collateral, anchor: Anchor, now: datetime) -> Answer:
        """What it makes of a quote with the collateral that the first implementation used."""


class DcapQvl:
    """dcap-qvl (package ``dcap-qvl``).

    Raises:
        DependencyMissing: it is not installed.
    """

    def __init__(self) -> None:
        """Import it, now rather than at the first quote."""
        try:
            dcap_qvl: Any = importlib.import_module("dcap_qvl")
        except ImportError as error:
            raise DependencyMissing("the second opinion needs the package dcap-qvl") from error
        self._library = dcap_qvl
        self._verifier_of = lru_cache(maxsize=_CACHED)(dcap_qvl.QuoteVerifier)
        self._collateral_of = lru_cache(maxsize=_CACHED)(self._converted)

    def of(self, quote: bytes, collateral: Collateral, anchor: Anchor, now: datetime) -> Answer:
        """Its word, sorted."""
        seconds = int(now.timestamp())
        try:
            theirs = self._collateral_of(collateral.documents, collateral.root_list)
            verifier = self._verifier_of(anchor.certificate.public_bytes(Encoding.DER))
            policy = self._library.QuotePolicy.claims_only(seconds)
            verifier.verify_with_policy(quote, theirs, seconds, policy)
        except ValueError as error:
            return sorted_out(str(error))
        return Answer(Opinion.CONFIRMED, "verified")

    def _converted(self, documents: tuple[Any, ...], root_list: bytes) -> Any:
        info, identity, pck_list = documents
        info_text, info_signature = _split(info.body, "tcbInfo")
        identity_text, identity_signature = _split(identity.body, "enclaveIdentity")
        return self._library.QuoteCollateralV3(
            pck_crl_issuer_chain=pck_list.chain.decode(),
            root_ca_crl=root_list,
            pck_crl=pck_list.body,
            tcb_info_issuer_chain=info.chain.decode(),
            tcb_info=info_text,
            tcb_info_signature=info_signature,
            qe_identity_issuer_chain=identity.chain.decode(),
            qe_identity=identity_text,
            qe_identity_signature=identity_signature,
        )


def sorted_out(words: str) -> Answer:
    """An answer of the words that dcap-qvl refuses with."""
    short = " ".join(words.split())[:200]
    if any(form in words for form in _UNKNOWN_FORMS):
        return Answer(Opinion.NONE, short)
    return Answer(Opinion.CONFIRMED if any(p in words for p in _POLICIES) else Opinion.REFUSED, short)


def _split(body: bytes, member: str) -> tuple[str, bytes]:
    raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return bytes(raw[member]).decode(), bytes.fromhex(msgspec.json.decode(raw["signature"], type=str))
