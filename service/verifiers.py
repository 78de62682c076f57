"""The configured TEE verifiers, from settings and the certificate files they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from common.encoding import hex_decode
from common.errors import InputError, InvalidSetting
from common.files import read_limited
from verifier.tpm.settings import TpmSettings
from verifier.tpm.verifier import BINDING_SIZE as TPM_BINDING_SIZE
from verifier.tpm.verifier import TpmVerifier

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from service.settings import Settings, TpmSection
    from verifier.model import TeeVerifier

_MAX_PEM_BYTES = 1 << 20
_SHA256_BYTES = 32


def tee_verifiers(settings: Settings) -> dict[str, tuple[TeeVerifier, int]]:
    """TEE tag to its verifier and the size of its binding digest, for each TEE that is enabled.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    found: dict[str, tuple[TeeVerifier, int]] = {}
    if settings.tpm.enabled:
        found["tpm"] = (TpmVerifier(tpm_settings(settings.tpm)), TPM_BINDING_SIZE)
    return found


def tpm_settings(section: TpmSection) -> TpmSettings:
    """The TPM verifier's own settings.

    Raises:
        InvalidSetting: not hex, not a certificate, a selection that cannot be met.
        NotFound: a file that is named does not exist.
    """
    try:
        names = frozenset(hex_decode(name, what="[tpm] ak_names") for name in section.ak_names)
        digests = frozenset(
            hex_decode(digest, what="[tpm] ak_spki_sha256", length=_SHA256_BYTES)
            for digest in section.ak_spki_sha256
        )
    except InputError as error:
        raise InvalidSetting(error.message) from error
    return TpmSettings(
        ak_names=names,
        ak_spki_sha256=digests,
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
