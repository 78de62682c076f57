"""Attesters of Confidential Containers against a fake kernel with real bytes."""

from __future__ import annotations

import base64
import errno
import json
import struct
import sys

import pytest
from cryptography.hazmat.primitives import hashes, hmac

from common import snp_report_json
from common.encoding import b64_decode, b64_encode
from common.errors import Malformed
from common.snp_certificate_table import encode_certificate_table
from common.tcg_log import parse_event_log
from guest_agent.attesters import csv_guest, sev_guest
from guest_agent.attesters.ioctl import Device
from guest_agent.coco import cbor
from guest_agent.coco.cca import CcaAttester
from guest_agent.coco.csv import CsvAttester, certificate_json
from guest_agent.coco.nvidia import NvidiaAttester
from guest_agent.coco.sample import SampleAttester
from guest_agent.coco.se import UVIO_IOCTL_ATT, SeAttester
from guest_agent.coco.sgx import SGXIOC_GEN_DCAP_QUOTE, SGXIOC_GET_DCAP_QUOTE_SIZE, SgxAttester
from guest_agent.coco.snp import SnpCocoAttester
from guest_agent.coco.tdx import TdxAttester
from guest_agent.errors import EventLogBroken, EvidenceNotMade, RuntimeRegisterInvalid, TeeUnavailable
from tests.guest_agent.fake_kernel import BUSY, IO, Tsm, at, device, put, serve

DIGEST = bytes(range(1, 49))
CERTIFICATES = {"VCEK": b"leaf" * 300, "ASK": b"issuer", "ARK": b"root"}


@pytest.fixture(scope="module")
def evidence(vectors):
    return vectors / "evidence"


def test_request_numbers_are_those_of_the_headers():
    assert sev_guest.SNP_GET_EXT_REPORT == 0xC0205302
    assert csv_guest.CSV_GET_REPORT == 0xC0104401
    assert csv_guest.CSV_RTMR_REQ == 0xC0184402
    assert UVIO_IOCTL_ATT == 0xC0407501
    assert SGXIOC_GET_DCAP_QUOTE_SIZE == 0x80047307
    assert SGXIOC_GEN_DCAP_QUOTE == 0xC0187308


class TestSnp:
    @pytest.fixture
    def report(self, evidence) -> bytes:
        return (evidence / "snp" / "genoa-vcek-v3-veraison" / "report.bin").read_bytes()

    def bound(self, report: bytes, report_data: bytes) -> bytes:
        return report[:0x50] + report_data + report[0x90:]

    def test_over_configfs(self, tmp_path, monkeypatch, report):
        table = encode_certificate_table(CERTIFICATES)
        make = lambda inblob: (self.bound(report, inblob), table)  # noqa: E731
        tsm = serve(monkeypatch, Tsm(tmp_path / "report", "sev_guest", make))
        document = json.loads(json.dumps(SnpCocoAttester(tmp_path / "report", tsm=tsm).evidence(DIGEST)))
        assert set(document) == {"attestation_report", "cert_chain"}
        assert document["attestation_report"]["report_data"] == list(DIGEST + bytes(16))
        sent = snp_report_json.from_json(document["attestation_report"])
        assert sent == self.bound(report, DIGEST + bytes(16))
        assert [entry["cert_type"] for entry in document["cert_chain"]] == ["VCEK", "ASK", "ARK"]
        assert bytes(document["cert_chain"][0]["data"]) == CERTIFICATES["VCEK"]

    def test_host_data_is_what_init_data_is_compared_with(self, tmp_path, monkeypatch, report):
        tsm = serve(monkeypatch, Tsm(tmp_path / "r", "sev_guest", lambda _: (report, b""), auxblob=False))
        attester = SnpCocoAttester(tmp_path / "r", tsm=tsm)
        assert attester.init_data_digest() == report[0xC0:0xE0]
        assert attester.evidence(DIGEST)["cert_chain"] is None
        assert attester.registers is None

    def kernel(self, report, room=8192, **changes):
        """The sev-guest driver: checks the structs, asks for room, answers."""
        calls = []

        def handler(request, argument):
            assert request == 0xC0205302
            version, asked, response, exit_info = struct.unpack("<B7xQQQ", argument)
            assert (version, exit_info) == (1, 0)
            data, vmpl, certificates, length = struct.unpack("<64sI28xQI4x", at(asked, 112))
            assert vmpl == 0
            assert length % 4096 == 0
            calls.append(data)
            if length < room:
                put(asked + 104, struct.pack("<I", -(-room // 4096) * 4096))
                argument[24:32] = (1 << 32).to_bytes(8, "little")
                return IO
            if "firmware" in changes:
                argument[24:32] = changes["firmware"].to_bytes(8, "little")
                return IO
            put(certificates, encode_certificate_table(CERTIFICATES))
            status, size = changes.get("status", 0), changes.get("size", 1184)
            put(response, struct.pack("<II24x", status, size) + self.bound(report, data))
            return None

        return handler, calls

    @pytest.mark.parametrize("room", [100, 16384, 20000, 65536])
    def test_over_the_device(self, tmp_path, report, room):
        handler, calls = self.kernel(report, room)
        attester = SnpCocoAttester(tmp_path / "no configfs", device=device(tmp_path, handler))
        document = attester.evidence(DIGEST)
        sent = snp_report_json.from_json(document["attestation_report"])
        assert sent == self.bound(report, DIGEST + bytes(16))
        assert len(document["cert_chain"]) == 3
        assert len(calls) == (1 if room <= 16384 else 2)

    @pytest.mark.parametrize("room", [65537, 1 << 31])
    def test_a_host_that_wants_too_much_room_is_refused(self, tmp_path, report, room):
        handler, calls = self.kernel(report, room)
        with pytest.raises(EvidenceNotMade):
            SnpCocoAttester(tmp_path / "none", device=device(tmp_path, handler)).evidence(DIGEST)
        assert len(calls) == 1

    @pytest.mark.parametrize("changes", [{"firmware": 5}, {"status": 0x16}, {"size": 0}, {"size": 4000}])
    def test_a_firmware_that_refuses_is_told(self, tmp_path, report, changes):
        handler, _ = self.kernel(report, 100, **changes)
        with pytest.raises(EvidenceNotMade):
            SnpCocoAttester(tmp_path / "none", device=device(tmp_path, handler)).evidence(DIGEST)

    def test_a_report_that_its_json_cannot_hold_is_not_sent(self, tmp_path, report):
        handler, _ = self.kernel(report[:0x4C] + b"\x01" + report[0x4D:], 100)
        with pytest.raises(EvidenceNotMade, match="reserved"):
            SnpCocoAttester(tmp_path / "none", device=device(tmp_path, handler)).evidence(DIGEST)

    def test_a_machine_without_snp_is_told(self, tmp_path):
        with pytest.raises(TeeUnavailable):
            SnpCocoAttester(tmp_path / "a", device=Device(tmp_path / "b")).evidence(DIGEST)


class TestTdx:
    @pytest.fixture
    def quote(self, evidence) -> bytes:
        return (evidence / "tdx" / "v4-cos113-gotdxguest" / "quote.dat").read_bytes()

    def attester(self, root, monkeypatch, quote):
        reports = root / "sys/kernel/config/tsm/report"
        tsm = serve(monkeypatch, Tsm(reports, "tdx_guest", lambda _: (quote, b""), auxblob=False))
        return TdxAttester(root, tsm=tsm), tsm

    def test_a_quote_and_no_log(self, tmp_path, monkeypatch, quote):
        attester, tsm = self.attester(tmp_path, monkeypatch, quote)
        assert attester.evidence(DIGEST) == {"cc_eventlog": None, "quote": b64_encode(quote)}
        assert tsm.inblobs == [DIGEST + bytes(16)]
        assert attester.registers is None

    @pytest.mark.parametrize("case", ["v4-cos113-gotdxguest", "v5-td15-trustee"])
    def test_init_data_is_mr_config_id(self, tmp_path, monkeypatch, evidence, case):
        folder = evidence / "tdx" / case
        attester, _ = self.attester(tmp_path, monkeypatch, (folder / "quote.dat").read_bytes())
        claims = json.loads((folder / "expected.json").read_text())["expect"]["claims"]
        assert attester.init_data_digest().hex() == claims["mr_config_id"]

    @pytest.mark.parametrize("quote", [b"", b"\x03\x00" + bytes(5000), b"\x04\x00" + bytes(100)])
    def test_a_quote_that_is_none_is_told(self, tmp_path, monkeypatch, quote):
        attester, _ = self.attester(tmp_path, monkeypatch, quote)
        with pytest.raises(EvidenceNotMade):
            attester.init_data_digest()

    def test_an_empty_quote_is_not_sent(self, tmp_path, monkeypatch):
        attester, _ = self.attester(tmp_path, monkeypatch, b"")
        with pytest.raises(EvidenceNotMade):
            attester.evidence(DIGEST)

    def logs(self, root, evidence, name="v4-cos113-gotdxguest"):
        ccel = root / "sys/firmware/acpi/tables/data/CCEL"
        ccel.parent.mkdir(parents=True)
        ccel.write_bytes((evidence / "tdx" / name / "ccel_data.dat").read_bytes())
        log = root / "run/attestation-agent/eventlog"
        log.parent.mkdir(parents=True)
        return ccel, log

    def test_the_firmwares_log_goes_along_as_it_is(self, tmp_path, monkeypatch, quote, evidence):
        ccel, _ = self.logs(tmp_path, evidence)
        attester, _ = self.attester(tmp_path, monkeypatch, quote)
        assert b64_decode(attester.evidence(DIGEST)["cc_eventlog"]) == ccel.read_bytes()

    @pytest.mark.parametrize("name", ["v4-cos113-gotdxguest", "v4-spr-debug-trustee"])
    def test_the_agents_entries_follow_it(self, tmp_path, monkeypatch, quote, evidence, name):
        from common import aael

        ccel, log = self.logs(tmp_path, evidence, name)
        event = aael.LogicalEvent("d", "o", "c")
        log.write_bytes(aael.encode(event, register=4, algorithm="sha384"))
        attester, _ = self.attester(tmp_path, monkeypatch, quote)
        sent = parse_event_log(b64_decode(attester.evidence(DIGEST)["cc_eventlog"]))
        before = parse_event_log(ccel.read_bytes(), zero_tail=True)
        assert sent.events[:-1] == before.events
        assert aael.decode(sent.events[-1].data) == event

    @pytest.mark.parametrize("firmware", [None, b"not a log"])
    def test_entries_that_nothing_can_carry_are_an_error(
        self, tmp_path, monkeypatch, quote, evidence, firmware
    ):
        ccel, log = self.logs(tmp_path, evidence)
        log.write_bytes(b"entries")
        ccel.unlink() if firmware is None else ccel.write_bytes(firmware)
        attester, _ = self.attester(tmp_path, monkeypatch, quote)
        with pytest.raises(EventLogBroken):
            attester.evidence(DIGEST)

    def test_another_provider_is_not_tdx(self, tmp_path, monkeypatch):
        reports = tmp_path / "sys/kernel/config/tsm/report"
        tsm = serve(monkeypatch, Tsm(reports, "sev_guest", lambda _: (b"x", b"")))
        with pytest.raises(TeeUnavailable):
            TdxAttester(tmp_path, tsm=tsm).evidence(DIGEST)

    def test_registers(self, tmp_path, monkeypatch, quote):
        folder = tmp_path / "sys/devices/virtual/misc/tdx_guest/measurements"
        folder.mkdir(parents=True)
        for index in range(4):
            (folder / f"rtmr{index}:sha384").write_bytes(bytes([index]) * 48)
        registers = self.attester(tmp_path, monkeypatch, quote)[0].registers
        assert [registers.register_of(pcr) for pcr in (1, 7, 2, 6, 8, 15, 16, 17, 23)] == [
            1,
            1,
            2,
            2,
            3,
            3,
            4,
            4,
            4,
        ]
        assert registers.algorithm == "sha384"
        assert registers.read(4) == b"\x03" * 48
        registers.extend(3, DIGEST)
        assert (folder / "rtmr2:sha384").read_bytes() == DIGEST
        (folder / "rtmr3:sha384").unlink()
        for call in (lambda: registers.read(4), lambda: registers.extend(4, DIGEST)):
            with pytest.raises(TeeUnavailable):
                call()
        for pcr in (-1, 0, 24, 2**63):
            with pytest.raises(RuntimeRegisterInvalid):
                registers.register_of(pcr)


class TestCca:
    @pytest.fixture(params=["legacy-trustee", "legacy-01-ccatoken", "legacy-02-wrongkey-ccatoken"])
    def token(self, request, evidence) -> bytes:
        return (evidence / "cca" / request.param / "token.cbor").read_bytes()

    def attester(self, root, monkeypatch, token):
        tsm = serve(monkeypatch, Tsm(root / "r", "arm_cca_guest", lambda _: (token, b""), auxblob=False))
        return CcaAttester(tsm), tsm

    def test_a_token(self, tmp_path, monkeypatch, token):
        attester, tsm = self.attester(tmp_path, monkeypatch, token)
        assert attester.evidence(DIGEST) == {"token": list(token)}
        assert tsm.inblobs == [DIGEST + bytes(16)]
        assert attester.tee == "cca"

    def test_the_personalisation_value(self, tmp_path, monkeypatch, token):
        attester, _ = self.attester(tmp_path, monkeypatch, token)
        value = attester.init_data_digest()
        assert len(value) == 64
        assert value in token

    @pytest.mark.parametrize(
        "token", [b"", b"\xa0", b"\xd9\x01\x8f\xa1\x19\xac\xd1\x41\xff", b"\xff", b"\x9f\xff"]
    )
    def test_a_token_that_is_none_is_told(self, tmp_path, monkeypatch, token):
        attester, _ = self.attester(tmp_path, monkeypatch, token)
        with pytest.raises(EvidenceNotMade):
            attester.init_data_digest()

    @pytest.mark.parametrize(
        ("data", "value"),
        [("00", 0), ("1864", 100), ("20", -1), ("43010203", b"\x01\x02\x03"), ("6161", "a"),
         ("8201f6", [1, None]),
         ("a201020304", {1: 2, 3: 4}), ("d28101", [1]), ("f5", True), ("1b000000e8d4a51000", 10**12)],
    )  # fmt: skip
    def test_cbor(self, data, value):
        assert cbor.loads(bytes.fromhex(data)) == value

    @pytest.mark.parametrize("data", ["", "18", "1c", "4301", "5f", "9a7fffffff", "a18001", "61ff",
                                      "f97e00", "0000",
                                      "81" * 40 + "00", "c1" * 40 + "00"])  # fmt: skip
    def test_other_cbor_is_refused(self, data):
        with pytest.raises(EvidenceNotMade):
            cbor.loads(bytes.fromhex(data))


class TestCsv:
    """The real report of the vectors, masked again as firmware gives it, with a MAC over our nonce."""

    @pytest.fixture
    def document(self, evidence):
        return json.loads((evidence / "csv" / "trustee-evidence-v1" / "evidence.json").read_text())

    def firmware(self, document, version=1, **changes):
        real = bytes(document["attestation_report"]["data"])

        def handler(request, argument):
            assert request == 0xC0104401
            address, length = struct.unpack("<QI4x", argument)
            assert length == 4096
            page = at(address, length)
            user_data, nonce, digest = page[:64], page[64:80], page[80:112]
            sm3 = hashes.Hash(hashes.SM3())
            sm3.update(user_data + nonce)
            assert digest == sm3.finalize()
            assert page[112:132] == b"ATTESTATION_EXT\0" + b"\x01\0\0\0"
            put(address, self.made(real, version, user_data, changes.get("old", nonce), **changes))
            return changes.get("errno")

        return handler

    @staticmethod
    def mask(data: bytes, anonce: bytes) -> bytes:
        return bytes(octet ^ anonce[place % 4] for place, octet in enumerate(data))

    def made(self, real, version, user_data, nonce, **changes):
        head = 0x150 if version == 1 else 0x490
        signer = real[0x150 : 0x150 + 2148] + b"\x5a" * 32
        if version == 1:
            anonce = real[0xBC:0xC0]
            body = bytearray(real[:0x150])
            body[0x40:0x80], body[0x80:0x90] = self.mask(user_data, anonce), self.mask(nonce, anonce)
            signer = self.mask(signer, anonce)
        else:
            body = bytearray(real[:0xB4] + bytes(0x490 - 0xB4))
            body[0x40:0x80], body[0x80:0x90] = user_data, nonce
        mac = hmac.HMAC(nonce, hashes.SM3())
        mac.update(signer)
        made = bytes(body) + signer + mac.finalize()
        if "flip" in changes:
            made = (
                made[: changes["flip"]] + bytes([made[changes["flip"]] ^ 1]) + made[changes["flip"] + 1 :]
            )
        assert len(body) == head
        return made.ljust(4096, b"\0")

    @pytest.mark.parametrize("version", [1, 2])
    def test_evidence(self, tmp_path, document, version):
        attester = CsvAttester(tmp_path, device=device(tmp_path, self.firmware(document, version)))
        made = json.loads(json.dumps(attester.evidence(DIGEST)))
        assert set(made) == {"attestation_report", "cert_chain", "serial_number"}
        assert made["cert_chain"] == {"pek": document["cert_chain"]["pek"]}
        assert made["serial_number"] == document["serial_number"]
        wrapper = made["attestation_report"]
        assert set(wrapper) == {"magic", "flags", "data"}
        assert len(wrapper["data"]) == 4096
        data = bytes(wrapper["data"])
        if version == 1:
            assert (wrapper["magic"], wrapper["flags"]) == ([0] * 16, 0)
            assert data[0x150:0x9B4] == bytes(document["attestation_report"]["data"])[0x150:0x9B4]
            assert self.mask(data[0x40:0x80], data[0xBC:0xC0]) == DIGEST + bytes(16)
        else:
            assert (bytes(wrapper["magic"]), wrapper["flags"]) == (b"ATTESTATION_EXT\0", 1)
            assert data[0x40:0x80] == DIGEST + bytes(16)

    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize("place", [0x80, 0x490 + 100, 0x150 + 100, 0x150 + 2100, 0x150 + 2190])
    def test_a_report_that_does_not_answer_us_is_refused(self, tmp_path, document, version, place):
        if version == 2 and 0x90 < place < 0x490:
            place += 0x490 - 0x150
        handler = self.firmware(document, version, flip=place)
        with pytest.raises(EvidenceNotMade, match="MAC"):
            CsvAttester(tmp_path, device=device(tmp_path, handler)).evidence(DIGEST)

    def test_an_old_report_is_refused(self, tmp_path, document):
        handler = self.firmware(document, old=bytes(16))
        with pytest.raises(EvidenceNotMade, match="MAC"):
            CsvAttester(tmp_path, device=device(tmp_path, handler)).evidence(DIGEST)

    def test_a_kernel_that_refuses_is_told(self, tmp_path, document):
        handler = self.firmware(document, errno=errno.EIO)
        with pytest.raises(EvidenceNotMade):
            CsvAttester(tmp_path, device=device(tmp_path, handler)).evidence(DIGEST)

    def test_a_certificate_of_another_size_is_malformed(self):
        for size in (0, 2083, 2085):
            with pytest.raises(Malformed):
                certificate_json(bytes(size))

    def test_no_init_data(self, tmp_path):
        assert CsvAttester(tmp_path).init_data_digest() is None

    def test_registers(self, tmp_path):
        values = {index: bytes([index]) * 32 for index in range(5)}
        extended = []

        def handler(request, argument):
            assert request == 0xC0184402
            address, length, subcommand, reserved, _ = struct.unpack("<QQHHI", argument)
            assert reserved == 0
            content = at(address, length)
            if subcommand == 3:
                index = int.from_bytes(content[:4], "little").bit_length() - 1
                put(address + 4, values[index])
            else:
                assert subcommand == 4
                index, zero, size = struct.unpack("<BBH", content[:4])
                assert (zero, size, length) == (0, 32, 36)
                extended.append((index, content[4:]))
                if index == 2:
                    argument[20:24] = (0x1F).to_bytes(4, "little")

        registers = CsvAttester(tmp_path, device=device(tmp_path, handler)).registers
        assert registers.algorithm == "sm3"
        assert registers.register_of(17) == 4
        assert registers.read(4) == b"\x04" * 32
        registers.extend(4, DIGEST[:32])
        assert extended == [(4, DIGEST[:32])]
        with pytest.raises(EvidenceNotMade, match="0x1f"):
            registers.extend(2, DIGEST[:32])


SE_REQUEST = {
    "request_blob": b64_encode(b"request" * 40),
    "measurement_size": 64,
    "additional_size": 32,
    "encr_measurement_key": b64_encode(b"key"),
    "encr_request_nonce": b64_encode(b"nonce"),
    "image_hdr_tags": b64_encode(bytes(208)),
    "runtime_data_digest": b64_encode(bytes(range(64))),
}


class TestSe:
    def ultravisor(self, **changes):
        def handler(request, argument):
            assert request == 0xC0407501
            flags, code, reason, address, length = struct.unpack("=IHHQI44x", argument)
            assert (flags, code, reason, length) == (0, 0, 0, 0x138)
            names = struct.unpack("=QQQ256s16sIIIHH", at(address, length))
            assert at(names[0], names[5]) == b"request" * 40
            assert names[3] == bytes(range(64)).ljust(256, b"\0")
            assert (names[6], names[7], names[8], names[9]) == (64, 32, 64, 0)
            put(names[1], b"M" * 64)
            put(names[2], b"A" * 32)
            put(address + 0x118, b"U" * 16)
            if "additional" in changes:
                put(address + 0x130, changes["additional"].to_bytes(4, sys.byteorder))
            argument[4:6] = changes.get("code", 1).to_bytes(2, sys.byteorder)
            return changes.get("errno")

        return handler

    def test_evidence(self, tmp_path):
        attester = SeAttester(device(tmp_path, self.ultravisor(additional=20)))
        assert attester.evidence(json.dumps(SE_REQUEST).encode()) == {
            "measurement": b64_encode(b"M" * 64),
            "additional_data": b64_encode(b"A" * 20),
            "user_data": b64_encode(bytes(range(64))),
            "cuid": b64_encode(b"U" * 16),
            "encr_measurement_key": SE_REQUEST["encr_measurement_key"],
            "encr_request_nonce": SE_REQUEST["encr_request_nonce"],
            "image_hdr_tags": SE_REQUEST["image_hdr_tags"],
        }

    @pytest.mark.parametrize("changes", [{"code": 0x0102}, {"errno": BUSY}, {"additional": 33}])
    def test_an_ultravisor_that_refuses_is_told(self, tmp_path, changes):
        attester = SeAttester(device(tmp_path, self.ultravisor(**changes)))
        with pytest.raises(EvidenceNotMade):
            attester.evidence(json.dumps(SE_REQUEST).encode())

    @pytest.mark.parametrize(
        "changes",
        [
            {"measurement_size": -1},
            {"measurement_size": 2**31},
            {"additional_size": 0x8001},
            {"request_blob": ""},
            {"request_blob": "*"},
            {"runtime_data_digest": b64_encode(bytes(65))},
            {"runtime_data_digest": None},
            {"image_hdr_tags": "x"},
        ],
    )
    def test_a_request_that_is_none_is_malformed(self, tmp_path, changes):
        attester = SeAttester(device(tmp_path, self.ultravisor()))
        with pytest.raises(Malformed):
            attester.evidence(json.dumps(SE_REQUEST | changes).encode())

    @pytest.mark.parametrize("report_data", [b"", DIGEST, b"[]", b"{}"])
    def test_report_data_alone_are_no_request(self, tmp_path, report_data):
        with pytest.raises(Malformed):
            SeAttester(Device(tmp_path / "none")).evidence(report_data)


class TestSgx:
    @pytest.fixture
    def quote(self, evidence) -> bytes:
        return (evidence / "sgx" / "v3-icx-oasis" / "quote.dat").read_bytes()

    def test_gramine(self, tmp_path, quote):
        folder = tmp_path / "dev/attestation"
        folder.mkdir(parents=True)
        (folder / "quote").write_bytes(quote)
        attester = SgxAttester(tmp_path)
        assert attester.evidence(DIGEST) == {"quote": b64_encode(quote)}
        assert (folder / "user_report_data").read_bytes() == DIGEST + bytes(16)
        assert attester.init_data_digest() == quote[48 + 0xC0 : 48 + 0x100]

    @pytest.mark.parametrize("content", [None, b"", bytes(65537)])
    def test_gramine_without_a_quote(self, tmp_path, content):
        folder = tmp_path / "dev/attestation"
        folder.mkdir(parents=True)
        if content is not None:
            (folder / "quote").write_bytes(content)
        with pytest.raises((EvidenceNotMade, TeeUnavailable)):
            SgxAttester(tmp_path).evidence(DIGEST)

    def occlum(self, quote, room=None):
        def handler(request, argument):
            if request == 0x80047307:
                argument[:] = struct.pack("<I", len(quote) + 100 if room is None else room)
                return
            assert request == 0xC0187308
            data, length, out = struct.unpack("<QQQ", argument)
            assert at(data, 64) == DIGEST + bytes(16)
            assert struct.unpack("<I", at(length, 4))[0] >= len(quote)
            put(out, quote)
            put(length, struct.pack("<I", len(quote)))
            return

        return handler

    def test_occlum(self, tmp_path, quote):
        attester = SgxAttester(tmp_path, device=device(tmp_path, self.occlum(quote)))
        assert attester.evidence(DIGEST) == {"quote": b64_encode(quote)}

    @pytest.mark.parametrize("room", [0, 65537, 2**32 - 1])
    def test_occlum_with_an_impossible_size(self, tmp_path, quote, room):
        with pytest.raises(EvidenceNotMade):
            SgxAttester(tmp_path, device=device(tmp_path, self.occlum(quote, room))).evidence(DIGEST)

    def test_no_enclave(self, tmp_path):
        with pytest.raises(TeeUnavailable):
            SgxAttester(tmp_path).evidence(DIGEST)


def test_sample_evidence_is_what_the_reference_sends():
    """Transcript 60: the runtime data of GetEvidence, as they are."""
    assert SampleAttester().evidence(b"xxxx") == {"svn": "1", "report_data": "eHh4eA=="}
    assert SampleAttester("sampledevice").tee == "sampledevice"
    assert SampleAttester().init_data_digest() is None


def test_nvidia_is_refused_in_clear_words():
    with pytest.raises(TeeUnavailable, match="not supported"):
        NvidiaAttester().evidence(DIGEST)


def test_base64_is_never_of_two_kinds():
    assert base64.b64decode(SampleAttester().evidence(b"\xfb\xff")["report_data"]) == b"\xfb\xff"
