"""The four documents that go with a quote: read, verified against the chain's own root, and current.

Order: TCB info and whose it is; QE identity; root list; list of the PCK's authority; revocation. The first
two come first, so that collateral of another platform is called that.

Invariants:

* All documents must lead to the root that the PCK chain leads to.
* A missing, expired or foreign document is a failure, never "not revoked" or "up to date".
* An evaluation number below the highest seen for the platform, or below the setting, is refused: still
  valid, but served by somebody who keeps a recovery from us.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from common.errors import TouchstoneError
from verifier.errors import (
    CertificateRevoked,
    CollateralMismatch,
    CollateralRolledBack,
    CrlInvalid,
    CrlMissing,
    EndorsementMissing,
)
from verifier.intel.endorsements import (
    PckList,
    SignedDocument,
    open_pck_crl,
    open_qe_identity,
    open_root_crl,
    open_tcb_info,
)
from verifier.intel.qe_identity import QeIdentity  # noqa: TC001 (msgspec resolves it at run time)
from verifier.intel.revocation import RevocationList, require_current
from verifier.intel.signed_json import require_in_force
from verifier.intel.tcb_info import TcbInfo, require_fmspc

if TYPE_CHECKING:
    from datetime import datetime

    from common.checks import Checks
    from verifier.intel.certificates import Anchor
    from verifier.intel.chain import VerifiedQe
    from verifier.intel.endorsements import IntelEndorsements

_CACHED: Final = 256
_PCS: Final = "Intel PCS API version 4"
_CRL_SOURCE: Final = "RFC 5280 section 6.3; Intel SGX PCK Certificate Profile section 2"


class Collateral(msgspec.Struct, frozen=True):
    """The documents as they came, and what they say.

    Attributes:
        documents: TCB info, QE identity, PCK revocation list.
        root_list: the root's revocation list, DER.
        info: TCB info.
        identity: QE identity.
        pck_list: list of the PCK's authority.
        root_crl: the root's list.
    """

    documents: tuple[SignedDocument, SignedDocument, SignedDocument]
    root_list: bytes
    info: TcbInfo
    identity: QeIdentity
    pck_list: PckList
    root_crl: RevocationList

    @property
    def issue_dates(self) -> tuple[datetime, ...]:
        """When each of the four was issued."""
        crls = (self.pck_list.crl, self.root_crl)
        return (self.info.issue_date, self.identity.issue_date, *(crl.issue_date for crl in crls))

    @property
    def next_updates(self) -> tuple[datetime, ...]:
        """When each of the four, and the signers of the first two, are no longer current."""
        signed = (self.info, self.identity)
        crls = (self.pck_list.crl, self.root_crl)
        return (
            *(document.next_update for document in signed),
            *(document.signer.not_after for document in signed),
            *(crl.next_update for crl in crls),
        )

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of what was relied on, hex: signed bytes, their signers' certificates, lists."""
        found = (
            self.info.sha256, self.info.signer.sha256, self.identity.sha256, self.identity.signer.sha256,
            self.pck_list.crl.sha256, self.root_crl.sha256,
        )  # fmt: skip
        return tuple(dict.fromkeys(found))


class CollateralReader:
    """Reads collateral of one TEE; each document is parsed and verified once.

    Args:
        tee: ``tdx`` or ``sgx``.
        minimum_evaluation: lowest acceptable evaluation number.
    """

    def __init__(self, tee: str, minimum_evaluation: int) -> None:
        """Start with empty caches."""
        self._tee = tee
        self._minimum = minimum_evaluation
        cached = lru_cache(maxsize=_CACHED)
        # Keyed by the root's digest: an anchor's certificate and key are not for comparing.
        self._anchors: dict[str, Anchor] = {}
        self._info_of = cached(lambda doc, root: open_tcb_info(doc, tee, self._anchors[root]))
        self._identity_of = cached(lambda doc, root: open_qe_identity(doc, tee, self._anchors[root]))
        self._list_of = cached(lambda doc, ca, root: open_pck_crl(doc, ca, self._anchors[root]))
        self._root_list_of = cached(lambda data, root: open_root_crl(data, self._anchors[root]))

    def read(
        self, endorsements: IntelEndorsements, qe: VerifiedQe, now: datetime, checks: Checks
    ) -> Collateral:
        """Get, verify and judge at ``now`` everything that Intel says of a platform.

        Raises:
            EndorsementError: a document is missing, does not hold, is not in force, or is for another
                platform; a certificate is revoked.
        """
        self._anchors.setdefault(qe.anchor.sha256, qe.anchor)
        info_document, info = self._tcb_info(endorsements, qe, now, checks)
        identity_document, identity = self._qe_identity(endorsements, qe, now, checks)
        self._require_evaluation(endorsements, info, identity, checks)
        root_data, root_crl = self._root_crl(endorsements, qe, now, checks)
        list_document, pck_list = self._pck_list(endorsements, qe, now, checks)
        collateral = Collateral(
            (info_document, identity_document, list_document), root_data, info, identity, pck_list, root_crl
        )
        _require_not_revoked(qe, collateral, checks)
        endorsements.note_evaluation(self._tee, info.fmspc, info.evaluation_number)
        return collateral

    def _tcb_info(
        self, endorsements: IntelEndorsements, qe: VerifiedQe, now: datetime, checks: Checks
    ) -> tuple[SignedDocument, TcbInfo]:
        wanted = f"TCB info of {self._tee.upper()}, FMSPC {qe.pck.fmspc.hex()}, PCEID {qe.pck.pceid.hex()}"
        document = endorsements.tcb_info(self._tee, qe.pck.fmspc, now)
        if document is None:
            checks.fail("intel.tcb_info", EndorsementMissing, expected=wanted, source=_PCS)
        try:
            info: TcbInfo = self._info_of(document, qe.anchor.sha256)
            require_fmspc(info, qe.pck.fmspc)
            if info.pceid != qe.pck.pceid:
                raise CollateralMismatch(f"the TCB info is of PCEID {info.pceid.hex()}")
            require_in_force(info.signer, info.issue_date, info.next_update, now, "the TCB info")
        except TouchstoneError as error:
            _fail(checks, "intel.tcb_info", error, wanted, _PCS)
        checks.require(
            "intel.tcb_info", ok=True, error=CollateralMismatch, expected=wanted, observed=info.sha256,
            source=_PCS,
        )  # fmt: skip
        return document, info

    def _qe_identity(
        self, endorsements: IntelEndorsements, qe: VerifiedQe, now: datetime, checks: Checks
    ) -> tuple[SignedDocument, QeIdentity]:
        wanted = f"QE identity of {self._tee.upper()}"
        document = endorsements.qe_identity(self._tee, now)
        if document is None:
            checks.fail("intel.qe_identity", EndorsementMissing, expected=wanted, source=_PCS)
        try:
            identity: QeIdentity = self._identity_of(document, qe.anchor.sha256)
            require_in_force(
                identity.signer, identity.issue_date, identity.next_update, now, "the QE identity"
            )
        except TouchstoneError as error:
            _fail(checks, "intel.qe_identity", error, wanted, _PCS)
        checks.require(
            "intel.qe_identity", ok=True, error=CollateralMismatch, expected=wanted,
            observed=identity.sha256, source=_PCS,
        )  # fmt: skip
        return document, identity

    def _require_evaluation(
        self, endorsements: IntelEndorsements, info: TcbInfo, identity: QeIdentity, checks: Checks
    ) -> None:
        floor = max(self._minimum, endorsements.evaluation_floor(self._tee, info.fmspc))
        checks.require(
            "intel.evaluation_number", info.evaluation_number >= floor, CollateralRolledBack,
            expected=floor, observed=info.evaluation_number, source=f"{_PCS}, tcbEvaluationDataNumber",
        )  # fmt: skip
        # The quoting enclave's identity is not of one platform: only the setting bounds it.
        checks.require(
            "intel.qe_identity.evaluation_number", identity.evaluation_number >= self._minimum,
            CollateralRolledBack, expected=self._minimum, observed=identity.evaluation_number,
            source=f"{_PCS}, tcbEvaluationDataNumber",
        )  # fmt: skip
        if identity.evaluation_number != info.evaluation_number:
            checks.warn(
                "intel.evaluation_numbers",
                observed=[info.evaluation_number, identity.evaluation_number],
                source=f"{_PCS}, tcbEvaluationDataNumber",
                note="TCB info and QE identity are of different TCB evaluations",
            )

    def _root_crl(
        self, endorsements: IntelEndorsements, qe: VerifiedQe, now: datetime, checks: Checks
    ) -> tuple[bytes, RevocationList]:
        wanted = "a current revocation list of the root"
        data = endorsements.root_crl(now)
        if data is None:
            checks.fail("intel.crl.root", CrlMissing, expected=wanted, source=_CRL_SOURCE)
        try:
            crl: RevocationList = self._root_list_of(data, qe.anchor.sha256)
            require_current(crl, now, "the revocation list of the root")
        except TouchstoneError as error:
            _fail(checks, "intel.crl.root", error, wanted, _CRL_SOURCE)
        checks.require(
            "intel.crl.root", ok=True, error=CrlInvalid, expected=wanted,
            observed=crl.next_update.isoformat(), source=_CRL_SOURCE,
        )  # fmt: skip
        return data, crl

    def _pck_list(
        self, endorsements: IntelEndorsements, qe: VerifiedQe, now: datetime, checks: Checks
    ) -> tuple[SignedDocument, PckList]:
        wanted = f"a current revocation list of the PCK {qe.ca} CA"
        document = endorsements.pck_crl(qe.ca, now)
        if document is None:
            checks.fail("intel.crl.pck", CrlMissing, expected=wanted, source=_CRL_SOURCE)
        try:
            found: PckList = self._list_of(document, qe.ca, qe.anchor.sha256)
            if found.issuer.public_key() != qe.issuer.public_key():
                raise CrlInvalid("the revocation list is of another key than the one that issued the PCK")
            require_current(found.crl, now, f"the revocation list of the PCK {qe.ca} CA")
        except TouchstoneError as error:
            _fail(checks, "intel.crl.pck", error, wanted, _CRL_SOURCE)
        checks.require(
            "intel.crl.pck", ok=True, error=CrlInvalid, expected=wanted,
            observed=found.crl.next_update.isoformat(), source=_CRL_SOURCE,
        )  # fmt: skip
        return document, found


def _require_not_revoked(qe: VerifiedQe, collateral: Collateral, checks: Checks) -> None:
    by_root = collateral.root_crl.revoked
    by_ca = collateral.pck_list.crl.revoked
    for name, serial, revoked in (
        ("root", qe.anchor.certificate.serial_number, by_root),
        ("ca", qe.issuer.serial_number, by_root),
        ("tcb_signing", collateral.info.signer.serial, by_root),
        ("qe_identity_signing", collateral.identity.signer.serial, by_root),
        ("crl_issuer", collateral.pck_list.issuer.serial_number, by_root),
        ("pck", qe.pck.certificate.serial_number, by_ca),
    ):
        if serial in revoked:
            checks.fail(
                f"intel.revocation.{name}", CertificateRevoked, expected="not revoked",
                observed=str(serial),
                source=_CRL_SOURCE, note=f"the {name} certificate is on its issuer's revocation list",
            )  # fmt: skip
    checks.require(
        "intel.revocation", ok=True, error=CertificateRevoked, expected="not revoked", source=_CRL_SOURCE
    )


def _fail(checks: Checks, name: str, error: TouchstoneError, wanted: str, source: str) -> NoReturn:
    checks.fail(name, type(error), expected=wanted, source=source, note=error.message)
