"""The TPM attester against a real TPM implementation (swtpm), and the verifier on what it makes."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

from common.binding import binding_digest
from common.encoding import b64url_decode, b64url_encode
from common.errors import DependencyMissing, InvalidSetting, Malformed
from guest_agent.attesters.tpm import TpmAttester
from guest_agent.errors import EvidenceNotMade, TeeUnavailable
from testkit.swtpm import SwTpm
from tests.components import require_swtpm
from verifier.errors import (
    AttestationKeyUntrusted,
    EventLogMismatch,
    PcrMismatch,
    ReportDataMismatch,
    RootUntrusted,
)
from verifier.model import SessionBinding
from verifier.tpm import TpmSettings, TpmVerifier, make_credential, parse_endorsement
from verifier.tpm.names import name_of
from verifier.tpm.public import parse_public
from wire.rcar import Challenge

pytestmark = pytest.mark.xdist_group("swtpm")

AUDIENCE = "https://verifier.example"
JWK = {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "BBBB"}
SELECTION = {"sha256": tuple(range(16))}


@pytest.fixture(scope="module")
def tpm():
    require_swtpm()
    with SwTpm() as running:
        running.measured_boot()
        yield running


@pytest.fixture(scope="module")
def other_tpm():
    require_swtpm()
    with SwTpm() as running:
        yield running


def attester(tpm: SwTpm, **changes) -> TpmAttester:
    members = {"tcti": tpm.tcti, "ek_chain": tpm.ek_chain, "event_log": tpm.event_log}
    return TpmAttester(**(members | changes))


class Relying:
    """The verifier's side of one exchange."""

    def __init__(self, settings: TpmSettings):
        self.settings = settings
        self.nonce = secrets.token_bytes(32)
        self.secret = None
        self.credential = None

    def endorse(self, endorsement) -> None:
        endorsed = parse_endorsement(endorsement, self.settings, self.now)
        self.secret = secrets.token_bytes(32)
        self.credential = make_credential(endorsed, self.secret)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def challenge(self, selection=SELECTION) -> Challenge:
        return Challenge(
            nonce=b64url_encode(self.nonce),
            audience=AUDIENCE,
            expires_at="2099-01-01T00:00:00Z",
            pcr_selection={bank: list(indexes) for bank, indexes in selection.items()},
            credential=self.credential,
        )

    def binding(self) -> bytes:
        return binding_digest(nonce=self.nonce, tee_pubkey=JWK, audience=AUDIENCE, size=32)

    def verify(self, evidence, selection=SELECTION):
        expected = SessionBinding(
            nonce=self.nonce,
            tee_pubkey=JWK,
            audience=AUDIENCE,
            credential_secret=self.secret,
            pcr_selection=dict(selection),
        )
        return TpmVerifier(self.settings).verify(evidence, expected, None, self.now)


def exchange(tpm: SwTpm, maker: TpmAttester, selection=SELECTION):
    """Endorsement, challenge, credential, quote, verification."""
    relying = Relying(TpmSettings(ek_roots=(tpm.ek_root,), allow_sha1_banks=True))
    relying.endorse(maker.endorsement())
    evidence = maker.collect(relying.binding(), relying.challenge(selection))
    return relying, evidence


class TestAttack:
    def test_anothers_ek_certificate_with_an_own_key_opens_no_credential(self, tpm, other_tpm):
        """The Keylime break of 2021: a genuine EK certificate beside a key of another TPM."""
        with attester(tpm) as mine, attester(other_tpm) as theirs:
            forged = msgspec.structs.replace(
                theirs.endorsement(), ak_public=b64url_encode(mine.ak_public())
            )
            relying = Relying(TpmSettings(ek_roots=(tpm.ek_root, other_tpm.ek_root)))
            relying.endorse(forged)
            for maker in (mine, theirs):
                with pytest.raises(EvidenceNotMade, match="credential"):
                    maker.collect(relying.binding(), relying.challenge())

    def test_a_credential_opened_for_one_key_is_not_good_for_another(self, tpm, other_tpm):
        with attester(tpm) as genuine, attester(other_tpm) as own:
            relying = Relying(TpmSettings(ek_roots=(tpm.ek_root,)))
            relying.endorse(genuine.endorsement())
            opened = genuine.collect(relying.binding(), relying.challenge())
            plain = msgspec.structs.replace(relying.challenge(), credential=None)
            forged = msgspec.structs.replace(
                own.collect(relying.binding(), plain),
                ek_certificate=opened.ek_certificate,
                ek_chain=opened.ek_chain,
                credential_secret=opened.credential_secret,
            )
            with pytest.raises(AttestationKeyUntrusted):
                relying.verify(forged)

    def test_a_key_that_is_not_restricted_gets_no_credential(self, tpm):
        with attester(tpm) as maker:
            endorsement = maker.endorsement()
            maker._tools.run(
                "tpm2_createprimary",
                ["-C", "o", "-G", "ecc:ecdsa-sha256", "-c", "signer.ctx", "-a", _UNRESTRICTED],
                failure="create a signing key",
            )
            maker._tools.run(
                "tpm2_readpublic", ["-c", "signer.ctx", "-f", "tss", "-o", "signer.pub"], failure="read it"
            )
            public = maker._tools.read("signer.pub")[2:]
            forged = msgspec.structs.replace(endorsement, ak_public=b64url_encode(public))
            with pytest.raises(AttestationKeyUntrusted):
                Relying(TpmSettings(ek_roots=(tpm.ek_root,))).endorse(forged)

    def test_an_unknown_manufacturer_gets_no_credential(self, tpm, other_tpm):
        with attester(tpm) as maker, pytest.raises(RootUntrusted):
            Relying(TpmSettings(ek_roots=(other_tpm.ek_root,))).endorse(maker.endorsement())

    def test_a_genuine_quote_is_refused_under_default_settings(self, tpm):
        with attester(tpm) as maker:
            _, evidence = exchange(tpm, maker)
        relying = Relying(TpmSettings())
        with pytest.raises(AttestationKeyUntrusted):
            relying.verify(msgspec.structs.replace(evidence, ek_certificate=None))

    def test_relabelled_registers_are_refused(self, tpm):
        with attester(tpm) as maker:
            relying, evidence = exchange(tpm, maker, {"sha256": (8, 9, 16, 23)})
            values = list(evidence.pcrs["sha256"].values())
            forged = msgspec.structs.replace(
                evidence, pcrs={"sha256": {str(index): value for index, value in enumerate(values)}}
            )
            with pytest.raises(PcrMismatch):
                relying.verify(forged, {"sha256": (0, 1, 2, 3)})

    @pytest.mark.parametrize(
        "quoted", [{"sha256": (0, 1)}, {"sha1": tuple(range(16))}, {"sha384": tuple(range(16))}]
    )
    def test_another_selection_than_the_challenges_is_refused(self, tpm, quoted):
        with attester(tpm) as maker:
            relying, evidence = exchange(tpm, maker, quoted)
            with pytest.raises(PcrMismatch):
                relying.verify(evidence)

    def test_a_quote_over_an_old_nonce_is_refused(self, tpm):
        with attester(tpm) as maker:
            relying, evidence = exchange(tpm, maker)
            assert relying.verify(evidence).bound == "session"
            relying.nonce = secrets.token_bytes(32)
            with pytest.raises(ReportDataMismatch):
                relying.verify(evidence)

    def test_a_software_change_that_the_log_hides_is_refused(self):
        require_swtpm()
        with SwTpm() as tpm:
            tpm.measured_boot()
            tpm.extend(4, {"sha256": hashlib.sha256(b"rootkit").digest()})
            with attester(tpm) as maker:
                relying, evidence = exchange(tpm, maker)
            with pytest.raises(EventLogMismatch):
                relying.verify(evidence)


_UNRESTRICTED = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"


class TestExchange:
    @pytest.mark.parametrize("ak", ["ecc256", "rsa2048", "rsa2048-pss"])
    @pytest.mark.parametrize("ek", ["rsa2048", "ecc384"])
    def test_every_kind_of_key_is_endorsed_and_verified(self, tpm, ek, ak):
        with attester(tpm, ek=ek, ak=ak) as maker:
            relying, evidence = exchange(tpm, maker)
            result = relying.verify(evidence)
        assert result.bound == "session"
        assert result.identity.startswith("tpm-ek:")
        assert result.claims["tpm"]["ek_manufacturer"] == "id:00001014"
        assert result.claims["tpm"]["event_log"]["count"] == 12

    @pytest.mark.parametrize("ek", ["ecc256", "rsa3072"])
    def test_keys_without_a_certificate_in_the_tpm_bring_one_as_a_file(self, tpm, tmp_path, ek):
        """Its maker certifies the key that the TPM creates from the template."""
        with attester(tpm, ek=ek) as maker:
            assert maker.endorsement() is None
            maker._create_ek()
            ek_public = maker._tools.read("ek.pub")[2:]
        root, certificate = _certify(ek_public)
        path = tmp_path / "ek.der"
        path.write_bytes(certificate)
        with attester(tpm, ek=ek, ek_certificate=path, ek_chain=None) as maker:
            relying = Relying(TpmSettings(ek_roots=(root,)))
            relying.endorse(maker.endorsement())
            result = relying.verify(maker.collect(relying.binding(), relying.challenge()))
        assert result.identity.startswith("tpm-ek:")

    def test_an_allow_listed_key_needs_no_credential(self, tpm):
        with attester(tpm, endorse=False) as maker:
            assert maker.endorsement() is None
            name = name_of(parse_public(maker.ak_public()))
            relying = Relying(TpmSettings(ak_names=frozenset({name})))
            evidence = maker.collect(relying.binding(), relying.challenge())
        assert evidence.credential_secret is None
        assert relying.verify(evidence).identity == f"tpm-ak:{name.hex()}"

    def test_a_provisioned_key_outlives_the_agent(self, tpm):
        handle = "0x81010050"
        with attester(tpm) as maker:
            public = maker.ak_public()
            arguments = ["-C", "o", "-c", "ak.ctx", handle]
            maker._tools.run("tpm2_evictcontrol", arguments, failure="keep the key")
        with attester(tpm, ak_handle=handle) as maker:
            assert maker.ak_public() == public
            relying, evidence = exchange(tpm, maker)
            assert relying.verify(evidence).bound == "session"

    def test_two_banks_are_quoted_at_once(self, tpm):
        both = {"sha256": tuple(range(16)), "sha384": (0, 4, 8)}
        with attester(tpm) as maker:
            relying, evidence = exchange(tpm, maker, both)
            with pytest.raises(PcrMismatch):
                relying.verify(evidence)
            assert relying.verify(evidence, both).claims["tpm"]["pcrs"]["sha384"].keys() == {"0", "4", "8"}

    def test_the_log_tells_the_command_line(self, tpm):
        with attester(tpm) as maker:
            relying, evidence = exchange(tpm, maker)
            events = relying.verify(evidence).claims["tpm"]["event_log"]["events"]
        assert {"pcr": 8, "text": "quiet"}.items() <= next(e for e in events if e["pcr"] == 8).items()

    def test_a_machine_without_an_event_log_sends_none(self, tpm, monkeypatch, tmp_path):
        monkeypatch.setattr("guest_agent.attesters.tpm.KERNEL_EVENT_LOG", tmp_path / "absent")
        with attester(tpm, event_log=None) as maker:
            _, evidence = exchange(tpm, maker)
        assert evidence.event_log is None


class TestFailure:
    def test_a_missing_program_is_named_with_the_way_to_install_it(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with TpmAttester() as maker, pytest.raises(DependencyMissing) as caught:
            maker.endorsement()
        assert "apt-get install tpm2-tools" in caught.value.advice

    def test_a_machine_without_a_tpm_is_told_apart(self, tmp_path):
        require_swtpm()
        with TpmAttester(tcti=f"swtpm:path={tmp_path}/none") as maker, pytest.raises(TeeUnavailable):
            maker.ak_public()

    def test_a_bank_that_is_not_active_is_told(self):
        require_swtpm()
        with SwTpm(["sha256"]) as tpm, attester(tpm) as maker:
            relying = Relying(TpmSettings(ek_roots=(tpm.ek_root,)))
            with pytest.raises(EvidenceNotMade):
                maker.collect(relying.binding(), relying.challenge({"sha384": (0, 1)}))

    @pytest.mark.parametrize("size", [0, 31, 33, 64])
    def test_report_data_of_another_size_is_malformed(self, size):
        with TpmAttester() as maker, pytest.raises(Malformed):
            maker.collect(bytes(size), Relying(TpmSettings()).challenge())

    @pytest.mark.parametrize(
        "selection",
        [
            None,
            {},
            {"sha256": []},
            {"sha256": [1, 0]},
            {"sha256": [0, 0]},
            {"sha256": [24]},
            {"sha256": [-1]},
            {"sha256;id": [0]},
        ],
    )
    def test_a_selection_that_cannot_be_an_argument_is_malformed(self, selection):
        challenge = msgspec.structs.replace(Relying(TpmSettings()).challenge(), pcr_selection=selection)
        with TpmAttester() as maker, pytest.raises(Malformed):
            maker.collect(bytes(32), challenge)

    def test_unknown_kinds_of_keys_are_refused(self):
        with pytest.raises(InvalidSetting):
            TpmAttester(ek="dsa")

    def test_a_garbled_credential_is_not_opened(self, tpm):
        with attester(tpm) as maker:
            relying = Relying(TpmSettings(ek_roots=(tpm.ek_root,)))
            relying.endorse(maker.endorsement())
            blob = bytearray(b64url_decode(relying.credential.credential_blob))
            blob[-1] ^= 1
            relying.credential = msgspec.structs.replace(
                relying.credential, credential_blob=b64url_encode(bytes(blob))
            )
            with pytest.raises(EvidenceNotMade, match="credential"):
                maker.collect(relying.binding(), relying.challenge())

    def test_the_private_folder_holds_nothing_that_others_may_read_and_goes(self, tpm):
        with attester(tpm) as maker:
            folder = maker._tools.path(".")
            exchange(tpm, maker)
            assert folder.stat().st_mode & 0o077 == 0
            assert not maker._tools.path("credential.out").exists()
        assert not folder.exists()

    def test_no_secret_is_an_argument(self, tpm, monkeypatch):
        seen: list[list[str]] = []
        real = subprocess.run

        def recording(command, **options):
            seen.append(command)
            return real(command, **options)

        monkeypatch.setattr(subprocess, "run", recording)
        with attester(tpm) as maker:
            _, evidence = exchange(tpm, maker)
        secret = b64url_decode(evidence.credential_secret).hex()
        assert seen
        assert all(secret not in argument for command in seen for argument in command)


def _certify(ek_public: bytes) -> tuple[x509.Certificate, bytes]:
    """A root, and an EK certificate of it for a TPMT_PUBLIC."""
    key = parse_public(ek_public).key
    signer = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "EK root")])
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
    names = [
        x509.NameAttribute(ObjectIdentifier(f"2.23.133.2.{part}"), "id:00001014") for part in (1, 2, 3)
    ]

    def build(subject, public, ca):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    root = build(issuer, signer.public_key(), ca=True).sign(signer, hashes.SHA256())
    leaf = (
        build(x509.Name([]), key, ca=False)
        .add_extension(x509.ExtendedKeyUsage([ObjectIdentifier("2.23.133.8.1")]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(names))]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return root, leaf.public_bytes(serialization.Encoding.DER)
