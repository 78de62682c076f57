"""The settings section ``[tpm]``, and the verifier's own settings from it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import Final, Literal

from pydantic import Field

from verifier.reading import certificate_files, hex_set
from verifier.tee import TeeSection
from verifier.tpm.revocation import FolderLists, Lists
from verifier.tpm.roots import Vendor, certificate_folder, vendor_certificates
from verifier.tpm.settings import TpmSettings

_SHA256_BYTES: Final = 32


class TpmSection(TeeSection):
    """TPM 2.0."""

    ek_roots: tuple[Path, ...] = Field(
        default=(), description="PEM files of the roots at which an EK certificate's chain must end."
    )
    ek_roots_dir: Path | None = Field(
        default=None,
        description="Folder of such roots (`*.pem`, `*.crt`, `*.cer`, `*.der`), read at the start.",
    )
    vendor_roots: tuple[Vendor, ...] = Field(
        default=(),
        description="Vendors whose shipped EK roots are trusted, besides `ek_roots` and `ek_roots_dir`.",
    )
    ak_roots: tuple[Path, ...] = Field(
        default=(),
        description="PEM files of the roots of attestation keys' own certificates and of IDevIDs.",
    )
    crl_dir: Path | None = Field(
        default=None,
        description="Folder of revocation lists of all issuers, one per file; changes are seen.",
    )
    revocation: Literal["if-present", "require"] = Field(
        default="if-present",
        description="Use a list where its issuer has one, or demand one of every issuer.",
    )
    ak_names: tuple[str, ...] = Field(
        default=(),
        description="Names (hex) of attestation keys that are trusted without an EK certificate.",
    )
    ak_spki_sha256: tuple[str, ...] = Field(
        default=(),
        description="SHA-256 (hex) of the SubjectPublicKeyInfo of keys trusted as attestation keys.",
    )
    pcr_selection: dict[str, tuple[int, ...]] = Field(
        default={"sha256": tuple(range(16))},
        description="Bank to the registers that a quote must cover, exactly.",
    )
    require_event_log: bool = Field(default=False, description="Refuse evidence without an event log.")
    allow_unquoted_events: bool = Field(
        default=False, description="Accept a log with events of registers that are not quoted."
    )
    unlogged_pcrs: tuple[int, ...] = Field(
        default=(),
        description="Quoted registers that software extends outside the log (IMA: 10; systemd: 11 to 13).",
    )
    minimum_firmware_version: int | None = Field(
        default=None, description="Lowest TPM firmware version that is not contraindicated."
    )


def tpm_settings(section: TpmSection) -> TpmSettings:
    """The TPM verifier's own settings.

    Raises:
        InvalidSetting: not hex, not a certificate, a selection that cannot be met.
        NotFound: a file that is named does not exist.
    """
    return TpmSettings(
        ak_names=hex_set(section.ak_names, "[tpm] ak_names"),
        ak_spki_sha256=hex_set(section.ak_spki_sha256, "[tpm] ak_spki_sha256", _SHA256_BYTES),
        ek_roots=(
            *certificate_files(section.ek_roots, what="[tpm] ek_roots"),
            *certificate_folder(section.ek_roots_dir, what="[tpm] ek_roots_dir"),
            *vendor_certificates(section.vendor_roots),
        ),
        ak_roots=certificate_files(section.ak_roots, what="[tpm] ak_roots"),
        lists=Lists() if section.crl_dir is None else FolderLists(section.crl_dir),
        revocation=section.revocation,
        pcr_selection=dict(section.pcr_selection),
        require_event_log=section.require_event_log,
        allow_unquoted_events=section.allow_unquoted_events,
        unlogged_pcrs=frozenset(section.unlogged_pcrs),
        minimum_firmware_version=section.minimum_firmware_version,
    )
