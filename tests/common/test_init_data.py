"""Init-data: the digest of the text as it stands, and where each TEE carries it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import init_data
from common.errors import InputError, Malformed, TooLarge
from common.init_data import InitDataUnfit

# Appendix A of the wire specification.
TEXT = 'version = "0.1.0"\nalgorithm = "sha256"\n\n[data]\n"aa.toml" = ""\n'
DIGEST = "acad196a293df71f3401be561a2ecd6dd087c20bed0750ace54b33634b9a4d74"
PCR8 = "cf00faa33901654f1275ad3ea2dd405d8b67505d866022ab5fa1abe42d9ea119"


def text(algorithm="sha384", data='"a" = "b"', version="0.1.0") -> str:
    return f'version = "{version}"\nalgorithm = "{algorithm}"\n[data]\n{data}\n'


def test_the_digest_is_over_the_text_as_it_stands():
    assert init_data.parse(TEXT).digest.hex() == DIGEST
    assert init_data.parse(TEXT.encode()).digest.hex() == DIGEST
    assert init_data.parse(TEXT + "\n").digest.hex() != DIGEST
    assert init_data.parse(TEXT + "# comment").data == init_data.parse(TEXT).data


@pytest.mark.parametrize(
    ("algorithm", "size"), [("sha256", 32), ("sha384", 48), ("sha512", 64), ("sm3", 32)]
)
def test_every_algorithm(algorithm, size):
    parsed = init_data.parse(text(algorithm))
    assert parsed.algorithm == algorithm
    assert len(parsed.digest) == size
    if algorithm != "sm3":
        assert parsed.digest == hashlib.new(algorithm, text(algorithm).encode()).digest()


def test_pcr_8_is_extended_from_zero():
    for tee in ("tpm", "az-snp-vtpm", "az-tdx-vtpm"):
        assert init_data.field_of(tee, bytes.fromhex(DIGEST)).hex() == PCR8


@pytest.mark.parametrize(("tee", "size"), [("snp", 32), ("tdx", 48), ("sgx", 64)])
@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_digests_are_padded_or_cut(tee, size, algorithm):
    digest = init_data.parse(text(algorithm)).digest
    field = init_data.field_of(tee, digest)
    assert len(field) == size
    assert field == digest[:size] + bytes(max(0, size - len(digest)))


def test_cca_takes_sha512_alone():
    digest = init_data.parse(text("sha512")).digest
    assert init_data.field_of("cca", digest) == digest
    with pytest.raises(InitDataUnfit):
        init_data.field_of("cca", init_data.parse(text("sha384")).digest)


@pytest.mark.parametrize("tee", ["tpm", "az-snp-vtpm", "az-tdx-vtpm"])
@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_a_pcr_takes_32_bytes_alone(tee, algorithm):
    with pytest.raises(InitDataUnfit):
        init_data.field_of(tee, init_data.parse(text(algorithm)).digest)


@pytest.mark.parametrize("tee", ["csv", "se", "nvidia", "hygondcu", "sample", "nothing"])
def test_other_tees_carry_none(tee):
    with pytest.raises(InitDataUnfit):
        init_data.field_of(tee, bytes(32))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"not toml",
        'version = "0.1.0"\nalgorithm = "sha256"\n',
        'algorithm = "sha256"\n[data]\n',
        'version = "0.1.0"\n[data]\n',
        'version = 1\nalgorithm = "sha256"\n[data]\n',
        text(version="0.2.0"),
        text("md5"),
        text("SHA256"),
        text(data='"a" = 1'),
        text(data='"a" = "b"\n"a" = "c"'),
        text(data='[data.nested]\nx = "y"'),
        'version = "0.1.0"\nalgorithm = ["sha256"]\n[data]\n',
        'version = "0.1.0"\nalgorithm = "sha256"\nmore = 1\n[data]\n',
        "a = " + "[" * 5000,
    ],
)
def test_other_texts_are_refused(raw):
    with pytest.raises(Malformed):
        init_data.parse(raw)


def test_a_text_has_a_limit():
    with pytest.raises(TooLarge):
        init_data.parse(b"#" * (init_data.MAX_BYTES + 1))


class TestClaims:
    def claims(self, data: str):
        return init_data.claims(init_data.parse(text(data=data)))

    def test_configurations_are_json_and_other_entries_text(self):
        agent = '[token_configs.kbs]\nurl = "https://k"\nat = 1979-05-27\n'
        found = self.claims(f"\"aa.toml\" = '''\n{agent}'''\n\"x\" = \"y\"")
        kbs = {"url": "https://k", "at": "1979-05-27"}
        assert found == {"aa.toml": {"token_configs": {"kbs": kbs}}, "x": "y"}

    @pytest.mark.parametrize("head", ["", "package agent_policy\\n", "x := {}\\npolicy_data := 3 == 4\\n"])
    def test_policy_data_replace_the_policy(self, head):
        found = self.claims(f'"policy.rego" = "{head}policy_data := {{\\"containers\\": [1]}}\\n"')
        assert found == {"agent_policy_claims": {"containers": [1]}}

    def test_a_policy_without_data_stays(self):
        assert self.claims('"policy.rego" = "package p\\n"') == {"policy.rego": "package p\n"}

    @pytest.mark.parametrize(
        "data",
        [
            '"aa.toml" = "= ="',
            '"cdh.toml" = "a = nan"',
            '"cdh.toml" = "a = -inf"',
            '"policy.rego" = "policy_data := {"',
            '"policy.rego" = "policy_data := {\\"a\\": 1, \\"a\\": 2}"',
        ],
    )
    def test_what_cannot_be_a_claim_is_refused(self, data):
        with pytest.raises(InputError):
            self.claims(data)


@given(st.text(max_size=200))
def test_foreign_text_raises_typed_errors_alone(value):
    for raw in (value, text(data=value)):
        try:
            init_data.claims(init_data.parse(raw))
        except InputError:
            continue
