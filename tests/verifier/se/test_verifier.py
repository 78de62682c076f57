"""Evidence of a test Ultravisor, and everything that can be wrong with it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from common.checks import Verdict
from common.encoding import b64_encode, b64url_decode, b64url_encode
from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from testkit.se_host import TAGS, SeAuthority, Ultravisor, image_header
from tests.verifier.se.conftest import EXPECTED, NOW, REPORT_DATA, SEAL, World
from verifier.errors import (
    CertificateInvalid,
    CertificateRevoked,
    CrlInvalid,
    CrlMissing,
    EndorsementMissing,
    NonceUnknown,
    ReportDataMismatch,
    SignatureInvalid,
)
from verifier.model import (
    InitDataClaim,
    ReportDataBinding,
    RuntimeDataBinding,
    SessionBinding,
    Unbound,
    VerifiedEvidence,
)
from verifier.se import SeSettings
from verifier.se.challenge import OpenedRequest, seal
from verifier.se.coco import SeCocoForm
from verifier.se.evidence import SeEvidence
from verifier.se.header import parse_header
from verifier.se.response import measurement_of
from verifier.se.tee import TEE
from verifier.se.verifier import parse_evidence
from verifier.tee import Inspection
from wire.evidence import SampleEvidence

MEMBERS = ("measurement", "additional_data", "user_data", "cuid", "image_hdr_tags")
DIGEST = bytes([9]) * 48
INIT_DATA = InitDataClaim(digest=DIGEST, data=b"")


def altered(evidence: SeEvidence, member: str, position: int = 0) -> SeEvidence:
    data = bytearray(b64url_decode(getattr(evidence, member)))
    data[position] ^= 1
    return msgspec.structs.replace(evidence, **{member: b64url_encode(bytes(data))})


def store(world: World, folder: Path) -> None:
    """The endorsement store on disk."""
    files = world.files()
    kinds = {"hkds": files.host_keys, "certs": files.certificates, "crls": files.lists}
    for kind, contents in kinds.items():
        (folder / "se" / kind).mkdir(parents=True)
        for place, data in enumerate(contents):
            (folder / "se" / kind / str(place)).write_bytes(data)


def verify(world: World, evidence: SeEvidence, **changes: Any) -> VerifiedEvidence:
    arguments = {"expected": EXPECTED, "init_data": None, "now": NOW} | changes
    verifier = arguments.pop("verifier", None) or world.verifier()
    return verifier.verify(evidence, **arguments)


def test_evidence_of_a_certified_machine_holds(world: World) -> None:
    verified = verify(world, world.evidence())
    claims = verified.claims["se"]
    assert claims["version"] == 256
    assert (claims["cuid"], claims["tag"]) == ((bytes([5]) * 16).hex(), TAGS[192:].hex())
    assert claims["page_list_digest"] == TAGS[:64].hex()
    assert claims["image_phkh"] == claims["attestation_phkh"] == world.host.phkh.hex()
    assert claims["user_data"] == verified.claims["report_data"] == REPORT_DATA.hex()
    assert (claims["header_known"], claims["image_host_key_known"]) == (False, True)
    assert verified.claims["common"]["measurement"] == claims["tag"]
    assert "debug" not in verified.claims["common"]
    assert verified.identity == f"se-host-key:{world.host.phkh.hex()}"
    assert (verified.bound, verified.init_data, verified.floors) == ("report-data", "absent", {})
    assert verified.not_after is not None
    assert len(verified.endorsements) == 7
    assert all(check.verdict is not Verdict.FAIL for check in verified.checks)


@pytest.mark.parametrize("member", MEMBERS)
def test_every_byte_of_an_answer_is_measured(world: World, member: str) -> None:
    evidence = world.evidence()
    for position in range(len(b64url_decode(getattr(evidence, member)))):
        with pytest.raises(SignatureInvalid):
            verify(world, altered(evidence, member, position))


@pytest.mark.parametrize("member", ["encr_measurement_key", "encr_request_nonce"])
def test_sealed_members_are_ours_and_whole(world: World, member: str) -> None:
    with pytest.raises(NonceUnknown):
        verify(world, altered(world.evidence(), member, 20))


def test_a_key_that_somebody_chose_makes_no_evidence(world: World) -> None:
    """Whoever can seal a measurement key of their own needs no machine: only we can."""
    response, _ = parse_evidence(world.evidence())
    request = OpenedRequest(bytes(64), bytes(16), 1 << 61 | 1 << 60, NOW)
    key, nonce = seal(bytes(32), request)
    forged = SeEvidence(
        measurement=b64url_encode(measurement_of(response, bytes(64), bytes(16))),
        additional_data=b64url_encode(response.additional),
        user_data=b64url_encode(response.user_data),
        cuid=b64url_encode(response.cuid),
        image_hdr_tags=b64url_encode(response.tags.raw),
        encr_measurement_key=b64url_encode(key),
        encr_request_nonce=b64url_encode(nonce),
    )
    with pytest.raises(NonceUnknown):
        verify(world, forged)


def test_an_answer_to_one_request_is_none_to_another(world: World) -> None:
    one, other = world.evidence(), world.evidence()
    mixed = msgspec.structs.replace(
        one,
        encr_measurement_key=other.encr_measurement_key,
        encr_request_nonce=other.encr_request_nonce,
    )
    with pytest.raises(SignatureInvalid):
        verify(world, mixed)


def test_a_request_is_answered_within_its_lifetime(world: World) -> None:
    evidence = world.evidence()
    with pytest.raises(NonceUnknown):
        verify(world, evidence, now=NOW + timedelta(minutes=16))
    longer = world.verifier(challenge_lifetime=timedelta(hours=1))
    assert verify(world, evidence, now=NOW + timedelta(minutes=16), verifier=longer).tee == "se"


@pytest.mark.parametrize(
    "expected",
    [
        ReportDataBinding(bytes(64)),
        RuntimeDataBinding(data=bytes(48)),
        SessionBinding(
            nonce=bytes(32), tee_pubkey={"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, audience="a"
        ),
    ],
)
def test_report_data_is_all_of_the_first_64_bytes(world: World, expected: Any) -> None:
    with pytest.raises(ReportDataMismatch):
        verify(world, world.evidence(), expected=expected)


def test_report_data_shorter_than_its_field_is_refused(world: World) -> None:
    with pytest.raises(ReportDataMismatch):
        verify(world, world.evidence(user_data=REPORT_DATA[:48]))


def test_coco_runtime_data_fits_the_field(world: World) -> None:
    for digest in (bytes(range(48)), bytes(range(64))):
        evidence = world.evidence(user_data=digest.ljust(64, b"\0"))
        verified = verify(world, evidence, expected=RuntimeDataBinding(data=digest, nonce="n"))
        assert verified.bound == "session"


def test_unbound_evidence_affirms_no_instance(world: World) -> None:
    verified = verify(world, world.evidence(), expected=Unbound())
    assert (verified.bound, verified.floors) == ("unbound", {"instance-identity": 97})


def test_init_data_that_the_user_data_holds_is_bound(world: World) -> None:
    verified = verify(world, world.evidence(user_data=REPORT_DATA + DIGEST), init_data=INIT_DATA)
    assert (verified.init_data, verified.claims["init_data"]) == ("bound", DIGEST.hex())
    assert verified.floors == {}


@pytest.mark.parametrize("tail", [b"", DIGEST[:-1], DIGEST + b"\0", bytes(48)])
def test_init_data_that_it_does_not_hold_stays_out_of_the_claims(world: World, tail: bytes) -> None:
    """Abuse case 30."""
    verified = verify(world, world.evidence(user_data=REPORT_DATA + tail), init_data=INIT_DATA)
    assert verified.init_data == "unsupported"
    assert "init_data" not in verified.claims
    assert verified.floors == {"configuration": 36}
    assert any(item.verdict is Verdict.WARNING and item.name == "se.init_data" for item in verified.checks)


def test_a_known_image_that_allows_dumps_is_contraindicated(world: World) -> None:
    evidence = world.evidence()
    dumps = world.verifier(image_headers=(parse_header(image_header(dumps=True)),))
    verified = verify(world, evidence, verifier=dumps)
    assert verified.floors == {"configuration": 96}
    assert verified.claims["se"]["dump_allowed"] is True
    assert verified.claims["common"]["debug"] is True
    plain = verify(world, evidence, verifier=world.verifier(image_headers=(parse_header(image_header()),)))
    assert (plain.floors, plain.claims["common"]["debug"]) == ({}, False)
    permitted = world.verifier(image_headers=(parse_header(image_header(dumps=True)),), permit_dumps=True)
    assert verify(world, evidence, verifier=permitted).floors == {}


def test_the_host_key_is_one_of_the_store(world: World) -> None:
    evidence = world.evidence()
    with pytest.raises(EndorsementMissing):
        verify(world, evidence, verifier=world.verifier(world.files(host_keys=())))
    other = world.authority.host()
    with pytest.raises(EndorsementMissing):
        verify(world, evidence, verifier=world.verifier(world.files(host_keys=(other.document, b"none"))))


def test_a_broken_file_of_the_store_is_not_the_guests_fault(world: World) -> None:
    evidence = world.evidence()
    with pytest.raises(CertificateInvalid, match="endorsement store"):
        verify(world, evidence, verifier=world.verifier(world.files(certificates=(b"none",))))
    with pytest.raises(CrlInvalid, match="se/crls"):
        verify(world, evidence, verifier=world.verifier(world.files(lists=(b"none",))))


def test_the_host_key_is_judged_when_evidence_is_not_when_it_was_asked(world: World) -> None:
    evidence = world.evidence()
    revoked = world.authority.crl(world.authority.signing, [world.host.certificate])
    with pytest.raises(CertificateRevoked):
        verify(world, evidence, verifier=world.verifier(world.files(lists=(revoked, *world.lists))))
    with pytest.raises(CrlMissing):
        verify(world, evidence, verifier=world.verifier(world.files(lists=())))


def test_an_image_of_another_machines_key_is_said_so(world: World) -> None:
    evidence = world.evidence(ultravisor=Ultravisor(world.host, image_phkh=bytes(32)))
    verified = verify(world, evidence)
    assert verified.claims["se"]["image_host_key_known"] is False
    assert any(item.name == "se.image_host_key" for item in verified.checks)


def test_what_else_was_asked_for_is_a_claim(world: World) -> None:
    verifier = world.verifier(additional=("secret-store", "firmware-state"))
    claims = verify(world, world.evidence(verifier=verifier), verifier=verifier).claims["se"]
    assert len(claims["secret_store"]) == 128
    assert claims["firmware_state"] == (bytes([6]) * 320).hex()


def test_a_challenge_needs_a_host_key_that_holds(world: World) -> None:
    header = parse_header(image_header())
    with pytest.raises(EndorsementMissing):
        world.verifier(world.files(host_keys=())).challenge(header, NOW)
    with pytest.raises(CrlMissing):
        world.verifier(world.files(lists=())).challenge(header, NOW)


def test_a_coco_challenge_is_for_the_first_known_image(world: World) -> None:
    headers = (parse_header(image_header()), parse_header(image_header(bytes(208))))
    verifier = world.verifier(image_headers=headers)
    nonce, algorithm = verifier.coco_challenge(NOW)
    assert algorithm == "sha512"
    document = SeCocoForm().evidence_of(Ultravisor(world.host).evidence(nonce, REPORT_DATA))
    assert verify(world, document, verifier=verifier).claims["se"]["header_known"] is True
    with pytest.raises(InvalidSetting):
        world.verifier().coco_challenge(NOW)


def test_a_machine_of_no_host_key_of_ours_cannot_answer(world: World) -> None:
    stranger = SeAuthority().host()
    with pytest.raises(ValueError, match="other host keys"):
        world.evidence(ultravisor=Ultravisor(stranger))


@pytest.mark.parametrize("size", [63, 65])
def test_sizes_of_members(world: World, size: int) -> None:
    evidence = world.evidence()
    wrong = {
        "measurement": size,
        "cuid": size,
        "image_hdr_tags": size,
        "user_data": 257,
        "additional_data": 8 * 4096 + 1,
    }
    for member, count in wrong.items():
        with pytest.raises(Malformed):
            verify(world, msgspec.structs.replace(evidence, **{member: b64url_encode(bytes(count))}))
    with pytest.raises(TooLarge):
        verify(world, msgspec.structs.replace(evidence, cuid="A" * 70000))
    with pytest.raises(Malformed):
        verify(world, msgspec.structs.replace(evidence, cuid="A="))


def test_evidence_of_another_tee_is_refused(world: World) -> None:
    with pytest.raises(Malformed):
        world.verifier().verify(SampleEvidence("1"), EXPECTED, None, NOW)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(InvalidSetting):
        SeSettings(challenge_key=b"short")
    with pytest.raises(InvalidSetting):
        SeSettings(challenge_key=SEAL, challenge_lifetime=timedelta(0))


class TestCocoForm:
    def test_claims_have_their_names(self, world: World) -> None:
        verified = verify(world, world.evidence())
        claims = SeCocoForm().claims_of(verified)["se"]
        theirs = {"cuid", "report_data", "version", "image_phkh", "attestation_phkh", "tag"}
        assert claims.keys() >= theirs
        assert claims["report_data"] == REPORT_DATA.hex()

    @pytest.mark.parametrize("document", [None, [], {}, {"measurement": 1}, "text"])
    def test_another_form(self, document: Any) -> None:
        with pytest.raises(Malformed):
            SeCocoForm().evidence_of(document)

    def test_members_are_bounded_and_canonical(self, world: World) -> None:
        names = SeEvidence.__struct_fields__
        theirs = {name: b64_encode(b64url_decode(getattr(world.evidence(), name))) for name in names}
        assert isinstance(SeCocoForm().evidence_of(theirs), SeEvidence)
        for bad in ("A" * 70000, "A", "&&&&"):
            with pytest.raises(Malformed):
                SeCocoForm().evidence_of(theirs | {"cuid": bad})


class TestRecord:
    def test_files_of_the_store_make_an_offline_verifier(self, world: World, tmp_path: Path) -> None:
        store(world, tmp_path)
        inspection = Inspection(
            now=NOW,
            collateral=tmp_path,
            anchors=(world.authority.root.certificate,),
            files={"challenge-key": SEAL},
        )
        evidence = world.evidence()
        verifier = TEE.offline(evidence, inspection)
        assert verifier.verify(evidence, EXPECTED, None, NOW).tee == "se"
        with pytest.raises(InvalidSetting):
            TEE.offline(evidence, msgspec.structs.replace(inspection, files={}))

    def test_a_configured_verifier_reads_its_files_anew(self, world: World, tmp_path: Path) -> None:
        from verifier.tee import Surroundings

        key, root, header = tmp_path / "key", tmp_path / "root.pem", tmp_path / "hdr.bin"
        key.write_bytes(SEAL)
        key.chmod(0o600)
        root.write_bytes(world.authority.root.certificate.public_bytes(Encoding.PEM))
        header.write_bytes(image_header())
        section = TEE.section(
            enabled=True, challenge_key_file=key, extra_roots=(root,), image_headers=(header,)
        )
        verifier = TEE.build(section, Surroundings(collateral=tmp_path))
        evidence = world.evidence()
        with pytest.raises(EndorsementMissing):
            verifier.verify(evidence, EXPECTED, None, NOW)
        store(world, tmp_path)
        assert verifier.verify(evidence, EXPECTED, None, NOW).claims["se"]["header_known"] is True
        assert list(TEE.insecure(section))
        assert not list(TEE.insecure(TEE.section()))

    def test_without_a_challenge_key_there_is_no_verifier(self, tmp_path: Path) -> None:
        from verifier.tee import Surroundings

        with pytest.raises(InvalidSetting):
            TEE.build(TEE.section(enabled=True), Surroundings(collateral=tmp_path))

    def test_recognises_evidence_as_guests_write_it(self, world: World) -> None:
        names = SeEvidence.__struct_fields__
        evidence = world.evidence()
        theirs = {name: b64_encode(b64url_decode(getattr(evidence, name))) for name in names}
        assert TEE.recognise(msgspec.json.encode(theirs)) == evidence
        for other in (b"", b"\x00\x01", b"{", b"[]", b'{"quote": 1}', b"{}"):
            assert TEE.recognise(other) is None

    def test_contents_are_what_the_evidence_says(self, world: World) -> None:
        evidence = world.evidence()
        assert TEE.contents(evidence)["tag"] == TAGS[192:].hex()
        assert TEE.contents(msgspec.structs.replace(evidence, cuid="A")) == {}


@given(member=st.sampled_from(SeEvidence.__struct_fields__), data=st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_member_gives_a_verdict_or_a_typed_error(world: World, member: str, data: bytes) -> None:
    evidence = msgspec.structs.replace(
        FUZZED.setdefault("", world.evidence()), **{member: b64url_encode(data)}
    )
    with pytest.raises(TouchstoneError):
        verify(world, evidence)


FUZZED: dict[str, SeEvidence] = {}
