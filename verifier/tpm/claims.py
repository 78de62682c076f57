"""Claims of a verified quote, as a policy sees them under ``input.tpm``.

Register names are those of CoCo's TPM evidence (``pcr00`` to ``pcr23``, SHA-256 bank, lower-case hex;
``ak_public`` as padded base64 of the SubjectPublicKeyInfo); the rest is ours. ``reset_count``,
``restart_count``, ``clock`` and ``safe`` are what a relying party needs to see a reboot or a replayed
TPM state: with one ``ak_name``, (``reset_count``, ``clock``) only grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict

from common.encoding import b64_encode

if TYPE_CHECKING:
    from verifier.tee import CommonClaims
    from verifier.tpm.attest import Quote
    from verifier.tpm.checks import PcrValues
    from verifier.tpm.public import PublicArea
    from verifier.tpm.trust import AttestationKeyTrust

COCO_BANK: Final = "sha256"


class TpmClaims(TypedDict):
    """``input.tpm``."""

    pcr00: NotRequired[str]
    pcr01: NotRequired[str]
    pcr02: NotRequired[str]
    pcr03: NotRequired[str]
    pcr04: NotRequired[str]
    pcr05: NotRequired[str]
    pcr06: NotRequired[str]
    pcr07: NotRequired[str]
    pcr08: NotRequired[str]
    pcr09: NotRequired[str]
    pcr10: NotRequired[str]
    pcr11: NotRequired[str]
    pcr12: NotRequired[str]
    pcr13: NotRequired[str]
    pcr14: NotRequired[str]
    pcr15: NotRequired[str]
    pcr16: NotRequired[str]
    pcr17: NotRequired[str]
    pcr18: NotRequired[str]
    pcr19: NotRequired[str]
    pcr20: NotRequired[str]
    pcr21: NotRequired[str]
    pcr22: NotRequired[str]
    pcr23: NotRequired[str]
    pcrs: dict[str, dict[str, str]]
    ak_name: str
    ak_public: str
    ak_trust: str
    firmware_version: str
    reset_count: int
    restart_count: int
    clock: int
    safe: bool
    ek_digest: NotRequired[str]
    ek_manufacturer: NotRequired[str]
    ek_model: NotRequired[str]
    device_type: NotRequired[str]
    device_serial: NotRequired[str]
    device_manufacturer: NotRequired[str]
    device_model: NotRequired[str]
    idevid_digest: NotRequired[str]
    event_log: NotRequired[dict[str, Any]]
    ima: NotRequired[dict[str, Any]]


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
    return claims | _device_claims(trust) | logs


def _device_claims(trust: AttestationKeyTrust) -> dict[str, Any]:
    """What the certificate of the attestation key, and the device's identity, say."""
    claims: dict[str, Any] = {}
    key = trust.certificate
    if key is not None and key.device is not None:
        claims |= {"device_type": key.device.type, "device_serial": key.device.serial}
    if key is not None and key.manufacturer is not None:
        claims |= {"device_manufacturer": key.manufacturer, "device_model": key.model}
    if trust.device is not None:
        claims["idevid_digest"] = trust.device.spki_sha256.hex()
    return claims


def common_claims(values: PcrValues) -> CommonClaims:
    """What other TEEs say too (``verifier.tee.CommonClaims``): the registers of CoCo's bank."""
    registers = values.get(COCO_BANK, {})
    return {"registers": {str(index): value.hex() for index, value in sorted(registers.items())}}
