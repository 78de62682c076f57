"""The configured TEE verifiers, from settings and the certificate files they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from common.encoding import hex_decode
from common.errors import InputError, InvalidSetting
from common.fetch import FetchLimits, HttpFetcher
from common.files import read_limited
from verifier.collateral import CollateralStore
from verifier.sample import BINDING_SIZE as SAMPLE_BINDING_SIZE
from verifier.sample import SampleCocoForm, SampleVerifier
from verifier.snp import BINDING_SIZE as SNP_BINDING_SIZE
from verifier.snp import SnpSettings, SnpVerifier
from verifier.snp.coco import SnpCocoForm
from verifier.snp.products import Product
from verifier.snp.settings import TcbFloor
from verifier.tpm.coco import TpmCocoForm
from verifier.tpm.settings import TpmSettings
from verifier.tpm.verifier import BINDING_SIZE as TPM_BINDING_SIZE
from verifier.tpm.verifier import TpmVerifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from service.sections import SnpSection, TpmSection
    from service.settings import Settings
    from verifier.model import CocoForm, TeeVerifier

_MAX_PEM_BYTES = 1 << 20
_SHA256_BYTES = 32
_ANY_CSP = "*"
_COCO_FORMS: Mapping[str, CocoForm] = {
    "snp": SnpCocoForm(),
    "tpm": TpmCocoForm(),
    "sample": SampleCocoForm(),
}


def tee_verifiers(settings: Settings) -> dict[str, tuple[TeeVerifier, int]]:
    """TEE tag to its verifier and the size of its binding digest, for each TEE that is enabled.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    found: dict[str, tuple[TeeVerifier, int]] = {}
    if settings.snp.enabled:
        found["snp"] = (_snp_verifier(settings), SNP_BINDING_SIZE)
    if settings.tpm.enabled:
        found["tpm"] = (TpmVerifier(tpm_settings(settings.tpm)), TPM_BINDING_SIZE)
    if settings.coco.sample_tee:
        found["sample"] = (SampleVerifier(), SAMPLE_BINDING_SIZE)
    return found


def coco_forms(tees: Iterable[str]) -> dict[str, CocoForm]:
    """How Confidential Containers spells the evidence of these TEEs."""
    return {tee: _COCO_FORMS[tee] for tee in tees}


def _snp_verifier(settings: Settings) -> SnpVerifier:
    folder = settings.snp.collateral_dir or settings.storage.data_dir / "collateral"
    fetch = settings.fetch
    fetcher = None
    if fetch.enabled:
        limits = FetchLimits(timeout_s=fetch.timeout_s, max_bytes=fetch.max_bytes)
        fetcher = HttpFetcher(fetch.allowed_hosts, limits=limits)
    return SnpVerifier(
        snp_settings(settings.snp),
        CollateralStore(folder, fetcher),
        extra_anchors=certificates(settings.snp.extra_anchors, what="[snp] extra_anchors"),
    )


def snp_settings(section: SnpSection) -> SnpSettings:
    """The SNP verifier's own settings.

    Raises:
        InvalidSetting: not hex, or settings that contradict themselves.
    """
    return SnpSettings(
        products=frozenset(Product(name) for name in section.products),
        versions=frozenset(section.versions),
        v2_product=None if section.v2_product is None else Product(section.v2_product),
        vmpls=frozenset(section.vmpls),
        revocation=section.revocation,
        tcb_floors={
            Product(name): TcbFloor(**floor.model_dump()) for name, floor in section.tcb_floors.items()
        },
        permit_provisional_firmware=section.permit_provisional_firmware,
        permit_migration=section.permit_migration,
        permit_masked_chip_id=section.permit_masked_chip_id,
        csp_ids=None if section.csp_ids == (_ANY_CSP,) else frozenset(section.csp_ids),
        policy_required=section.policy_required,
        policy_forbidden=section.policy_forbidden,
        minimum_abi=section.minimum_abi,
        platform_required=section.platform_required,
        platform_forbidden=section.platform_forbidden,
        platform_unknown_permitted=section.platform_unknown_permitted,
        minimum_guest_svn=section.minimum_guest_svn,
        minimum_firmware=section.minimum_firmware,
        id_key_digests=_hex_set(section.id_key_digests, "[snp] id_key_digests"),
        author_key_digests=_hex_set(section.author_key_digests, "[snp] author_key_digests"),
        family_ids=_hex_set(section.family_ids, "[snp] family_ids"),
        image_ids=_hex_set(section.image_ids, "[snp] image_ids"),
        mitigations_required=section.mitigations_required,
    )


def tpm_settings(section: TpmSection) -> TpmSettings:
    """The TPM verifier's own settings.

    Raises:
        InvalidSetting: not hex, not a certificate, a selection that cannot be met.
        NotFound: a file that is named does not exist.
    """
    return TpmSettings(
        ak_names=_hex_set(section.ak_names, "[tpm] ak_names"),
        ak_spki_sha256=_hex_set(section.ak_spki_sha256, "[tpm] ak_spki_sha256", _SHA256_BYTES),
        ek_roots=certificates(section.ek_roots, what="[tpm] ek_roots"),
        pcr_selection=dict(section.pcr_selection),
        require_event_log=section.require_event_log,
        allow_unquoted_events=section.allow_unquoted_events,
        unlogged_pcrs=frozenset(section.unlogged_pcrs),
        minimum_firmware_version=section.minimum_firmware_version,
    )


def certificates(paths: Iterable[Path], *, what: str) -> tuple[x509.Certificate, ...]:
    """Every certificate in the PEM files.

    Raises:
        InvalidSetting: a file without a certificate, or with something that is none.
        NotFound: a file does not exist.
    """
    found: list[x509.Certificate] = []
    for path in paths:
        data = read_limited(path, what=what, max_bytes=_MAX_PEM_BYTES)
        try:
            found.extend(x509.load_pem_x509_certificates(data))
        except ValueError as error:
            raise InvalidSetting(f"{what}: {path} holds no PEM certificate") from error
    return tuple(found)


def _hex_set(texts: Iterable[str], what: str, length: int | None = None) -> frozenset[bytes]:
    try:
        return frozenset(hex_decode(text, what=what, length=length) for text in texts)
    except InputError as error:
        raise InvalidSetting(error.message) from error
