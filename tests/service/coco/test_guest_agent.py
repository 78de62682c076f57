"""Our guest against our server over HTTP: every TEE key, real SNP reports and TPM quotes, refusals."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from common import init_data
from common.snp_certificate_table import encode_certificate_table
from guest_agent.attesters.vtpm import Vtpm
from guest_agent.coco.sample import SampleAttester
from guest_agent.coco.snp import SnpCocoAttester
from guest_agent.coco.tpm import TpmCocoAttester
from guest_agent.errors import KbsDenied, KbsResourceUnknown, KbsUnauthenticated
from guest_agent.init_data import bind
from guest_agent.kbs_client import KbsClient, PassportClient
from guest_agent.measurements import Result
from service.app import create_app
from testkit.snp_firmware import SnpFirmware
from testkit.swtpm import SwTpm
from tests.components import require_swtpm
from tests.guest_agent.fake_kernel import Tsm, serve
from tests.service.coco.conftest import DEVELOPMENT, SECRET, Kbs, make
from tests.service.coco.kbs import claims_of
from tests.service.world import firmware_settings

PATH = "default/test/dummy"
INIT_DATA = 'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"a" = "b"\n'


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def serving(kbs: Kbs) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, create_app(kbs.services), handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def url(kbs: Kbs) -> Iterator[str]:
    with serving(kbs) as running:
        yield running


def cpu(token: str) -> dict[str, Any]:
    """Annotated evidence of the CPU."""
    evidence = claims_of(token)["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert isinstance(evidence, dict)
    return evidence


@pytest.mark.parametrize(
    "algorithm",
    ["ECDH-ES+A256KW-P256", "ECDH-ES+A256KW-P521", "RSA-OAEP-256", "ML-KEM-768+A192KW"],
)
def test_a_guest_gets_its_resource(url: str, algorithm: str) -> None:
    guest = KbsClient(url, SampleAttester(), key_algorithm=algorithm)
    assert guest.get_resource(PATH) == SECRET
    assert guest.get_resource(f"kbs:///{PATH}") == SECRET


def test_a_passport_is_accepted(url: str) -> None:
    session = KbsClient(url, SampleAttester()).attest()
    assert PassportClient(url, session.token, session.key).get_resource(PATH) == SECRET


def test_init_data_reach_the_claims(url: str) -> None:
    text = 'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n"a" = "b"\n'
    token = KbsClient(url, SampleAttester(), init_data=text).attest().token
    assert cpu(token)["init_data_claims"] == {"a": "b"}


def test_an_unknown_resource_and_a_denied_one(kbs: Kbs, url: str) -> None:
    guest = KbsClient(url, SampleAttester())
    with pytest.raises(KbsResourceUnknown):
        guest.get_resource("default/test/none")
    assert kbs.admin.resource_policy("package policy\n\ndefault allow := false\n").status == 200
    with pytest.raises(KbsDenied):
        guest.get_resource(PATH)


def test_evidence_that_does_not_hold_is_refused(url: str) -> None:
    class Unbound(SampleAttester):
        def evidence(self, report_data: bytes) -> dict[str, object]:
            return super().evidence(bytes(len(report_data)))

    with pytest.raises(KbsUnauthenticated):
        KbsClient(url, Unbound()).attest()


def test_real_snp_reports_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, firmware: SnpFirmware
) -> None:
    """The kernel's interface is played, firmware and signatures are real."""
    parsed = init_data.parse(INIT_DATA)

    def report(inblob: bytes) -> tuple[bytes, bytes]:
        fields = {"host_data": init_data.field_of("snp", parsed.digest), "measurement": b"\x07" * 48}
        return firmware.report(inblob, **fields), encode_certificate_table(firmware.certificates())

    tsm = serve(monkeypatch, Tsm(tmp_path / "report", "sev_guest", report))
    attester = SnpCocoAttester(tmp_path / "report", tsm=tsm)
    assert bind(attester, parsed) is Result.OK
    kbs = make(tmp_path, DEVELOPMENT | firmware_settings(firmware, tmp_path))
    with serving(kbs) as url:
        token = KbsClient(url, attester, init_data=INIT_DATA).attest().token
        claims = cpu(token)
        assert claims["snp"]["measurement"] == "07" * 48
        assert claims["init_data_claims"] == {"a": "b"}
        with pytest.raises(KbsUnauthenticated):  # init-data that the report does not carry
            KbsClient(url, attester, init_data=INIT_DATA + "#").attest()
    kbs.services.close()


@pytest.mark.xdist_group("swtpm")
def test_real_tpm_quotes_are_verified(tmp_path: Path) -> None:
    require_swtpm()
    with SwTpm() as tpm:
        vtpm = Vtpm(tpm.tcti)
        attester = TpmCocoAttester(vtpm)
        parsed = init_data.parse(INIT_DATA)
        assert bind(attester, parsed) is Result.OK
        known = hashlib.sha256(vtpm.public_key()).hexdigest()
        selection = {"sha256": list(range(24))}
        kbs = make(tmp_path, DEVELOPMENT | {"tpm": {"ak_spki_sha256": [known], "pcr_selection": selection}})
        with serving(kbs) as url:
            token = KbsClient(url, attester, init_data=INIT_DATA).attest().token
            assert cpu(token)["tpm"]["pcr08"] == init_data.pcr_value(parsed.digest).hex()
            vtpm.extend(8, bytes(32))  # now PCR 8 is not what this init-data makes it
            with pytest.raises(KbsUnauthenticated):
                KbsClient(url, attester, init_data=INIT_DATA).attest()
            assert "init_data_claims" not in cpu(KbsClient(url, attester).attest().token)
        kbs.services.close()
        vtpm.close()
