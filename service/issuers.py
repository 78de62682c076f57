"""The verifier of other attestation services' tokens, from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coco.foreign_tokens import ForeignTokens, TrustedIssuer
from service import expiry_metrics

if TYPE_CHECKING:
    from service.settings import Settings


def foreign_tokens(settings: Settings) -> ForeignTokens:
    """Without configured issuers it refuses every token.

    Raises:
        CocoSetting: an issuer is not usable.
        NotFound: one of its files cannot be read.
    """
    issuers = [
        TrustedIssuer(
            name=each.name,
            issuer=each.issuer,
            audience=each.audience,
            jwk_sets=each.jwk_sets,
            certificates=each.certificates,
            tee_key_paths=each.tee_key_paths,
        )
        for each in settings.coco.trusted_issuers
    ]
    return ForeignTokens(issuers, lambda: expiry_metrics.reload_failed("trusted_issuers"))
