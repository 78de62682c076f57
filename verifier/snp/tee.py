"""AMD SEV-SNP as the rest of the product sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from common.encoding import b64url_decode, b64url_encode
from common.errors import Malformed, TouchstoneError
from verifier.endorsements import amd_kinds
from verifier.endorsements.amd import CollateralStore, configured_store
from verifier.reading import certificate_files
from verifier.snp.claims import SnpClaims
from verifier.snp.coco import SnpCocoForm
from verifier.snp.products import Product
from verifier.snp.report import REPORT_BYTES, parse_report
from verifier.snp.section import SnpSection, insecure_switches, snp_settings
from verifier.snp.settings import SnpSettings
from verifier.snp.verifier import BINDING_SIZE, SnpVerifier
from verifier.tee import Inspection, Surroundings, Tee
from wire.evidence import SnpCertificate, SnpEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from verifier.model import Expectation, InitDataClaim, VerifiedEvidence
    from verifier.snp.collateral import SnpCollateral
    from verifier.snp.products import SigningKey, Tcb
    from wire.evidence import Evidence

_VEK_PREFIX: Final = "SEV-"


def build(section: SnpSection, surroundings: Surroundings) -> SnpVerifier:
    """The configured verifier.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    return SnpVerifier(
        snp_settings(section),
        configured_store(surroundings, section.collateral_dir),
        extra_anchors=certificate_files(section.extra_anchors, what="[snp] extra_anchors"),
    )


def offline(evidence: SnpEvidence, inspection: Inspection) -> OfflineSnpVerifier:
    """The verifier for an inspection.

    Raises:
        Malformed: certificates beside evidence that brings its own, or one of another chain.
    """
    return OfflineSnpVerifier(evidence, inspection)


class OfflineSnpVerifier:
    """Verifies with the certificates and the list that were given (``verifier.model.TeeVerifier``).

    More lenient than a server in two ways, which the result says: without a revocation list none is
    consulted (check ``snp.crl``, not evaluated), and a VLEK of any cloud provider is accepted.
    """

    def __init__(self, evidence: SnpEvidence, inspection: Inspection) -> None:
        """Keep what was given."""
        brings_own = bool(evidence.certificates) or evidence.auxblob is not None
        if inspection.certificates and brings_own:
            raise Malformed("certificates go with SNP evidence that brings none itself")
        self._certificates = _entries(inspection.certificates)
        self._verifier = SnpVerifier(
            _inspection_settings(inspection), GivenCollateral(inspection), extra_anchors=inspection.anchors
        )

    @property
    def tee(self) -> str:
        """``snp``."""
        return self._verifier.tee

    def verify(
        self, evidence: Evidence, expected: Expectation, init_data: InitDataClaim | None, now: datetime
    ) -> VerifiedEvidence:
        """Verify, as ``SnpVerifier.verify``."""
        if isinstance(evidence, SnpEvidence) and self._certificates:
            evidence = msgspec.structs.replace(evidence, certificates=self._certificates)
        return self._verifier.verify(evidence, expected, init_data, now)


def recognise(data: bytes) -> SnpEvidence | None:
    """A raw report: told by its length."""
    return SnpEvidence(report=b64url_encode(data)) if len(data) == REPORT_BYTES else None


def contents(evidence: SnpEvidence) -> dict[str, Any]:
    """Fields of the report, bytes as hex; empty where it cannot be parsed."""
    try:
        report = parse_report(b64url_decode(evidence.report, what="report"))
    except TouchstoneError:
        return {}
    fields = msgspec.structs.asdict(report)
    for name in ("r", "s", "signed"):
        del fields[name]
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


class GivenCollateral:
    """The list that was given, whichever ARK is asked for (the verifier checks its signer); or a folder."""

    def __init__(self, inspection: Inspection) -> None:
        """Keep the list; read nothing yet."""
        self._list = inspection.crl
        self._store: SnpCollateral = CollateralStore(inspection.collateral)

    def crl(self, product: Product, kind: SigningKey, anchor: str, now: datetime) -> bytes | None:
        """The revocation list."""
        if self._list is not None:
            return self._list
        return self._store.crl(product, kind, anchor, now)

    def vcek(self, product: Product, hardware_id: bytes, tcb: Tcb, now: datetime) -> bytes | None:
        """The certificate of a chip, from the folder."""
        return self._store.vcek(product, hardware_id, tcb, now)


def _entries(certificates: Sequence[x509.Certificate]) -> tuple[SnpCertificate, ...]:
    return tuple(
        SnpCertificate(type=_slot(certificate), data=b64url_encode(certificate.public_bytes(Encoding.DER)))
        for certificate in certificates
    )


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


def _inspection_settings(inspection: Inspection) -> SnpSettings:
    versions = {3, 4, 5} | ({2} if inspection.v2_product else set())
    return SnpSettings(
        versions=frozenset(versions),
        v2_product=Product(inspection.v2_product) if inspection.v2_product else None,
        vmpls=inspection.vmpls,
        csp_ids=None,
        revocation="if-present",
    )


TEE: Final = Tee(
    name="snp",
    title="AMD SEV-SNP",
    evidence=SnpEvidence,
    claims=SnpClaims,
    binding_size=BINDING_SIZE,
    section=SnpSection,
    build=build,
    offline=offline,
    inspects=frozenset({"certificates", "crl", "anchors", "v2_product"}),
    recognise=recognise,
    contents=contents,
    coco=SnpCocoForm(),
    reference_names={
        "snp_launch_measurement": "measurement",
        "snp_bootloader": "reported_tcb_bootloader",
        "snp_microcode": "reported_tcb_microcode",
        "snp_snp_svn": "reported_tcb_snp",
        "snp_tee_svn": "reported_tcb_tee",
        "snp_smt_enabled": "platform_smt_enabled",
        "snp_tsme_enabled": "platform_tsme_enabled",
        "snp_guest_abi_major": "policy_abi_major",
        "snp_guest_abi_minor": "policy_abi_minor",
        "snp_single_socket": "policy_single_socket",
        "snp_smt_allowed": "policy_smt_allowed",
        "snp_host_data": "host_data",
        "snp_id_key_digest": "id_key_digest",
        "snp_author_key_digest": "author_key_digest",
        "snp_family_id": "family_id",
        "snp_image_id": "image_id",
        "snp_guest_svn": "guest_svn",
        "snp_policy": "policy",
    },
    insecure=insecure_switches,
    checks=(
        ("length, version, reserved fields, algorithm, signing key", "AMD 56860 table 23"),
        (
            "product by CPUID; chain to the pinned ARK: names, algorithms, dates, CA rules",
            "AMD 57230 section 3",
        ),
        ("leaf extensions: TCB, hardware id or provider id", "AMD 57230 table 5"),
        ("revocation of ASK and ASVK", "AMD 57230 section 4"),
        ("signature over the bytes received", "AMD 56860 section 7.3"),
        (
            "TCB of the certificate, the platform and the floors, component by component",
            "AMD 56860 section 2.2",
        ),
        ("chip id or cloud provider", "AMD 57230 table 5"),
        ("REPORT_DATA, HOST_DATA, VMPL, guest policy, platform bits, ID keys", "AMD 56860 tables 9 and 23"),
    ),
    collateral=amd_kinds.kinds(),
    unchecked=(
        "Physical attacks on memory and interposers: no verifier sees them.",
        "AMD revokes by TCB, never a VCEK by its number: leaked chips need a deny-list of chip ids.",
    ),
)
