"""Where Intel's verifiers get what quotes do not carry: TCB info, QE identity and revocation lists.

``IntelEndorsements`` is the port. ``check_*`` verify one document against a root, for stores that must know
before they write anything whether what they fetched is genuine and current. Nothing from here is trusted
before it is verified, and it is verified again at every use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from common import strict_json
from common.errors import Malformed
from verifier.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    CollateralInvalid,
)
from verifier.intel import qe_identity as qe_form
from verifier.intel import tcb_info as tcb_form
from verifier.intel.certificates import (
    CA_NAMES,
    Anchor,
    check_authority,
    intel_root,
    load_issuer_chain,
    require_issued,
    validity,
)
from verifier.intel.revocation import RevocationList, require_current, verify_list
from verifier.intel.signed_json import open_document, require_in_force

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from verifier.intel.qe_identity import QeIdentity
    from verifier.intel.tcb_info import TcbInfo

MAX_COLLATERAL_BYTES: Final = 2 << 20
_DOCUMENTS: Final = ("tcb_info", "qe_identity")


class SignedDocument(msgspec.Struct, frozen=True):
    """A document and who signed it, as it came.

    Attributes:
        body: exactly as Intel's service returned it: JSON of TCB info or QE identity with its signature,
            or the DER of a revocation list.
        chain: PEM, leaf first.
    """

    body: bytes
    chain: bytes


class IntelEndorsements(Protocol):
    """The port. ``tee`` is ``tdx`` or ``sgx``, ``ca`` is ``platform`` or ``processor``."""

    def tcb_info(self, tee: str, fmspc: bytes, now: datetime) -> SignedDocument | None:
        """The TCB info of a platform; None: none at hand."""

    def qe_identity(self, tee: str, now: datetime) -> SignedDocument | None:
        """The identity of the quoting enclave; None: none at hand."""

    def pck_crl(self, ca: str, now: datetime) -> SignedDocument | None:
        """The revocation list of a PCK authority, DER, with that authority's chain; None: none at hand."""

    def root_crl(self, now: datetime) -> bytes | None:
        """The root's revocation list, DER; None: none at hand."""

    def evaluation_floor(self, tee: str, fmspc: bytes) -> int:
        """The highest evaluation number that was seen for a platform; 0: none."""

    def note_evaluation(self, tee: str, fmspc: bytes, number: int) -> None:
        """Raise the high-water mark of a platform to ``number``, if it is lower."""


class FixedEndorsements:
    """Endorsements that are given once, in memory; every question gets the one document that there is.

    Whether it answers the question is for the verifier to find: it demands the right platform, enclave and
    authority of every document.

    Args:
        tcb_info: TCB info.
        qe_identity: QE identity.
        pck_crl: revocation list of a PCK authority.
        root_crl: the root's list, DER.
    """

    def __init__(
        self,
        *,
        tcb_info: SignedDocument | None = None,
        qe_identity: SignedDocument | None = None,
        pck_crl: SignedDocument | None = None,
        root_crl: bytes | None = None,
    ) -> None:
        """Keep what is given."""
        self._tcb_info = tcb_info
        self._qe_identity = qe_identity
        self._pck_crl = pck_crl
        self._root_crl = root_crl
        self._floors: dict[tuple[str, bytes], int] = {}

    @classmethod
    def from_json(cls, data: bytes) -> FixedEndorsements:
        """Of collateral that comes as one JSON object (``tcb_info``, ``tcb_info_signature`` ...).

        Raises:
            Malformed: not of that form. TooLarge: more than 2 MiB.
            CollateralInvalid: a document is not as it was signed.
        """
        given = strict_json.loads(data, what="collateral", max_bytes=MAX_COLLATERAL_BYTES)
        if not isinstance(given, dict):
            raise Malformed("the collateral is not an object")
        tcb_info, qe_identity = (_document(given, name) for name in _DOCUMENTS)
        pck_crl = _hex(given, "pck_crl")
        root_crl = _hex(given, "root_ca_crl")
        chain = _text(given, "pck_crl_issuer_chain").encode()
        return cls(
            tcb_info=tcb_info,
            qe_identity=qe_identity,
            pck_crl=None if pck_crl is None else SignedDocument(pck_crl, chain),
            root_crl=root_crl,
        )

    def tcb_info(self, tee: str, fmspc: bytes, now: datetime) -> SignedDocument | None:  # noqa: ARG002 (the port)
        """The one that there is."""
        return self._tcb_info

    def qe_identity(self, tee: str, now: datetime) -> SignedDocument | None:  # noqa: ARG002 (the port)
        """The one that there is."""
        return self._qe_identity

    def pck_crl(self, ca: str, now: datetime) -> SignedDocument | None:  # noqa: ARG002 (the port)
        """The one that there is."""
        return self._pck_crl

    def root_crl(self, now: datetime) -> bytes | None:  # noqa: ARG002 (the port)
        """The one that there is."""
        return self._root_crl

    def evaluation_floor(self, tee: str, fmspc: bytes) -> int:
        """The highest that was noted."""
        return self._floors.get((tee, fmspc), 0)

    def note_evaluation(self, tee: str, fmspc: bytes, number: int) -> None:
        """Keep the highest."""
        self._floors[tee, fmspc] = max(number, self.evaluation_floor(tee, fmspc))


class PckList(msgspec.Struct, frozen=True):
    """A PCK authority's revocation list, verified together with that authority.

    Attributes:
        ca: ``platform`` or ``processor``.
        issuer: the authority's certificate.
        crl: its list.
    """

    ca: str
    issuer: x509.Certificate
    crl: RevocationList


def check_tcb_info(
    document: SignedDocument,
    now: datetime,
    *,
    tee: str,
    fmspc: bytes | None = None,
    anchor: Anchor | None = None,
) -> TcbInfo:
    """Verify a TCB info: signer, signature, form, dates, and whose it is.

    Args:
        document: as it came.
        now: verification time.
        tee: ``tdx`` or ``sgx``.
        fmspc: 6 bytes that it must be for; None: any.
        anchor: root; Intel's by default.

    Raises:
        EndorsementError: it does not hold, or not now.
    """
    info = open_tcb_info(document, tee, anchor or intel_root())
    require_in_force(info.signer, info.issue_date, info.next_update, now, "the TCB info")
    if fmspc is not None:
        tcb_form.require_fmspc(info, fmspc)
    return info


def check_qe_identity(
    document: SignedDocument, now: datetime, *, tee: str, anchor: Anchor | None = None
) -> QeIdentity:
    """Verify a QE identity: signer, signature, form, dates, and of which enclave it is.

    Raises:
        EndorsementError: it does not hold, or not now.
    """
    identity = open_qe_identity(document, tee, anchor or intel_root())
    require_in_force(identity.signer, identity.issue_date, identity.next_update, now, "the QE identity")
    return identity


def check_pck_crl(
    document: SignedDocument, now: datetime, *, ca: str, anchor: Anchor | None = None
) -> RevocationList:
    """Verify the revocation list of a PCK authority (``platform``, ``processor``) with its chain.

    Raises:
        EndorsementError: it does not hold, or not now.
    """
    root = anchor or intel_root()
    found = open_pck_crl(document, ca, root)
    not_before, not_after = validity((found.issuer, root.certificate))
    if now < not_before:
        raise CertificateNotYetValid(f"the PCK {ca} CA is valid from {not_before.isoformat()}")
    if now > not_after:
        raise CertificateExpired(f"the PCK {ca} CA was valid to {not_after.isoformat()}")
    require_current(found.crl, now, f"the revocation list of the PCK {ca} CA")
    return found.crl


def check_root_crl(data: bytes, now: datetime, *, anchor: Anchor | None = None) -> RevocationList:
    """Verify the root's revocation list.

    Raises:
        EndorsementError: it does not hold, or not now.
    """
    crl = open_root_crl(data, anchor or intel_root())
    require_current(crl, now, "the revocation list of the root")
    return crl


def open_tcb_info(document: SignedDocument, tee: str, anchor: Anchor) -> TcbInfo:
    """What of ``check_tcb_info`` does not depend on the time."""
    opened = open_document(document.body, document.chain, tcb_form.MEMBER, anchor)
    return tcb_form.read_tcb_info(opened, tee.upper())


def open_qe_identity(document: SignedDocument, tee: str, anchor: Anchor) -> QeIdentity:
    """What of ``check_qe_identity`` does not depend on the time."""
    opened = open_document(document.body, document.chain, qe_form.MEMBER, anchor)
    return qe_form.read_qe_identity(opened, tee.upper())


def open_pck_crl(document: SignedDocument, ca: str, anchor: Anchor) -> PckList:
    """What of ``check_pck_crl`` does not depend on the time."""
    name = next(name for name, value in CA_NAMES.items() if value == ca)
    issuer = load_issuer_chain(document.chain, anchor, "the issuer chain of the PCK revocation list")
    key = check_authority(issuer, name)
    require_issued(issuer, anchor.certificate, anchor.key, name)
    crl = verify_list(document.body, issuer.subject, key, f"the revocation list of the PCK {ca} CA")
    return PckList(ca, issuer, crl)


def open_root_crl(data: bytes, anchor: Anchor) -> RevocationList:
    """What of ``check_root_crl`` does not depend on the time."""
    return verify_list(data, anchor.certificate.subject, anchor.key, "the revocation list of the root")


def _document(given: dict[str, object], name: str) -> SignedDocument | None:
    if name not in given:
        return None
    member = tcb_form.MEMBER if name == "tcb_info" else qe_form.MEMBER
    text, signature = _text(given, name), _text(given, f"{name}_signature")
    if text != text.strip() or not signature.isalnum():
        raise CollateralInvalid(f"{name} of the collateral is not as it was signed")
    body = f'{{"{member}":{text},"signature":"{signature}"}}'.encode()
    return SignedDocument(body, _text(given, f"{name}_issuer_chain").encode())


def _text(given: dict[str, object], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise Malformed(f"{name} of the collateral is not a text")
    return value


def _hex(given: dict[str, object], name: str) -> bytes | None:
    text = _text(given, name)
    if not text:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise Malformed(f"{name} of the collateral is not hex") from error
