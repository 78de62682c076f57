"""Offline inspection of evidence files: what `touchstone verify` does, without its options and printing.

Order: recognise the file; verify it at the given time against the given expectation; where a policy or
reference values are given, appraise it with exactly those. Nothing is fetched and nothing is stored.
Evidence that is bound to no expectation can be authentic; it can never affirm who it is.

More lenient than a server in two ways, which the result says: without a revocation list none is
consulted (check ``snp.crl``, not evaluated), and a VLEK of any cloud provider is accepted.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from common import strict_json
from common.encoding import b64url_decode, b64url_encode
from common.errors import InvalidSetting, Malformed, TouchstoneError
from policy import shipped
from policy.port import PolicyKind, PolicySource
from policy.regorus_engine import RegorusEngine
from rvps.model import Lineage, ReferenceValue
from rvps.static import StaticReferenceLookup
from verifier.appraisal import Appraiser
from verifier.collateral import CollateralStore
from verifier.errors import UnsupportedEvidence
from verifier.model import ReportDataBinding, Unbound, VerifiedEvidence
from verifier.snp import SnpSettings, SnpVerifier
from verifier.snp.products import Product
from verifier.snp.report import REPORT_BYTES, parse_report
from verifier.tpm import TpmSettings, TpmVerifier
from wire.evidence import Evidence, SnpCertificate, SnpEvidence, TpmEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from policy.port import CompiledPolicy
    from verifier.appraisal import Appraisal
    from verifier.snp.collateral import SnpCollateral
    from verifier.snp.products import SigningKey, Tcb

MAX_EVIDENCE_BYTES: Final = 8 << 20
_PEM: Final = b"-----BEGIN"
_VEK_PREFIX: Final = "SEV-"
_LOCAL: Final = "local file, unverified"
_POLICY_NAME: Final = "given"
_SHA256_BYTES: Final = 32


class Inspection(msgspec.Struct, frozen=True):
    """What is needed to judge a file.

    Attributes:
        now: verification time.
        report_data: expected bytes; None for no expectation.
        crl: revocation list of the ARK, DER or PEM.
        collateral: folder of lists and VCEKs (``verifier.collateral``), read and never written.
        anchors: test ARKs that are trusted besides AMD's.
        ek_roots: roots of TPM endorsement keys.
        attestation_keys: TPM attestation keys that are trusted without an EK certificate: names
            (nameAlg and digest), or SHA-256 of a SubjectPublicKeyInfo; a name is longer.
        pcr_selection: bank to the registers that a quote bound to ``report_data`` must cover, exactly;
            those that the evidence states otherwise.
        v2_product: product that a version 2 SNP report is taken for.
        vmpls: accepted SNP privilege levels.
    """

    now: datetime
    report_data: bytes | None = None
    crl: bytes | None = None
    collateral: Path | None = None
    anchors: tuple[x509.Certificate, ...] = ()
    ek_roots: tuple[x509.Certificate, ...] = ()
    attestation_keys: frozenset[bytes] = frozenset()
    pcr_selection: dict[str, tuple[int, ...]] | None = None
    v2_product: str | None = None
    vmpls: frozenset[int] = frozenset({0})


def recognise(data: bytes, certificates: Sequence[bytes] = ()) -> Evidence:
    """The evidence in a file: a JSON evidence document, or a raw SNP report.

    Args:
        data: the file.
        certificates: DER or PEM, for SNP evidence that brings none.

    Raises:
        Malformed: neither, a certificate that is none, or certificates where there is no use for them.
    """
    if not data:
        raise Malformed("the file is empty")
    # Told apart by the first byte: that of a report is its version, and no version is a brace.
    if data.lstrip().startswith(b"{"):
        evidence = _document(data)
    elif len(data) == REPORT_BYTES:
        evidence = SnpEvidence(report=b64url_encode(data))
    else:
        raise Malformed(
            f"the file ({len(data)} bytes) is neither a JSON evidence document nor"
            f" a {REPORT_BYTES}-byte SNP report",
            advice="docs/cli.md shows the formats that `touchstone verify` reads.",
        )
    if not certificates:
        return evidence
    if not isinstance(evidence, SnpEvidence) or evidence.certificates or evidence.auxblob is not None:
        raise Malformed("certificates go with SNP evidence that brings none itself")
    added = tuple(item for entry in certificates for item in _certificates(entry))
    return msgspec.structs.replace(evidence, certificates=added)


def _document(data: bytes) -> Evidence:
    document = strict_json.loads(data, what="evidence document", max_bytes=MAX_EVIDENCE_BYTES)
    try:
        evidence: Evidence = msgspec.convert(document, Evidence)
    except msgspec.MsgspecError as error:
        raise Malformed(f"this is no evidence document: {error}") from error
    return evidence


def unverified_contents(evidence: Evidence) -> dict[str, Any]:
    """What an SNP report says of itself, for evidence that was refused: nothing vouches for any of it.

    Returns:
        Field to value, bytes as hex; empty for other evidence and where the report cannot be parsed.
    """
    if not isinstance(evidence, SnpEvidence):
        return {}
    try:
        report = parse_report(b64url_decode(evidence.report, what="report"))
    except TouchstoneError:
        return {}
    fields = msgspec.structs.asdict(report)
    for name in ("r", "s", "signed"):
        del fields[name]
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


def verify(evidence: Evidence, inspection: Inspection) -> VerifiedEvidence:
    """Verify at ``inspection.now``.

    Raises:
        InputError, EvidenceError, EndorsementError: as ``verifier.model.TeeVerifier.verify``.
    """
    expected = Unbound() if inspection.report_data is None else ReportDataBinding(inspection.report_data)
    if isinstance(evidence, SnpEvidence):
        snp = SnpVerifier(
            _snp_settings(inspection), _GivenCollateral(inspection), extra_anchors=inspection.anchors
        )
        return snp.verify(evidence, expected, None, inspection.now)
    if not isinstance(evidence, TpmEvidence):
        raise UnsupportedEvidence("sample evidence proves nothing: there is nothing to verify offline")
    tpm = TpmVerifier(_tpm_settings(evidence, inspection))
    return tpm.verify(evidence, expected, None, inspection.now)


def appraise(
    verified: VerifiedEvidence, policy: str | None, references: Mapping[str, Sequence[Any]], now: datetime
) -> Appraisal:
    """Appraise by a policy (the shipped default if None) with reference values of a local file.

    Raises:
        PolicyError: the policy is refused.
    """
    source = (
        shipped.load(PolicyKind.APPRAISAL, "default")
        if policy is None
        else PolicySource(PolicyKind.APPRAISAL, policy)
    )
    appraiser = Appraiser(
        verifiers={},
        policies=_OnePolicy(RegorusEngine().compile(source)),
        references=StaticReferenceLookup(_values(references, verified.tee, now)),
        audience="offline",
    )
    return appraiser.appraise_verified(verified, now, policy=_POLICY_NAME, explain=True)


def parse_references(data: bytes) -> dict[str, list[Any]]:
    """``{"name": [value, ...]}`` as JSON.

    Raises:
        Malformed: another shape.
    """
    document = strict_json.loads(data, what="reference values")
    if not isinstance(document, dict) or not all(isinstance(item, list) for item in document.values()):
        raise Malformed("reference values are an object of name to list of values")
    return document


def load_certificates(data: bytes, *, what: str) -> tuple[x509.Certificate, ...]:
    """Certificates in PEM or DER.

    Raises:
        Malformed: neither.
    """
    try:
        if data.lstrip().startswith(_PEM):
            return tuple(x509.load_pem_x509_certificates(data))
        return (x509.load_der_x509_certificate(data),)
    except ValueError as error:
        raise Malformed(f"{what} holds no certificate") from error


class _OnePolicy:
    def __init__(self, compiled: CompiledPolicy) -> None:
        self._compiled = compiled

    def active(self, kind: PolicyKind, name: str) -> CompiledPolicy:
        del kind, name
        return self._compiled


def _certificates(data: bytes) -> list[SnpCertificate]:
    return [
        SnpCertificate(type=_slot(certificate), data=b64url_encode(certificate.public_bytes(Encoding.DER)))
        for certificate in load_certificates(data, what="--certificate")
    ]


def _slot(certificate: x509.Certificate) -> str:
    """The certificate table's name for a certificate, by its common name (KDS specification)."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else ""
    if name.startswith("ARK-"):
        return "ARK"
    if name in ("SEV-VCEK", "SEV-VLEK"):
        return name.removeprefix(_VEK_PREFIX)
    if name.startswith(_VEK_PREFIX):
        return "ASK"
    raise Malformed(f"{name or 'a certificate without a common name'} is no certificate of the SNP chain")


def _snp_settings(inspection: Inspection) -> SnpSettings:
    versions = {3, 4, 5} | ({2} if inspection.v2_product else set())
    return SnpSettings(
        versions=frozenset(versions),
        v2_product=Product(inspection.v2_product) if inspection.v2_product else None,
        vmpls=inspection.vmpls,
        csp_ids=None,
        revocation="if-present",
    )


def _tpm_settings(evidence: TpmEvidence, inspection: Inspection) -> TpmSettings:
    keys = inspection.attestation_keys
    settings = TpmSettings(
        ek_roots=inspection.ek_roots,
        ak_names=frozenset(key for key in keys if len(key) != _SHA256_BYTES),
        ak_spki_sha256=frozenset(key for key in keys if len(key) == _SHA256_BYTES),
    )
    if inspection.report_data is None:
        return settings  # unbound evidence is held against no selection
    if inspection.pcr_selection is not None:
        return msgspec.structs.replace(settings, pcr_selection=inspection.pcr_selection)
    try:
        return msgspec.structs.replace(settings, pcr_selection=_stated_selection(evidence))
    except InvalidSetting as error:
        raise Malformed(f"the registers that the evidence states: {error.message}") from error


def _stated_selection(evidence: TpmEvidence) -> dict[str, tuple[int, ...]]:
    try:
        return {bank: tuple(sorted(map(int, values))) for bank, values in evidence.pcrs.items()}
    except ValueError as error:
        raise Malformed("a register of the evidence has no number") from error


class _GivenCollateral:
    """The list that was given, whichever ARK is asked for (the verifier checks its signer); or a folder."""

    def __init__(self, inspection: Inspection) -> None:
        self._list = inspection.crl
        self._store: SnpCollateral = CollateralStore(inspection.collateral)

    def crl(self, product: Product, kind: SigningKey, anchor: str, now: datetime) -> bytes | None:
        if self._list is not None:
            return self._list
        return self._store.crl(product, kind, anchor, now)

    def vcek(self, product: Product, hardware_id: bytes, tcb: Tcb, now: datetime) -> bytes | None:
        return self._store.vcek(product, hardware_id, tcb, now)


def _values(references: Mapping[str, Sequence[Any]], tee: str, now: datetime) -> list[ReferenceValue]:
    lineage = Lineage(
        attestation=hashlib.sha256(b"").hexdigest(),
        predicate_type="none",
        signer=_LOCAL,
        trust_policy="none",
        rule=_LOCAL,
        submitted_by=_LOCAL,
    )
    return [
        ReferenceValue(
            id=f"local-{name}-{place}",
            name=name,
            value=value,
            tee=tee,
            group="local",
            not_before=now,
            lineage=lineage,
        )
        for name, values in references.items()
        for place, value in enumerate(values)
    ]
