"""What a TPM quote must be bound to: extraData, registers, init-data; for every verifier of such quotes.

Init-data is bound when SHA-256 register 8 is quoted and holds one extension with its digest (CoCo's
convention for TPMs).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64url_decode
from common.errors import TooLarge
from common.runtime_data import fitted
from verifier.binding import expected_report_data
from verifier.errors import InitDataMismatch
from verifier.model import RuntimeDataBinding, SessionBinding, Unbound
from verifier.tpm.checks import PcrValues, QuoteMaterial
from verifier.tpm.eventlog import MAX_LOG_BYTES
from verifier.tpm.ima import MAX_IMA_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.checks import Checks
    from verifier.model import Expectation, InitDataClaim

BINDING_SIZE: Final = 32  # SHA-256: every TPM 2.0 takes 32 bytes of qualifying data
_INIT_DATA_PCR: Final = 8
_INIT_DATA_SOURCE: Final = "CoCo: init-data of TPM guests is extended into register 8 of the SHA-256 bank"
# Confidential Containers quotes every register of the SHA-256 bank, and its guests fill extraData with the
# digest of the runtime data cut to 32 bytes, whole, or padded to the 64 of a TPM2B_DATA.
_COCO_SELECTION: Final = {"sha256": tuple(range(24))}
_COCO_SIZES: Final = (32, 48, 64)
_BASE64_CHARACTERS: Final = 4
_BASE64_BYTES: Final = 3
# AR4SI (draft-ietf-rats-ar4si): elements of the configuration are unavailable.
_CONFIGURATION_UNAVAILABLE: Final = 36


def wanted_extra_data(expected: Expectation, init_data: InitDataClaim | None) -> tuple[bytes, ...] | None:
    """What may stand in the quote's extraData; None where nothing is expected.

    Raises:
        Malformed: expected report data of another length, or an unusable nonce or key.
    """
    if isinstance(expected, RuntimeDataBinding) and expected.data is not None:
        return tuple(fitted(expected.data, size) for size in _COCO_SIZES)
    value = expected_report_data(expected, init_data, BINDING_SIZE)
    return None if value is None else (value,)


def selection_of(
    expected: Expectation, configured: Mapping[str, tuple[int, ...]]
) -> Mapping[str, tuple[int, ...]] | None:
    """Bank to the registers that must be quoted, exactly; None where nothing is expected."""
    if isinstance(expected, Unbound):
        return None
    if isinstance(expected, RuntimeDataBinding):
        return _COCO_SELECTION
    if isinstance(expected, SessionBinding) and expected.pcr_selection is not None:
        return expected.pcr_selection
    return configured


def material_of(
    quote: str,
    signature: str,
    pcrs: Mapping[str, Mapping[str, str]],
    event_log: str | None,
    ima_log: str | None,
) -> QuoteMaterial:
    """A quote and its logs, from the texts (base64url) of a document.

    Raises:
        Malformed: not base64url. TooLarge: a log over 4 MiB.
    """
    return QuoteMaterial(
        quote=b64url_decode(quote, what="quote"),
        signature=b64url_decode(signature, what="signature"),
        pcrs=pcrs,
        event_log=_decode_log(event_log, "event_log", MAX_LOG_BYTES),
        ima_log=_decode_log(ima_log, "ima_log", MAX_IMA_BYTES),
    )


def _decode_log(text: str | None, what: str, limit: int) -> bytes | None:
    if text is None:
        return None
    if len(text) // _BASE64_CHARACTERS * _BASE64_BYTES > limit:
        raise TooLarge(f"{what} of more than {limit} bytes")
    return b64url_decode(text, what=what)


def bind_init_data(
    init_data: InitDataClaim | None,
    values: PcrValues,
    claims: dict[str, Any],
    floors: dict[str, int],
    checks: Checks,
) -> str:
    """Hold init-data against register 8; returns ``bound``, ``absent`` or ``unsupported``.

    Args:
        init_data: what came with the request.
        values: quoted registers.
        claims: get ``init_data``, where it is bound.
        floors: get ``configuration``, where it is not.
        checks: where the outcome is recorded.

    Raises:
        InitDataMismatch: Confidential Containers' guest sent init-data that register 8 does not hold.
    """
    if init_data is None:
        return "absent"
    register = values.get("sha256", {}).get(_INIT_DATA_PCR)
    extended = hashlib.sha256(bytes(32) + init_data.digest).digest()
    if register == extended and len(init_data.digest) == hashlib.sha256().digest_size:
        claims["init_data"] = init_data.digest.hex()
        return "bound"
    if init_data.fitted:
        # Confidential Containers: a guest that sends init-data says that its register holds it.
        checks.fail(
            "tpm.init_data",
            InitDataMismatch,
            expected=extended.hex(),
            observed=None if register is None else register.hex(),
            source=_INIT_DATA_SOURCE,
        )
    checks.warn(
        "tpm.init_data",
        observed=None if register is None else register.hex(),
        source=_INIT_DATA_SOURCE,
        note="the TPM does not bind the init-data: it is not part of the claims",
    )
    floors["configuration"] = _CONFIGURATION_UNAVAILABLE
    return "unsupported"
