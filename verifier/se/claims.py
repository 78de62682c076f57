"""Claims of verified evidence, as they go into the policy input.

Names of Confidential Containers' verifier (``cuid``, ``version``, ``tag``, ``image_phkh``,
``attestation_phkh``, ``user_data``) with its types: ``version`` is a number, the rest lower-case hex. Ours
beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from verifier.se.request import VERSION

if TYPE_CHECKING:
    from verifier.se.header import ImageHeader
    from verifier.se.response import AdditionalData, Response


class SeClaims(TypedDict, total=False):
    """``input.se``.

    Attributes:
        version: of the attestation request (256: 1.0).
        cuid: configuration unique id: which start of a guest.
        tag: GCM tag of the image's header: which image.
        page_list_digest: SHA-512 over the image's encrypted pages.
        address_list_digest: over their addresses.
        tweak_list_digest: over their tweaks.
        image_phkh: hash of the host key that opened the image.
        attestation_phkh: hash of the host key that opened the request: which machine, or group of machines.
        user_data: what the guest gave, whole.
        secret_store: state of the guest's secret store, if asked for.
        firmware_state: of the machine's firmware, if asked for; IBM can read it.
        header_known: whether the settings hold this image's header.
        dump_allowed: whether that header lets the guest be dumped, encrypted to the image's owner; only
            with ``header_known``.
        image_host_key_known: whether the store holds the document of ``image_phkh``.
    """

    version: int
    cuid: str
    tag: str
    page_list_digest: str
    address_list_digest: str
    tweak_list_digest: str
    image_phkh: str
    attestation_phkh: str
    user_data: str
    secret_store: str
    firmware_state: str
    header_known: bool
    dump_allowed: bool
    image_host_key_known: bool


def se_claims(
    response: Response,
    additional: AdditionalData,
    header: ImageHeader | None,
    *,
    image_host_key_known: bool,
) -> SeClaims:
    """The ``se`` member of the policy input."""
    claims: SeClaims = {
        "version": VERSION,
        "cuid": response.cuid.hex(),
        "tag": response.tags.tag.hex(),
        "page_list_digest": response.tags.pages.hex(),
        "address_list_digest": response.tags.addresses.hex(),
        "tweak_list_digest": response.tags.tweaks.hex(),
        "user_data": response.user_data.hex(),
        "header_known": header is not None,
        "image_host_key_known": image_host_key_known,
    }
    if additional.image_phkh is not None:
        claims["image_phkh"] = additional.image_phkh.hex()
    if additional.attestation_phkh is not None:
        claims["attestation_phkh"] = additional.attestation_phkh.hex()
    if additional.secret_store is not None:
        claims["secret_store"] = additional.secret_store.hex()
    if additional.firmware is not None:
        claims["firmware_state"] = additional.firmware.hex()
    if header is not None:
        claims["dump_allowed"] = header.dump_allowed
    return claims


def common_claims(response: Response, header: ImageHeader | None) -> dict[str, Any]:
    """The ``common`` member: what Secure Execution can say of what every TEE is asked."""
    common: dict[str, Any] = {"measurement": response.tags.tag.hex(), "product": "IBM Secure Execution"}
    if header is not None:
        common["debug"] = header.dump_allowed
    return common
