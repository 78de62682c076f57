"""Claims of a verified quote, as a policy sees them under ``input.tpm``.

Register names are those of CoCo's TPM evidence (``pcr00`` to ``pcr23``, SHA-256 bank, lower-case hex;
``ak_public`` as padded base64 of the SubjectPublicKeyInfo); the rest is ours. ``reset_count``,
``restart_count``, ``clock`` and ``safe`` are what a relying party needs to see a reboot or a replayed
TPM state: with one ``ak_name``, (``reset_count``, ``clock``) only grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64_encode

if TYPE_CHECKING:
    from verifier.tpm.attest import Quote
    from verifier.tpm.checks import PcrValues
    from verifier.tpm.public import PublicArea
    from verifier.tpm.trust import AttestationKeyTrust

COCO_BANK: Final = "sha256"


def tpm_claims(
    quote: Quote,
    public: PublicArea,
    trust: AttestationKeyTrust,
    values: PcrValues,
    logs: dict[str, Any],
) -> dict[str, Any]:
    """The ``tpm`` member of the policy input."""
    claims: dict[str, Any] = {
        f"pcr{index:02d}": value.hex() for index, value in sorted(values.get(COCO_BANK, {}).items())
    }
    claims |= {
        "pcrs": {
            bank: {str(index): value.hex() for index, value in sorted(registers.items())}
            for bank, registers in values.items()
        },
        "ak_name": trust.name.hex(),
        "ak_public": b64_encode(public.spki),
        "ak_trust": trust.how,
        "firmware_version": f"{quote.firmware_version:016x}",
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "clock": quote.clock,
        "safe": quote.safe,
    }
    if trust.ek is not None:
        claims["ek_digest"] = trust.ek.spki_sha256.hex()
        claims["ek_manufacturer"] = trust.ek.manufacturer
        claims["ek_model"] = trust.ek.model
    return claims | logs
