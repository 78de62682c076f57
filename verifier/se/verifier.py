"""The Secure Execution verifier: an Ultravisor's answer to a request that only it could read.

Order: parse; open the sealed request; measurement; additional data; the host key's document, its chain,
dates and revocation; report data; init-data. Each of these raises. Then what the image's owner allowed
(dumps), which sets floors. Then claims.

What proves the hardware: only a machine with a host key of ours' choosing could open the request, and the
measurement is made with the key in it. The answer names that host key; its document must hold *now*, not
only when the challenge was made.

Floors: ``instance-identity`` 97 without an expectation; ``configuration`` 96 where the header of a known
image lets the guest be dumped and the settings do not; ``configuration`` 36 with init-data that is not
bound. A dump is encrypted to the image's owner: the host that asks for it reads nothing.

Init-data is bound where its digest follows the report data in the user data: the measured image puts it
there. Otherwise evidence of our protocol says ``unsupported``, and no claim holds it.

Not done: see docs/verifier-se.md.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final

from common.checks import Checks
from common.encoding import b64url_decode
from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.errors import (
    CertificateInvalid,
    EndorsementMissing,
    NonceUnknown,
    PolicyViolation,
    ReportDataMismatch,
    SignatureInvalid,
)
from verifier.model import Unbound, VerifiedEvidence
from verifier.se.challenge import OpenedRequest, make_challenge, open_sealed
from verifier.se.claims import common_claims, se_claims
from verifier.se.evidence import SeEvidence
from verifier.se.header import ImageHeader, parse_tags
from verifier.se.host_key import HostKey, host_key_hash, load_host_key_document, verify_host_key
from verifier.se.pki import load_certificates, load_lists
from verifier.se.response import Response, measured_items, measurement_of, parse_additional

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim
    from verifier.se.collateral import HostKeyFiles, SeCollateral
    from verifier.se.settings import SeSettings
    from wire.evidence import Evidence

BINDING_SIZE: Final = 64
COCO_HASH: Final = "sha512"  # of runtime data: it fills the 64 bytes
_MAX_TEXT: Final = 64 << 10
_NOT_RECOGNISED: Final = 97
_CONTRAINDICATED: Final = 96
_CONFIGURATION_UNAVAILABLE: Final = 36
_MEASUREMENT: Final = "s390-tools, uvattest/attest.rs: items of an attestation measurement"
_HOST_KEY: Final = "s390-tools, pvattest verify: attestation host-key hash"
_USER_DATA: Final = "s390-tools, uvattest/attest.rs: user data; CoCo attester/src/se"


class SeVerifier:
    """Verifies Secure Execution evidence (``verifier.model.TeeVerifier``).

    Args:
        settings: what the operator decided.
        collateral: host-key documents, certificates, revocation lists.
    """

    def __init__(self, settings: SeSettings, collateral: SeCollateral) -> None:
        """Keep both."""
        self._settings = settings
        self._collateral = collateral

    @property
    def tee(self) -> str:
        """``se``."""
        return "se"

    def challenge(self, header: ImageHeader, now: datetime) -> str:
        """The request that a guest of this image shall answer (``verifier.se.challenge``).

        It is made for every host key of the store whose document holds at ``now``.

        Raises:
            EndorsementError: no document holds; the error of the last one.
            EndorsementMissing: there is none.
        """
        files, keys = self._collateral.files(), []
        failure: TouchstoneError = EndorsementMissing("the store holds no host-key document")
        for document in files.host_keys:
            try:
                keys.append(self._verified(document, files, now, Checks()).key)
            except TouchstoneError as error:
                failure = error
        if not keys:
            raise failure
        return make_challenge(self._settings.challenge_key, self._settings.flags, keys, header.tags, now)

    @property
    def coco_hash(self) -> str:
        """``sha512``."""
        return COCO_HASH

    def coco_challenge(self, now: datetime) -> tuple[str, str]:
        """A Confidential Containers challenge: its ``nonce``, and the hash that the guest shall use.

        It is made for the first image of the settings: the request carries that image's tags.

        Raises:
            InvalidSetting: the settings hold no image's header.
            EndorsementError: no host-key document holds.
        """
        if not self._settings.image_headers:
            raise InvalidSetting("[se] image_headers is needed: a challenge carries the tags of an image")
        return self.challenge(self._settings.image_headers[0], now), COCO_HASH

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify evidence at ``now``.

        Raises:
            InputError: the document cannot be parsed.
            EvidenceError: not an answer to a request of ours, altered, or not bound as expected.
            EndorsementError: the host key's document, its chain, dates or revocation do not hold.
        """
        if not isinstance(evidence, SeEvidence):
            raise Malformed("this verifier takes Secure Execution evidence")
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        response, sealed = parse_evidence(evidence)
        checks = Checks()
        request = self._request(sealed, now, checks)
        _require_measurement(response, request, checks)
        additional = parse_additional(response.additional, request.flags)
        files = self._collateral.files()
        host_key = self._host_key(additional.attestation_phkh, files, now, checks)
        _require_report_data(response, wanted, checks)
        bound, floors = _init_data(response, init_data, checks), {}
        if bound == "unsupported":
            floors["configuration"] = _CONFIGURATION_UNAVAILABLE
        header = self._header(response, floors, checks)
        known = additional.image_phkh in _hashes(files)
        if not known:
            checks.warn(
                "se.image_host_key", observed=_hex(additional.image_phkh),
                source=_HOST_KEY, note="the store holds no document of the host key that opened the image",
            )  # fmt: skip
        if isinstance(expected, Unbound):
            floors["instance-identity"] = _NOT_RECOGNISED
        claims: dict[str, Any] = {
            "se": se_claims(response, additional, header, image_host_key_known=known),
            "report_data": response.user_data[:BINDING_SIZE].hex(),
            "common": common_claims(response, header),
        }
        if bound == "bound" and init_data is not None:
            claims["init_data"] = init_data.digest.hex()
        signed = measured_items(response, request.nonce) + response.measurement
        return VerifiedEvidence(
            tee=self.tee,
            evidence_digest=hashlib.sha256(signed).hexdigest(),
            claims=claims,
            comparable=("se",),
            checks=checks.records,
            floors=floors,
            bound=bound_to(expected),
            init_data=bound,
            endorsements=host_key.endorsements,
            not_after=host_key.not_after,
            identity=f"se-host-key:{host_key.hash.hex()}",
            tee_pubkey=bound_key(expected),
        )

    def _request(self, sealed: tuple[bytes, bytes], now: datetime, checks: Checks) -> OpenedRequest:
        source = "verifier.se.challenge"
        lifetime = self._settings.challenge_lifetime
        try:
            request = open_sealed(self._settings.challenge_key, *sealed, lifetime, now)
        except NonceUnknown as error:
            checks.fail("se.request", NonceUnknown, source=source, note=error.message)
        checks.require(
            "se.request", ok=True, error=NonceUnknown, source=source,
            expected=f"a request of ours, at most {lifetime} old", observed=request.issued.isoformat(),
        )  # fmt: skip
        return request

    def _host_key(self, phkh: bytes | None, files: HostKeyFiles, now: datetime, checks: Checks) -> HostKey:
        """The verified host key that the answer names."""
        document = None if phkh is None else _hashes(files).get(phkh)
        checks.require(
            "se.host_key", document is not None, EndorsementMissing, source=_HOST_KEY,
            expected="a host key whose document the store holds", observed=_hex(phkh),
        )  # fmt: skip
        assert document is not None
        return self._verified(document, files, now, checks)

    def _verified(self, document: bytes, files: HostKeyFiles, now: datetime, checks: Checks) -> HostKey:
        try:
            certificates = [
                item for data in files.certificates for item in load_certificates(data, "se/certs")
            ]
        except (Malformed, TooLarge) as error:  # the store's fault, not that of who sent evidence
            raise CertificateInvalid(f"the endorsement store: {error.message}") from error
        lists = [item for data in files.lists for item in load_lists(data, "se/crls")]
        return verify_host_key(document, certificates, lists, self._settings.roots, now=now, checks=checks)

    def _header(self, response: Response, floors: dict[str, int], checks: Checks) -> ImageHeader | None:
        """The header of a known image, with what it allows."""
        header = next((item for item in self._settings.image_headers if item.tags == response.tags), None)
        if header is None:
            checks.skip(
                "se.image.dump",
                "the settings hold no header with these tags",
                source="settings: image_headers",
            )
            return None
        ok = checks.expect(
            "se.image.dump", self._settings.permit_dumps or not header.dump_allowed, PolicyViolation,
            expected=self._settings.permit_dumps, observed=header.dump_allowed,
            source="s390-tools, pv_hdr_def.h: PCF bit 34",
        )  # fmt: skip
        if not ok:
            floors["configuration"] = _CONTRAINDICATED
        return header


def parse_evidence(evidence: SeEvidence) -> tuple[Response, tuple[bytes, bytes]]:
    """The answer, and what the challenge had sealed (measurement key, nonce).

    Raises:
        InputError: a member is not base64url, too long, or of an impossible size.
    """

    def field(name: str) -> bytes:
        text = getattr(evidence, name)
        if len(text) > _MAX_TEXT:
            raise TooLarge(f"{name} has {len(text)} characters, the limit is {_MAX_TEXT}")
        return b64url_decode(text, what=name)

    response = Response(
        measurement=field("measurement"),
        tags=parse_tags(field("image_hdr_tags")),
        cuid=field("cuid"),
        user_data=field("user_data"),
        additional=field("additional_data"),
    )
    return response, (field("encr_measurement_key"), field("encr_request_nonce"))


def _hashes(files: HostKeyFiles) -> dict[bytes, bytes]:
    """Host-key hash to document; what is no document there is passed over: it stands for no key."""
    found: dict[bytes, bytes] = {}
    for document in files.host_keys:
        try:
            found[host_key_hash(load_host_key_document(document)[1])] = document
        except TouchstoneError:
            continue
    return found


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _require_measurement(response: Response, request: OpenedRequest, checks: Checks) -> None:
    computed = measurement_of(response, request.measurement_key, request.nonce)
    checks.require(
        "se.measurement", hmac.compare_digest(computed, response.measurement), SignatureInvalid,
        expected="HMAC-SHA-512 of the request's key over tags, ids, user data, nonce, additional data",
        observed=response.measurement.hex(), source=_MEASUREMENT,
    )  # fmt: skip


def _require_report_data(response: Response, wanted: bytes | None, checks: Checks) -> None:
    if wanted is None:
        checks.skip("se.report_data", "no expectation was given", source=_USER_DATA)
        return
    observed = response.user_data[:BINDING_SIZE]
    checks.require(
        "se.report_data", hmac.compare_digest(observed, wanted), ReportDataMismatch,
        expected=wanted.hex(), observed=observed.hex(), source=_USER_DATA,
    )  # fmt: skip


def _init_data(response: Response, init_data: InitDataClaim | None, checks: Checks) -> str:
    if init_data is None:
        return "absent"
    tail = response.user_data[BINDING_SIZE:]
    if tail and hmac.compare_digest(tail, init_data.digest):
        checks.require(
            "se.init_data", ok=True, error=ReportDataMismatch, observed=tail.hex(), source=_USER_DATA
        )
        return "bound"
    checks.warn(
        "se.init_data", observed=tail.hex(), source=_USER_DATA,
        note="the user data does not hold the init-data's digest: it is not part of the claims",
    )  # fmt: skip
    return "unsupported"
