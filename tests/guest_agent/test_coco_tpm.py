"""TPM and Azure evidence against a real TPM implementation (swtpm), and a metadata service on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from common import init_data
from common.encoding import b64_decode, b64url_decode, b64url_encode
from common.errors import Malformed
from common.init_data import InitDataUnfit
from guest_agent.attesters import azure
from guest_agent.attesters.azure import HclReport, Imds
from guest_agent.attesters.vtpm import Quote, Vtpm
from guest_agent.coco.azure import AzureAttester
from guest_agent.coco.sample import SampleAttester
from guest_agent.coco.tpm import TpmCocoAttester
from guest_agent.errors import EvidenceNotMade, InitDataDiffers, TeeUnavailable
from guest_agent.init_data import bind
from guest_agent.measurements import Result
from testkit.swtpm import SwTpm
from tests.components import require_swtpm

pytestmark = pytest.mark.xdist_group("swtpm")

DIGEST = bytes(range(1, 49))
TEXT = 'version = "0.1.0"\nalgorithm = "sha256"\n\n[data]\n"aa.toml" = ""\n'
PCR8 = "cf00faa33901654f1275ad3ea2dd405d8b67505d866022ab5fa1abe42d9ea119"


def run(tpm: SwTpm, *command: str) -> None:
    environment = {"PATH": os.environ["PATH"], "TPM2TOOLS_TCTI": tpm.tcti}
    subprocess.run(command, cwd=tpm.folder, env=environment, check=True, capture_output=True)


@pytest.fixture(scope="module")
def tpm():
    require_swtpm()
    with SwTpm() as running:
        running.measure(4, 13, b"kernel")
        yield running


@pytest.fixture
def vtpm(tpm):
    opened = Vtpm(tpm.tcti)
    yield opened
    opened.close()


def verified(message: bytes, signature: bytes, key, qualifying: bytes, pcrs: list[bytes]) -> None:
    """What a verifier checks of a quote, here from the structures themselves (TPM 2.0 part 2, 10.12)."""
    key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    assert message[:6] == b"\xffTCG\x80\x18"
    place = 6 + 2 + int.from_bytes(message[6:8], "big")
    size = int.from_bytes(message[place : place + 2], "big")
    assert message[place + 2 : place + 2 + size] == qualifying
    assert message[-32:] == hashlib.sha256(b"".join(pcrs)).digest()


class TestTpm:
    @pytest.mark.parametrize("report_data", [DIGEST, DIGEST[:20], b""])
    def test_evidence(self, tpm, vtpm, report_data):
        document = json.loads(json.dumps(TpmCocoAttester(vtpm).evidence(report_data)))
        assert set(document) == {"tpm_quote", "ak_public"}
        assert set(document["tpm_quote"]) == {"signature", "message", "pcrs"}
        key = serialization.load_der_public_key(b64_decode(document["ak_public"]))
        signature = b64_decode(document["tpm_quote"]["signature"])
        assert signature[:6] == bytes.fromhex("0014000b0100")
        pcrs = [bytes.fromhex(value) for value in document["tpm_quote"]["pcrs"]]
        assert len(pcrs) == 24
        assert pcrs[4].hex() == tpm.registers("sha256", [4])[4]
        qualifying = report_data[:32].ljust(32, b"\0")
        verified(b64_decode(document["tpm_quote"]["message"]), signature[6:], key, qualifying, pcrs)

    def test_one_key_for_all_quotes(self, vtpm):
        attester = TpmCocoAttester(vtpm)
        assert attester.evidence(b"1")["ak_public"] == attester.evidence(b"2")["ak_public"]

    def test_threads_do_not_mix_their_files(self, vtpm):
        attester = TpmCocoAttester(vtpm)
        made = {}

        def work(number):
            made[number] = attester.evidence(bytes([number]) * 32)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, document in made.items():
            assert bytes([number]) * 32 in b64_decode(document["tpm_quote"]["message"])

    def test_no_tpm_is_told(self, tmp_path):
        with pytest.raises(TeeUnavailable):
            TpmCocoAttester(Vtpm(f"swtpm:path={tmp_path / 'none'}")).evidence(DIGEST)

    def test_a_bank_that_is_not_active_is_told(self):
        require_swtpm()
        with SwTpm(banks=("sha384",)) as other, pytest.raises(EvidenceNotMade):
            TpmCocoAttester(Vtpm(other.tcti)).evidence(DIGEST)


class TestInitData:
    @pytest.fixture
    def fresh(self):
        require_swtpm()
        with SwTpm() as running:
            yield running

    def test_pcr_8_is_bound_once_and_compared_after(self, fresh):
        attester = TpmCocoAttester(Vtpm(fresh.tcti))
        parsed = init_data.parse(TEXT)
        for unfit in ("sha384", "sha512"):
            with pytest.raises(InitDataUnfit):
                bind(attester, init_data.parse(TEXT.replace("sha256", unfit)))
        assert fresh.registers("sha256", [8])[8] == "00" * 32
        assert bind(attester, parsed) is Result.OK
        assert fresh.registers("sha256", [8])[8] == PCR8
        assert attester.init_data_digest().hex() == PCR8
        assert bind(attester, parsed.digest) is Result.OK
        assert fresh.registers("sha256", [8])[8] == PCR8
        with pytest.raises(InitDataDiffers):
            bind(attester, init_data.parse(TEXT + "#"))
        assert fresh.registers("sha256", [8])[8] == PCR8

    @pytest.mark.parametrize(("tee", "size"), [("snp", 32), ("tdx", 48), ("sgx", 64)])
    def test_a_field_is_compared(self, tee, size):
        parsed = init_data.parse(TEXT)

        class Carrying(SampleAttester):
            carried = parsed.digest.ljust(size, b"\0")

            def init_data_digest(self):
                return self.carried

        attester = Carrying(tee)
        assert bind(attester, parsed) is Result.OK
        for other in (bytes(size), None, parsed.digest + b"\x01" * (size - 31)):
            attester.carried = other
            with pytest.raises(InitDataDiffers):
                bind(attester, parsed)

    def test_cca_is_compared_exactly(self):
        parsed = init_data.parse(TEXT.replace("sha256", "sha512"))

        class Carrying(SampleAttester):
            def init_data_digest(self):
                return parsed.digest

        assert bind(Carrying("cca"), parsed) is Result.OK
        with pytest.raises(InitDataUnfit):
            bind(Carrying("cca"), init_data.parse(TEXT))

    @pytest.mark.parametrize("tee", ["csv", "se", "sample"])
    def test_others_carry_none(self, tee):
        assert bind(SampleAttester(tee), init_data.parse(TEXT)) is Result.NOT_SUPPORTED


class Metadata:
    """Azure's instance metadata service on loopback."""

    def __init__(self, answers):
        self.seen = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.seen.append((self.command, self.path, self.headers.get("Metadata"), body))
                status, answer = answers.get(self.path, (404, b""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = handle_any  # noqa: N815

            def log_message(self, *_arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.imds = Imds(f"http://127.0.0.1:{self._server.server_port}", timeout_s=10)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)


@pytest.fixture(scope="module")
def snp_document(vectors):
    return json.loads((vectors / "evidence" / "az-snp-vtpm" / "v1-milan" / "evidence.json").read_text())


@pytest.fixture(scope="module")
def tdx_document(vectors):
    return json.loads((vectors / "evidence" / "az-tdx-vtpm" / "v1-trustee" / "evidence.json").read_text())


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def azure_tpm():
    """A TPM with an RSA attestation key where Azure has it."""
    require_swtpm()
    with SwTpm() as running:
        run(running, "tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub")
        run(
            running,
            "tpm2_createak",
            "-C",
            "ek.ctx",
            "-c",
            "ak.ctx",
            "-G",
            "rsa",
            "-g",
            "sha256",
            "-s",
            "rsassa",
        )
        run(running, "tpm2_flushcontext", "-t")
        run(running, "tpm2_evictcontrol", "-C", "o", "-c", "ak.ctx", azure.AK_HANDLE)
        run(running, "tpm2_flushcontext", "-t")
        yield running


def with_report(tpm: SwTpm, report: bytes) -> bytes:
    """Put the report where Azure has it, as far as swtpm's largest index holds it (2048 of 2600 bytes)."""
    report = report[:2048]
    (tpm.folder / "hcl").write_bytes(report)
    try:
        run(tpm, "tpm2_nvundefine", "-C", "o", azure.HCL_REPORT_INDEX)
    except subprocess.CalledProcessError:
        pass
    attributes = "ownerread|ownerwrite|authread|authwrite"
    run(tpm, "tpm2_nvdefine", "-C", "o", "-s", "2048", "-a", attributes, azure.HCL_REPORT_INDEX)
    run(tpm, "tpm2_nvwrite", "-C", "o", "-i", "hcl", azure.HCL_REPORT_INDEX)
    return report


class TestAzure:
    def test_snp(self, azure_tpm, snp_document):
        report = with_report(azure_tpm, decoded(snp_document["hcl_report"]))
        vcek = decoded(snp_document["vcek"])
        answer = json.dumps({"vcekCert": pem(vcek), "tcbm": "DB18000000000004", "certificateChain": ""})
        with Metadata({"/metadata/THIM/amd/certification": (200, answer.encode())}) as service:
            vtpm = Vtpm(azure_tpm.tcti, handle=azure.AK_HANDLE)
            attester = AzureAttester("az-snp-vtpm", vtpm=vtpm, metadata=service.imds)
            document = json.loads(json.dumps(attester.evidence(DIGEST)))
        assert service.seen == [("GET", "/metadata/THIM/amd/certification", "true", b"")]
        assert document.keys() == snp_document.keys()
        assert document["version"] == 1
        assert decoded(document["hcl_report"]) == report
        assert decoded(document["vcek"]) == vcek
        self.assert_quote(document, vtpm, snp_document)
        assert attester.init_data_digest() == bytes(32)
        vtpm.close()

    def test_tdx(self, azure_tpm, tdx_document):
        report = with_report(azure_tpm, decoded(tdx_document["hcl_report"]))
        quote = decoded(tdx_document["td_quote"])
        answers = {"/acc/tdquote": (200, json.dumps({"quote": b64url_encode(quote)}).encode())}
        with Metadata(answers) as service:
            vtpm = Vtpm(azure_tpm.tcti, handle=azure.AK_HANDLE)
            attester = AzureAttester("az-tdx-vtpm", vtpm=vtpm, metadata=service.imds)
            document = json.loads(json.dumps(attester.evidence(DIGEST)))
        ((method, path, _, body),) = service.seen
        assert (method, path) == ("POST", "/acc/tdquote")
        assert b64url_decode(json.loads(body)["report"]) == report[32 : 32 + 1024]
        assert document.keys() == tdx_document.keys()
        assert decoded(document["td_quote"]) == quote
        self.assert_quote(document, vtpm, tdx_document)
        vtpm.close()

    @staticmethod
    def assert_quote(document, vtpm, real):
        """Signed, over all of the digest, and of the very form of a real machine's evidence."""
        key = serialization.load_der_public_key(vtpm.public_key())
        quote = document["tpm_quote"]
        assert quote.keys() == real["tpm_quote"].keys()
        assert len(quote["signature"]) == len(real["tpm_quote"]["signature"])
        assert [len(value) for value in quote["pcrs"]] == [
            len(value) for value in real["tpm_quote"]["pcrs"]
        ]
        pcrs = [bytes.fromhex(value) for value in quote["pcrs"]]
        message, signature = bytes.fromhex(quote["message"]), bytes.fromhex(quote["signature"])
        verified(message, signature, key, DIGEST, pcrs)

    def test_a_report_of_the_other_kind_is_told(self, azure_tpm, snp_document):
        with_report(azure_tpm, decoded(snp_document["hcl_report"]))
        vtpm = Vtpm(azure_tpm.tcti, handle=azure.AK_HANDLE)
        with pytest.raises(TeeUnavailable):
            AzureAttester("az-tdx-vtpm", vtpm=vtpm).evidence(DIGEST)
        vtpm.close()

    def test_a_tpm_without_a_report_is_told(self, tpm):
        vtpm = Vtpm(tpm.tcti, handle=azure.AK_HANDLE)
        with pytest.raises(EvidenceNotMade):
            AzureAttester("az-snp-vtpm", vtpm=vtpm).evidence(DIGEST)
        vtpm.close()

    def test_report_data_that_no_quote_takes_are_malformed(self):
        with pytest.raises(Malformed):
            AzureAttester("az-snp-vtpm").evidence(bytes(65))

    def test_another_tee_is_no_azure(self):
        with pytest.raises(Malformed):
            AzureAttester("snp")

    @pytest.mark.parametrize("data", [b"", b"HCLA", b"HCLB" + bytes(2600), bytes(2600)])
    def test_a_report_that_is_none_is_told(self, data):
        with pytest.raises(EvidenceNotMade):
            HclReport.parse(data)

    def test_real_reports_have_their_kind(self, snp_document, tdx_document):
        assert HclReport.parse(decoded(snp_document["hcl_report"])).kind == azure.SNP
        assert HclReport.parse(decoded(tdx_document["hcl_report"])).kind == azure.TDX

    @pytest.mark.parametrize(
        "signature", [b"", bytes.fromhex("0018000b0001ff"), bytes.fromhex("0014000b0002ff")]
    )
    def test_a_signature_of_another_scheme_is_told(self, signature):
        with pytest.raises(EvidenceNotMade):
            Quote(b"", signature, ()).rsa_signature()


class TestMetadata:
    @pytest.mark.parametrize(
        "answer",
        [
            (404, b"{}"),
            (302, b"{}"),
            (200, b""),
            (200, b"[]"),
            (200, b'{"quote":"*","vcekCert":"x"}'),
            (200, b" " * 300_000),
        ],
    )
    def test_an_answer_that_is_none_is_told(self, answer):
        paths = ("/acc/tdquote", "/metadata/THIM/amd/certification")
        with Metadata(dict.fromkeys(paths, answer)) as service:
            for ask in (lambda: service.imds.td_quote(bytes(1024)), service.imds.vcek):
                with pytest.raises(EvidenceNotMade):
                    ask()

    def test_a_service_that_is_not_there_is_told(self):
        with Metadata({}) as gone:
            pass
        with pytest.raises(EvidenceNotMade):
            gone.imds.vcek()
