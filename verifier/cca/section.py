"""The settings section ``[cca]``, and the verifier's own settings from it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)

from pydantic import Field

from verifier.cca.settings import CcaSettings
from verifier.reading import hex_set
from verifier.tee import TeeSection


class CcaSection(TeeSection):
    """Arm CCA."""

    endorsements_dir: Path | None = Field(
        default=None,
        description=(
            "Endorsement store with the platforms' attestation keys below cca/cpak; the store that all TEEs"
            " share otherwise. Who can write there can vouch for any platform."
        ),
    )
    legacy: bool = Field(
        default=True,
        description=(
            "Accept platform tokens of the profile http://arm.com/CCA-SSD/1.0.0, and realm tokens without"
            " a profile."
        ),
    )
    implementation_ids: tuple[str, ...] = Field(
        default=(),
        description="Acceptable platform implementations (32 bytes, hex); empty: any with a known key.",
    )


def cca_settings(section: CcaSection) -> CcaSettings:
    """The CCA verifier's own settings.

    Raises:
        InvalidSetting: not hex, or of another length.
    """
    return CcaSettings(
        legacy=section.legacy,
        implementation_ids=hex_set(section.implementation_ids, "[cca] implementation_ids"),
    )
