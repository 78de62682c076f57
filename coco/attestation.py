"""The attestation service: evidence of one or more TEEs in, one attestation result (EAR) out.

``AttestationService.evaluate`` reads top to bottom in the order things happen:

1. Each request: evidence to our form, what it must be bound to, init-data; then its verifier. Any failure
   ends the whole evaluation: there is no token for a part.
2. Names: ``<class><n>``, numbered per class in the order of the requests (devices come sorted by TEE name
   from the KBS, so that names do not depend on chance). Evidence of several devices gives a result for
   each, in its order. A device beside a machine that is not affirming is not recognised
   (``verifier.composite``).
3. Policy ``<id>_<class>`` over claims in the reference's form, with the reference values of one snapshot.
4. One token with every submodule, what each rests on, and how the evidence was bound.

Only evidence of a session of ours gives a token that releases secrets here (``bound`` = ``session``).
What a relying party asks for without runtime data is answered, as the reference service does; the token
says ``unbound`` and releases nothing.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from coco import tees
from coco.token import combined_claims
from common import init_data, runtime_data
from common.errors import Malformed
from policy.claims import STATUS_ORDER
from storage.database import to_micros
from verifier import composite
from verifier.ear import new_jti
from verifier.errors import UnsupportedEvidence
from verifier.model import InitDataClaim, RuntimeDataBinding, VerifiedEvidence
from verifier.records import AppraisalRecord
from verifier.result import all_relied_on, expiries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coco.session import KbsSession
    from coco.tees import Tee
    from coco.token import TokenNames, TokenSigner
    from verifier.appraisal import Appraiser
    from verifier.model import Challenger, CocoForm
    from verifier.records import AppraisalRecorder
    from verifier.result import Appraisal

DEFAULT_POLICY: Final = "default"
_MAX_REQUESTS: Final = 32
_MAX_POLICY_ID: Final = 100


class RawRuntimeData(msgspec.Struct, frozen=True):
    """Bytes expected in the report-data field, as they are: not hashed, only fitted."""

    data: bytes


class StructuredRuntimeData(msgspec.Struct, frozen=True):
    """JSON whose canonical form is hashed; it becomes claims of the token."""

    value: Any


class InitDataDigest(msgspec.Struct, frozen=True):
    """Digest expected in the init-data field."""

    digest: bytes


class InitDataToml(msgspec.Struct, frozen=True):
    """The launch data itself, TOML text."""

    text: str


class VerificationRequest(msgspec.Struct, frozen=True):
    """Evidence of one TEE.

    Attributes:
        tee: its name.
        evidence: its document, decoded JSON.
        runtime_data: what it must be bound to; None: nothing.
        init_data: launch data to hold against it.
        hash_algorithm: of structured runtime data; empty: SHA-384.
    """

    tee: str
    evidence: Any
    runtime_data: RawRuntimeData | StructuredRuntimeData | None = None
    init_data: InitDataDigest | InitDataToml | None = None
    hash_algorithm: str = ""


class Attested(msgspec.Struct, frozen=True):
    """What an evaluation came to.

    Attributes:
        token: the EAR, compact JWS.
        status: the worst status of its submodules.
        tee: of the first request.
    """

    token: str
    status: str
    tee: str


class Supplement(msgspec.Struct, frozen=True):
    """What a verifier gives a guest in place of a nonce.

    Attributes:
        text: JSON text.
        hash_algorithm: that the guest must hash the runtime data with.
    """

    text: str
    hash_algorithm: str


class AttestationService:
    """Evaluates evidence for the KBS and for callers of the attestation-service API.

    Args:
        appraiser: verifies and judges.
        forms: per TEE, how CoCo spells its evidence; a TEE without a verifier here is missing.
        signer: signs tokens.
        names: what every token says of itself.
        recorder: keeps the record of appraisals.
        lifetime: of a token, unless something it rests on expires earlier.
        challengers: verifiers that make the challenge themselves.
        verbose: keep ``additional-evidence`` in the token's runtime data.
    """

    def __init__(
        self,
        *,
        appraiser: Appraiser,
        forms: Mapping[str, CocoForm],
        signer: TokenSigner,
        names: TokenNames,
        recorder: AppraisalRecorder | None,
        lifetime: timedelta = timedelta(minutes=5),
        challengers: Mapping[str, Challenger] | None = None,
        verbose: bool = True,
    ) -> None:
        """Keep the parts."""
        self._appraiser = appraiser
        self._forms = dict(forms)
        self._challengers = dict(challengers or {})
        self._signer = signer
        self._names = names.claims()
        self._recorder = recorder
        self._lifetime = lifetime
        self._verbose = verbose

    def supplement(self, tee: Tee, now: datetime) -> Supplement | None:
        """What a guest of this TEE needs in place of a nonce; None for most.

        Raises:
            ConfigurationError, EndorsementError: its verifier cannot make one.
        """
        challenger = self._challengers.get(tee.name)
        if challenger is None:
            return None
        text, algorithm = challenger.coco_challenge(now)
        return Supplement(text, algorithm)

    def runtime_data_hash(self, tee: Tee) -> str:
        """The hash that its challenges choose for the runtime data; empty: SHA-384."""
        challenger = self._challengers.get(tee.name)
        return "" if challenger is None else challenger.coco_hash

    def supports(self, tee: Tee) -> bool:
        """Whether evidence of this TEE can be verified here."""
        return tee.name in self._forms

    def evaluate(
        self,
        requests: Sequence[VerificationRequest],
        now: datetime,
        *,
        policy_ids: Sequence[str] = (),
        session: KbsSession | None = None,
    ) -> Attested:
        """Verify, judge and sign.

        Args:
            requests: at least one; the first is the CPU's.
            now: the instant of the whole evaluation.
            policy_ids: the first counts; none: ``default``.
            session: of ours, whose nonce the caller has spent and found in the runtime data.

        Raises:
            InputError: a request is malformed.
            TeeUnknown, UnsupportedEvidence: no such TEE, or none that is configured.
            EvidenceError, EndorsementError: evidence is not authentic or not bound.
            PolicyNotFound: there is no active policy ``<id>_<class>``.
        """
        if not 1 <= len(requests) <= _MAX_REQUESTS:
            raise Malformed(f"1 to {_MAX_REQUESTS} verification requests are taken, not {len(requests)}")
        policy_id = policy_ids[0] if policy_ids else DEFAULT_POLICY
        if len(policy_id) > _MAX_POLICY_ID:
            raise Malformed("the policy id is too long")
        counted: Counter[str] = Counter()
        results: dict[str, Appraisal] = {}
        for request in requests:
            tee = tees.named(request.tee)
            for tee_class, verified in self._verified(request, tee, session, now):
                name = f"{tee_class}{counted[tee_class]}"
                counted[tee_class] += 1
                machine = next(iter(results.values())).status if results else None
                judged = verified if machine is None or tee.primary else composite.beside(machine, verified)
                results[name] = self._appraiser.judge(judged, now, policy=f"{policy_id}_{tee_class}")
        return self._signed(results, policy_id, session, now)

    def _verified(
        self, request: VerificationRequest, tee: Tee, session: KbsSession | None, now: datetime
    ) -> list[tuple[str, VerifiedEvidence]]:
        """Class and result of each device of the evidence; of a machine's there is one."""
        form = self._forms.get(tee.name)
        if form is None:
            raise UnsupportedEvidence(f"this service is not configured for {tee.name} evidence")
        evidence = form.evidence_of(request.evidence)
        expected = _expectation(request, session)
        document = _init_data_document(request.init_data)
        claim = _init_data_claim(request.init_data, document)
        return [
            (
                tee.tee_class if result.device_class == composite.CPU else result.device_class,
                self._with_claims(request, form, result.evidence, document),
            )
            for result in self._appraiser.verify_devices(evidence, expected, claim, now)
        ]

    def _with_claims(
        self,
        request: VerificationRequest,
        form: CocoForm,
        verified: VerifiedEvidence,
        document: init_data.InitData | None,
    ) -> VerifiedEvidence:
        """The result with claims in the reference's form."""
        claims = form.claims_of(verified)
        if "init_data" in claims:
            claims = claims | {"init_data_claims": None if document is None else init_data.claims(document)}
        if "report_data" in claims:
            claims = claims | {"runtime_data_claims": self._runtime_claims(request.runtime_data)}
        return msgspec.structs.replace(verified, claims=claims)

    def _runtime_claims(self, data: RawRuntimeData | StructuredRuntimeData | None) -> Any:
        if not isinstance(data, StructuredRuntimeData):
            return None
        if self._verbose or not isinstance(data.value, dict):
            return data.value
        return {name: value for name, value in data.value.items() if name != "additional-evidence"}

    def _signed(
        self, results: Mapping[str, Appraisal], policy_id: str, session: KbsSession | None, now: datetime
    ) -> Attested:
        jti = new_jti(now)
        expires = min([now + self._lifetime, *(end for item in results.values() for end in expiries(item))])
        claims = combined_claims(results, policy_id=policy_id, jti=jti, session=session)
        token = self._signer.sign_coco(claims | self._names, now=now, expires=expires)
        first = next(iter(results.values()))
        worst = _worst(results.values())
        if self._recorder is not None:
            self._recorder.record(_record(jti, results, worst, now))
        return Attested(token, worst, first.evidence.tee)


def _expectation(request: VerificationRequest, session: KbsSession | None) -> RuntimeDataBinding:
    data = request.runtime_data
    if data is None:
        return RuntimeDataBinding(data=None)
    if isinstance(data, RawRuntimeData):
        return RuntimeDataBinding(data=data.data)
    digest = runtime_data.digest(data.value, request.hash_algorithm or runtime_data.DEFAULT_HASH)
    if session is None:
        return RuntimeDataBinding(data=digest)
    return RuntimeDataBinding(data=digest, nonce=session.nonce, tee_pubkey=data.value["tee-pubkey"])


def _init_data_document(given: InitDataDigest | InitDataToml | None) -> init_data.InitData | None:
    return init_data.parse(given.text) if isinstance(given, InitDataToml) else None


def _init_data_claim(
    given: InitDataDigest | InitDataToml | None, document: init_data.InitData | None
) -> InitDataClaim | None:
    if isinstance(given, InitDataToml) and document is not None:
        return InitDataClaim(digest=document.digest, data=given.text.encode("utf-8"), fitted=True)
    if not isinstance(given, InitDataDigest):
        return None
    if not any(given.digest):
        # The field of a guest without init-data is zero too: this would hold for it.
        raise Malformed("an init-data digest of zeros is that of a guest without init-data")
    return InitDataClaim(digest=given.digest, data=b"", fitted=True)


def _worst(results: Iterable[Appraisal]) -> str:
    return max((item.status for item in results), key=STATUS_ORDER.index)


def _record(jti: str, results: Mapping[str, Appraisal], status: str, now: datetime) -> AppraisalRecord:
    """One record of the whole: the CPU's evidence, every reference value that was relied on."""
    first = next(iter(results.values()))
    references = {one for item in results.values() for one in all_relied_on(item)}
    return AppraisalRecord(
        jti=jti,
        at=to_micros(now),
        tee=first.evidence.tee,
        status=status,
        bound=first.evidence.bound,
        identity=first.evidence.identity,
        evidence_digest=first.evidence.evidence_digest,
        policy_digest=first.policy_digest,
        snapshot=first.selection.snapshot,
        references=tuple(sorted(references)),
    )
