"""Flow B, evidence to result.

``Appraiser.appraise`` reads top to bottom in the order things happen:

1. *Freshness*: the named nonce is spent, whatever happens next; or the relying party's report data is
   taken as given.
2. *Verification*: the TEE's verifier; any failure of authenticity or binding raises and ends here.
3. *Policy*: the active appraisal policy, with the reference values of one snapshot that it names.
4. *Result*: AR4SI trust vector from the policy, then the engine's floors, which no policy can improve.
   A policy that is undefined, fails, or returns something outside AR4SI yields the denying vector.
5. *Devices*: those beside the machine go through steps 2 to 4 after it (``verifier.composite``).
6. *Token*: an EAR that names everything the result rests on, expiring no later than any of it.

Every failure of a policy expectation is in the result; every failure of authenticity is an error.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from common.binding import device_digest, devices_digest
from common.checks import Check, Verdict
from common.encoding import b64url_decode, hex_decode
from common.errors import Malformed, PolicyError, UnavailableError
from policy.claims import (
    CLAIM_NAMES,
    apply_floors,
    parse_extensions,
    parse_trust_claims,
    status,
)
from policy.port import PolicyKind, canonical_key
from storage.database import to_micros
from verifier import composite
from verifier.composite import DeviceResult, DeviceVerifier
from verifier.ear import new_jti
from verifier.errors import UnsupportedEvidence
from verifier.explanation import explain_appraisal
from verifier.model import (
    Expectation,
    InitDataClaim,
    ReportDataBinding,
    RuntimeDataBinding,
    SessionBinding,
    VerifiedEvidence,
)
from verifier.records import AppraisalRecord
from verifier.reference_input import entries
from verifier.result import Appraisal, all_relied_on, expiries
from verifier.result_claims import token_claims
from verifier.tees import EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from policy.port import CompiledPolicy
    from rvps.model import ReferenceLookup, ReferenceValue, Selection
    from verifier.challenges import ChallengeStore
    from verifier.ear import Signer
    from verifier.model import TeeVerifier
    from verifier.records import AppraisalRecorder
    from wire.evidence import Evidence
    from wire.rcar import AppraisalRequest, InitData

_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_ENCODER = msgspec.json.Encoder()
# AR4SI: what a policy that cannot be evaluated yields. 97 is "not recognised", 96 "contraindicated".
_DENIED = {name: 97 if name in ("instance-identity", "hardware") else 96 for name in CLAIM_NAMES}


class ActivePolicies(Protocol):
    """Gives the active version of a policy, compiled."""

    def active(self, kind: PolicyKind, name: str) -> CompiledPolicy:
        """The compiled active version.

        Raises:
            PolicyNotFound: none is active.
        """


class Appraiser:
    """Appraises evidence of every configured TEE.

    Args:
        verifiers: TEE tag to its verifier and the size of its binding digest.
        policies: active policies.
        references: the read side of the reference values.
        challenges: for requests that name a nonce of ours.
        signer: signs results; None for offline inspection.
        recorder: keeps the record of appraisals; None for offline inspection.
        audience: our identity as relying party.
        lifetime: of a token, unless something it rests on expires earlier.
        default_policy: name used when a request names none.
        remembered_decisions: how many policy decisions are remembered. A policy is a pure function of its
            input (the profile has no clock, network or randomness), and guests of one image on one
            platform give one input.
    """

    def __init__(
        self,
        *,
        verifiers: Mapping[str, tuple[TeeVerifier, int]],
        policies: ActivePolicies,
        references: ReferenceLookup,
        audience: str,
        challenges: ChallengeStore | None = None,
        signer: Signer | None = None,
        recorder: AppraisalRecorder | None = None,
        lifetime: timedelta = timedelta(minutes=5),
        default_policy: str = "default",
        remembered_decisions: int = 4096,
    ) -> None:
        """Keep the parts."""
        self._verifiers = dict(verifiers)
        self._device_verifiers = {
            tee: verifier
            for tee, (verifier, _) in verifiers.items()
            if isinstance(verifier, DeviceVerifier)
        }
        self._policies = policies
        self._references = references
        self._challenges = challenges
        self._signer = signer
        self._recorder = recorder
        self._audience = audience
        self._lifetime = lifetime
        self._default_policy = default_policy
        self._decide = _remembering(remembered_decisions)

    def appraise(self, request: AppraisalRequest, now: datetime) -> Appraisal:
        """Appraise one piece of evidence.

        Raises:
            InputError: the request contradicts itself or cannot be parsed.
            EvidenceError: not authentic, not bound, nonce not good.
            EndorsementError: the chain, its dates or revocation do not hold.
            PolicyNotFound: the named policy is not active.
        """
        tee = str(request.evidence.__struct_config__.tag)
        verifier, size = self._verifier_of(tee)
        alone = request.nonce is None and request.devices is None
        if isinstance(verifier, DeviceVerifier) and not alone:
            raise UnsupportedEvidence(
                f"{tee} evidence proves nothing of a machine, and binds no session by itself",
                advice="Send it as `devices`, beside the evidence of the machine.",
            )
        expected = self._expectation(request, tee, size, now)
        verified = self.verify(request.evidence, expected, _init_data(request.init_data), now)
        result = self.judge(verified, now, policy=request.policy, explain=request.explain)
        if request.devices is not None:
            devices = self._devices(request, request.devices, expected, result.status, now)
            result = msgspec.structs.replace(result, devices=devices)
        elif request.device_report_data is not None:
            raise Malformed("device_report_data goes with devices")
        return self._signed(result, request.nonce, now)

    def verify(
        self, evidence: Evidence, expected: Expectation, init_data: InitDataClaim | None, now: datetime
    ) -> VerifiedEvidence:
        """Step 2 alone.

        Raises:
            UnsupportedEvidence: no verifier is configured for that TEE.
            InputError, EvidenceError, EndorsementError: as the verifier says.
        """
        verifier, _ = self._verifier_of(str(evidence.__struct_config__.tag))
        return verifier.verify(evidence, expected, init_data, now)

    def appraise_verified(
        self,
        verified: VerifiedEvidence,
        now: datetime,
        *,
        policy: str | None = None,
        nonce: str | None = None,
        explain: bool = False,
    ) -> Appraisal:
        """Steps 3 to 5, for evidence that a verifier has verified at ``now``."""
        result = self.judge(verified, now, policy=policy, explain=explain)
        return self._signed(result, nonce, now)

    def judge(
        self,
        verified: VerifiedEvidence,
        now: datetime,
        *,
        policy: str | None = None,
        explain: bool = False,
    ) -> Appraisal:
        """Steps 3 and 4: the result, without a token and without a record of it.

        Raises:
            PolicyNotFound: the named policy is not active.
        """
        name = policy or self._default_policy
        compiled = self._policies.active(PolicyKind.APPRAISAL, name)
        claims = _mentioned_claims(compiled, verified)
        observed = _observed(claims, verified.comparable)
        selection = self._references.select(
            compiled.reference_names, observed, now, unverified=compiled.unverified_names
        )
        document = _policy_input(claims, verified, selection)
        vector, extensions, policy_checks = self._evaluate(compiled, document, verified)
        relied_on = tuple(value for value in selection.values if _relied_on(value, verified, observed))
        result = Appraisal(
            status=status(vector),
            trust_vector=vector,
            token="",
            jti=new_jti(now),
            evidence=verified,
            policy=name,
            policy_digest=compiled.source.digest,
            selection=selection,
            relied_on=relied_on,
            checks=verified.checks + policy_checks,
            explanation=None,
            relied_on_unverified=tuple(
                value for value in selection.unverified if _relied_on(value, verified, observed)
            ),
            extensions=extensions,
            relied_on_declared=tuple(word for word in selection.declared if word.relied_on(observed)),
        )
        if explain:
            explanation = explain_appraisal(result, compiled, document)
            result = msgspec.structs.replace(result, explanation=explanation)
        return result

    def verify_devices(
        self, evidence: Evidence, expected: Expectation, init_data: InitDataClaim | None, now: datetime
    ) -> tuple[DeviceResult, ...]:
        """Step 2 for a document that may be of several devices; of a machine's there is one result.

        Raises:
            UnsupportedEvidence, InputError, EvidenceError, EndorsementError: as ``verify``.
        """
        tee = str(evidence.__struct_config__.tag)
        devices = self._device_verifiers.get(tee)
        if devices is not None:
            return devices.verify_devices(evidence, expected, init_data, now)
        verifier, _ = self._verifier_of(tee)
        return (DeviceResult(composite.CPU, verifier.verify(evidence, expected, init_data, now)),)

    def _devices(
        self, request: AppraisalRequest, text: str, expected: Expectation, machine: str, now: datetime
    ) -> dict[str, Appraisal]:
        """Step 5: every device, bound to the same session as the machine."""
        bound: Expectation
        if isinstance(expected, SessionBinding):
            if request.device_report_data is not None:
                raise Malformed("device_report_data goes with report_data, not with a nonce")
            digest = device_digest(
                nonce=expected.nonce, tee_pubkey=expected.tee_pubkey, audience=self._audience
            )
            bound = RuntimeDataBinding(data=digest, nonce=request.nonce, tee_pubkey=expected.tee_pubkey)
        else:
            if request.device_report_data is None:
                raise Malformed("devices beside report_data need device_report_data")
            bound = ReportDataBinding(hex_decode(request.device_report_data, what="device_report_data"))
        results: list[DeviceResult] = []
        for document in composite.documents(text, EVIDENCE):
            tee = str(document.__struct_config__.tag)
            self._verifier_of(tee)
            if tee not in self._device_verifiers:
                raise UnsupportedEvidence(f"{tee} evidence is not of a device")
            results += self.verify_devices(document, bound, None, now)
        return {
            name: self.judge(
                composite.beside(machine, verified), now, policy=request.policy, explain=request.explain
            )
            for name, verified in composite.named(results).items()
        }

    def _verifier_of(self, tee: str) -> tuple[TeeVerifier, int]:
        entry = self._verifiers.get(tee)
        if entry is None:
            raise UnsupportedEvidence(f"this verifier is not configured for {tee} evidence")
        return entry

    def _expectation(self, request: AppraisalRequest, tee: str, size: int, now: datetime) -> Expectation:
        if request.nonce is not None:
            if request.tee_pubkey is None or request.report_data is not None:
                raise Malformed("a nonce goes with tee_pubkey, and not with report_data")
            if self._challenges is None:
                raise Malformed("there are no challenges here: give report_data")
            spent = self._challenges.spend(request.nonce, tee, now)
            return SessionBinding(
                nonce=spent.nonce,
                tee_pubkey=request.tee_pubkey,
                audience=self._audience,
                credential_secret=spent.credential_secret,
                pcr_selection=self._challenges.pcr_selection if tee == "tpm" else None,
                devices=b"" if request.devices is None else devices_digest(request.devices),
            )
        if request.report_data is None or request.tee_pubkey is not None:
            raise Malformed("give nonce and tee_pubkey, or report_data alone")
        data = hex_decode(request.report_data, what="report_data")
        if len(data) != size:
            raise Malformed(f"report_data of {tee} evidence has {size} bytes, not {len(data)}")
        return ReportDataBinding(data)

    def _evaluate(
        self, compiled: CompiledPolicy, document: bytes, verified: VerifiedEvidence
    ) -> tuple[dict[str, int], dict[str, Any], tuple[Check, ...]]:
        """Step 4: the trust vector with floors applied, extensions, and the checks of this stage."""
        try:
            claims, extensions = self._decide(compiled, document)
        except (PolicyError, UnavailableError) as error:
            check = Check("policy.trust_claims", Verdict.FAIL, code=error.code, note=error.message)
            return dict(_DENIED), {}, (check,)
        floored = apply_floors(claims, verified.floors)
        checks = tuple(
            Check(
                f"floor.{name}",
                Verdict.FAIL,
                expected=claims.get(name, 0),
                observed=value,
                note="an engine floor that no policy can improve",
            )
            for name, value in floored.items()
            if value != claims.get(name, 0)
        )
        return floored, extensions, checks

    def _signed(self, result: Appraisal, nonce: str | None, now: datetime) -> Appraisal:
        if self._recorder is not None:
            self._recorder.record(_record(result, now))
        if self._signer is None:
            return result
        expires = min([now + self._lifetime, *(end for item in result.every for end in expiries(item))])
        claims = token_claims(result, nonce, self._audience)
        return msgspec.structs.replace(result, token=self._signer.sign(claims, now=now, expires=expires))


_Decision = tuple[dict[str, int], dict[str, Any]]


def _remembering(size: int) -> Callable[[CompiledPolicy, bytes], _Decision]:
    """What a compiled policy decides on a document; answers are remembered, errors are not."""

    def decide(compiled: CompiledPolicy, document: bytes) -> _Decision:
        result = compiled.evaluate(document)
        claims = parse_trust_claims(result.get("data.policy.trust_claims"))
        return claims, parse_extensions(result.get("data.policy.extensions"))

    # A compiled policy is hashed by identity: one object per digest (``policy.port.PolicyEngine``).
    remembered: Any = lru_cache(maxsize=size)(decide)
    return cast("Callable[[CompiledPolicy, bytes], _Decision]", remembered)


def _init_data(init_data: InitData | None) -> InitDataClaim | None:
    if init_data is None:
        return None
    hash_of = _HASHES.get(init_data.algorithm)
    if hash_of is None:
        raise Malformed("init_data algorithm is not one of sha256, sha384, sha512")
    data = b64url_decode(init_data.data, what="init_data")
    return InitDataClaim(digest=hash_of(data).digest(), data=data)


def _relied_on(value: ReferenceValue, verified: VerifiedEvidence, observed: frozenset[str]) -> bool:
    """Whether the result may rest on it: of this TEE, and equal to something seen, or a minimum."""
    return value.tee == verified.tee and (value.scalar or canonical_key(value.value) in observed)


def _mentioned_claims(compiled: CompiledPolicy, verified: VerifiedEvidence) -> dict[str, Any]:
    """Of the claims what the policy mentions: it can compare nothing else."""
    return {
        name: _members(value, compiled.input_names[name])
        for name, value in verified.claims.items()
        if name in compiled.input_names
    }


def _members(value: Any, names: frozenset[str] | None) -> Any:
    if names is None or not isinstance(value, dict):
        return value
    return {name: value[name] for name in names if name in value}


def _observed(claims: Mapping[str, Any], comparable: tuple[str, ...]) -> frozenset[str]:
    """Canonical text of every scalar that a reference value may equal (``policy.port.canonical_key``)."""
    found: set[str] = set()
    pending: list[Any] = [claims.get(member) for member in comparable]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, (list, tuple)):
            pending.extend(value)
        elif value is not None:
            found.add(canonical_key(value))
    return frozenset(found)


def _policy_input(claims: dict[str, Any], verified: VerifiedEvidence, selection: Selection) -> bytes:
    """The input document: the claims, the reference values, what the verification came to."""
    references = {"reference": entries(selection.values, selection.declared)}
    if selection.unverified:
        references["unverified_reference"] = entries(selection.unverified)
    verification = {
        "tee": verified.tee,
        "bound": verified.bound,
        "init_data": verified.init_data,
        "identity": verified.identity,
        "failed": [check.code for check in verified.checks if check.verdict is Verdict.FAIL],
    }
    return _ENCODER.encode(claims | references | {"verification": verification})


def _record(result: Appraisal, now: datetime) -> AppraisalRecord:
    return AppraisalRecord(
        jti=result.jti,
        at=to_micros(now),
        tee=result.evidence.tee,
        status=result.worst,
        bound=result.evidence.bound,
        identity=result.evidence.identity,
        evidence_digest=result.evidence.evidence_digest,
        policy_digest=result.policy_digest,
        snapshot=result.selection.snapshot,
        references=tuple(dict.fromkeys(one for item in result.every for one in all_relied_on(item))),
    )
