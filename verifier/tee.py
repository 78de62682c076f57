"""A TEE as the rest of the product sees it: everything that is particular to one, in one record.

A TEE is one folder under ``verifier/``. Its module ``tee.py`` holds ``TEE``, a ``Tee``; ``verifier.tees``
finds it there, and settings, servers, the command line, the policies' explanations and the generated
documents take it from that record. Nothing else names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
from pydantic import Field

from common.section import Section
from verifier.endorsements.kinds import Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509

    from common.fetch import Fetcher
    from verifier.endorsements.kinds import CollateralKind
    from verifier.model import CocoForm, TeeVerifier
    from wire.evidence import EvidenceDocument


class TeeSection(Section):
    """Base of every TEE's section of the settings."""

    enabled: bool = Field(default=True, description="Accept its evidence.")


class Surroundings(msgspec.Struct, frozen=True):
    """What a configured verifier may rest on besides its section.

    Attributes:
        collateral: the endorsement store's folder, shared by all TEEs; each has sub-folders of its own.
        fetcher: gets what the folder lacks; None stays offline.
        sources: whom it asks.
    """

    collateral: Path
    fetcher: Fetcher | None = None
    sources: Sources = Sources()


class Inspection(msgspec.Struct, frozen=True):
    """What is given with a file that is to be judged offline (``touchstone verify``).

    Attributes:
        now: verification time.
        report_data: expected bytes; None for no expectation.
        certificates: that came beside the evidence.
        crl: one revocation list, DER or PEM.
        collateral: endorsement store's folder, read and never written.
        anchors: test roots that are trusted besides the vendor's.
        ek_roots: roots of TPM endorsement keys.
        attestation_keys: TPM attestation keys that are trusted without an EK certificate: names
            (nameAlg and digest), or SHA-256 of a SubjectPublicKeyInfo; a name is longer.
        pcr_selection: bank to the registers that a quote bound to ``report_data`` must cover, exactly;
            those that the evidence states otherwise.
        v2_product: product that a version 2 SNP report is taken for.
        vmpls: accepted SNP privilege levels.
        files: further files by the role that the TEE gives them (``event-log``, ``endorsements``).
    """

    now: datetime
    report_data: bytes | None = None
    certificates: tuple[x509.Certificate, ...] = ()
    crl: bytes | None = None
    collateral: Path | None = None
    anchors: tuple[x509.Certificate, ...] = ()
    ek_roots: tuple[x509.Certificate, ...] = ()
    attestation_keys: frozenset[bytes] = frozenset()
    pcr_selection: dict[str, tuple[int, ...]] | None = None
    v2_product: str | None = None
    vmpls: frozenset[int] = frozenset({0})
    files: dict[str, bytes] = {}


class CommonClaims(TypedDict, total=False):
    """What most TEEs can say, under one spelling (``input.common`` in a policy). Absent: the TEE cannot.

    Digests and identifiers are lower-case hex.

    Attributes:
        measurement: of what was launched (SNP MEASUREMENT, MRTD, MRENCLAVE, RIM).
        registers: runtime measurement registers, index as text to value.
        signer: who signed what was launched (ID key digest, MRSIGNER).
        launch_data: the field that init-data is bound to (HOST_DATA, MRCONFIGID, CONFIGID).
        debug: whether it can be looked into from outside.
        migratable: whether it can be moved to a machine that did not attest.
        tcb_status: ``up-to-date``, ``sw-hardening-needed``, ``configuration-needed``, ``out-of-date``,
            ``relaunch-advised``, ``revoked`` or ``unknown``; the worst of platform, module and quoter.
        tcb_date: RFC 3339, of the level that was met.
        advisories: ids of the vendor's advisories that apply.
        svn: security version of what was launched.
        product: the hardware's name.
    """

    measurement: str
    registers: dict[str, str]
    signer: str
    launch_data: str
    debug: bool
    migratable: bool
    tcb_status: str
    tcb_date: str
    advisories: list[str]
    svn: int
    product: str


class Tee(msgspec.Struct, frozen=True, kw_only=True):
    """One TEE.

    Attributes:
        name: tag of its evidence documents, of its claims' member and of its section in the settings; the
            name that Confidential Containers has for it, if it has one.
        title: for readers (``Intel TDX``).
        evidence: the evidence document.
        claims: TypedDict of its claims, ``input.<name>`` in a policy.
        binding_size: bytes of the field that binds a session.
        section: its settings.
        build: the configured verifier, of the section and the surroundings.
        offline: the verifier for one piece of evidence and one inspection.
        inspects: the members of ``Inspection`` that it has a use for, of ``certificates``, ``crl``,
            ``anchors``, ``ek_roots``, ``attestation_keys``, ``pcr_selection``, ``v2_product``; and of each
            role in ``files`` its name, as ``files.event-log``. What is given without use is refused.
        recognise: the document of a raw file of the TEE's own format; None: another format. Never raises
            for what is not its format; Malformed for what is, and is broken.
        contents: what evidence says of itself before anything vouches for it, for readers.
        coco: how Confidential Containers spells it, if it does.
        reference_names: well-known reference name to the claim that it is held against, a dotted path
            below the TEE's member. A name belongs to one TEE.
        identities: those of them that say which machine or key it is, not which release.
        insecure: of a section, one sentence for each switch in it that weakens a verdict.
        checks: what is checked, for docs/tees.md: (what, source) in order.
        unchecked: what is not, a sentence each.
        collateral: the kinds of items that it needs of the endorsement store; TEEs may share them.
    """

    name: str
    title: str
    evidence: type[EvidenceDocument]
    claims: type
    binding_size: int
    section: type[TeeSection]
    build: Callable[[Any, Surroundings], TeeVerifier]
    offline: Callable[[Any, Inspection], TeeVerifier]
    recognise: Callable[[bytes], EvidenceDocument | None] = lambda _data: None
    inspects: frozenset[str] = frozenset()
    contents: Callable[[Any], dict[str, Any]] = lambda _evidence: {}
    coco: CocoForm | None = None
    reference_names: Mapping[str, str] = {}
    identities: frozenset[str] = frozenset()
    insecure: Callable[[Any], Iterator[str]] = lambda _section: iter(())
    checks: tuple[tuple[str, str], ...] = ()
    unchecked: tuple[str, ...] = ()
    collateral: tuple[CollateralKind, ...] = ()
