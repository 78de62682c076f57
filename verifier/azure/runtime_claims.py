"""The runtime claims of an HCL report: the vTPM's attestation key, the VM's configuration, user data.

JSON: ``{"keys": [{"kid": "HCLAkPub", ...}, {"kid": "HCLEkPub", ...}], "vm-configuration": {...},
"user-data": hex}``. Strict: no duplicate member, exactly one ``HCLAkPub``, an RSA key of 2048 to 4096 bits.
Further keys and members may stand there; they say nothing here.

The attestation key as a TPMT_PUBLIC is completed from what the paravisor makes: a restricted signing key
with RSASSA and SHA-256 that cannot leave the vTPM. Its attributes are vouched for by the paravisor, whose
measurement is in the hardware report.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from common import strict_json
from common.encoding import b64url_decode
from common.errors import Malformed
from verifier.azure.hcl import MAX_REPORT_BYTES
from verifier.errors import UnsupportedEvidence
from verifier.tpm.public import spki_of
from verifier.tpm.spki import public_of_spki

if TYPE_CHECKING:
    from verifier.tpm.public import PublicArea

AK_ID: Final = "HCLAkPub"
_MAX_KEYS: Final = 16
_MAX_USER_DATA: Final = 1024
_MIN_BITS: Final = 2048
_MAX_BITS: Final = 4096
_EXPONENT: Final = 65537  # TPM 2.0 Library Part 2, section 12.2.3.5: the default
_BOOLEANS: Final = ("secure-boot", "console-enabled", "tpm-enabled")
_TEXTS: Final = ("vmUniqueId",)
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})*\Z")


class RuntimeClaims(msgspec.Struct, frozen=True):
    """Parsed claims.

    Attributes:
        ak: attestation key of the vTPM.
        vm_configuration: as stated.
        user_data: what the guest last wrote for the paravisor to include; None where there is none.
    """

    ak: PublicArea
    vm_configuration: dict[str, Any]
    user_data: bytes | None


def parse_runtime_claims(data: bytes) -> RuntimeClaims:
    """Parse the claims.

    Raises:
        TooLarge: over 64 KiB, or nested too deeply.
        DuplicateKey: an object has a member twice.
        Malformed: not JSON of this form; no ``HCLAkPub``, or two.
        UnsupportedEvidence: the key is not RSA, or of another size.
    """
    document = strict_json.loads(data, what="HCL runtime claims", max_bytes=MAX_REPORT_BYTES)
    if not isinstance(document, dict):
        raise Malformed("the HCL runtime claims are not an object")
    configuration = document.get("vm-configuration", {})
    if not isinstance(configuration, dict):
        raise Malformed("the vm-configuration of the HCL runtime claims is not an object")
    _check_configuration(configuration)
    return RuntimeClaims(
        ak=_attestation_key(document.get("keys")),
        vm_configuration=configuration,
        user_data=_user_data(document.get("user-data")),
    )


def _check_configuration(configuration: dict[str, Any]) -> None:
    for names, kind in ((_BOOLEANS, bool), (_TEXTS, str)):
        for name in names:
            if name in configuration and not isinstance(configuration[name], kind):
                raise Malformed(f"{name} of the HCL vm-configuration is not a {kind.__name__}")


def _attestation_key(keys: Any) -> PublicArea:
    if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
        raise Malformed(f"the keys of the HCL runtime claims are not a list of at most {_MAX_KEYS}")
    found = [key for key in keys if isinstance(key, dict) and key.get("kid") == AK_ID]
    if len(found) != 1:
        raise Malformed(f"the HCL runtime claims have {len(found)} keys {AK_ID}, not one")
    return _public_of_jwk(found[0])


def _public_of_jwk(jwk: dict[str, Any]) -> PublicArea:
    if jwk.get("kty") != "RSA":
        raise UnsupportedEvidence(f"{AK_ID} is not an RSA key")
    operations = jwk.get("key_ops", ["sign"])
    if not isinstance(operations, list) or "sign" not in operations:
        raise UnsupportedEvidence(f"{AK_ID} is not a key to sign with")
    modulus, exponent = _number(jwk, "n", _MAX_BITS), _number(jwk, "e", 32)
    if not _MIN_BITS <= modulus.bit_length() <= _MAX_BITS:
        raise UnsupportedEvidence(
            f"{AK_ID} has {modulus.bit_length()} bits; {_MIN_BITS} to {_MAX_BITS} are accepted"
        )
    if exponent != _EXPONENT:
        raise UnsupportedEvidence(f"{AK_ID} has another public exponent than {_EXPONENT}")
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise Malformed(f"{AK_ID} is not a valid RSA key") from error
    return public_of_spki(spki_of(key))


def _number(jwk: dict[str, Any], name: str, bits: int) -> int:
    text = jwk.get(name)
    if not isinstance(text, str) or len(text) > bits // 8 * 2:
        raise Malformed(f"{AK_ID}: {name} is not a number of at most {bits} bits")
    number = b64url_decode(text, what=f"{AK_ID} {name}")
    return int.from_bytes(number, "big")


def _user_data(text: Any) -> bytes | None:
    if text is None or text == "":
        return None
    if not isinstance(text, str) or len(text) > 2 * _MAX_USER_DATA or not _HEX.match(text):
        raise Malformed("the user-data of the HCL runtime claims are not hex")
    return bytes.fromhex(text)
