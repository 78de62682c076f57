"""Rule ``init-data``."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.derivation import derive, init_data
from provenance.derivation.init_data import Field
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable, SubjectMismatch
from provenance.model import Artifact, DerivationRequest, DerivedValue
from tests.provenance.derivation.material import admitted, subject

# The text and its digest are those of a recorded exchange with the CoCo reference server.
TEXT = b'version = "0.1.0"\nalgorithm = "sha256"\n\n[data]\n"aa.toml" = ""\n'
DIGEST = "acad196a293df71f3401be561a2ecd6dd087c20bed0750ace54b33634b9a4d74"
ALL = ["snp_host_data", "tdx_mr_config_id", "sgx_config_id", "tpm_pcr08"]


def _text(algorithm: str) -> bytes:
    return TEXT.replace(b"sha256", algorithm.encode())


def _derive(text: bytes, launch: dict[str, Any] | None = None, **members: Any) -> tuple[DerivedValue, ...]:
    shape = {"format": "toml", "fields": ["snp_host_data"]} if launch is None else launch
    request = DerivationRequest("init-data", shape | members)
    return derive(admitted(subject("initdata.toml", text)), request, [Artifact("init-data", "f", text)])


@pytest.mark.parametrize(
    "members",
    [
        {"format": "json"},
        {"fields": []},
        {"fields": ["host_data"]},
        {"fields": ["snp_host_data", "snp_host_data"]},
        {"fields": "snp_host_data"},
        {"algorithm": "sha256"},
    ],
)
def test_a_shape_that_does_not_hold_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        _derive(TEXT, **members)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"not toml",
        TEXT.replace(b"0.1.0", b"0.2.0"),
        TEXT.replace(b"sha256", b"sha1"),
        TEXT.replace(b"sha256", b"SHA256"),
        TEXT.replace(b"algorithm", b"algo"),
        TEXT + b'extra = {a = "b"}\n[more]\n',
        TEXT.replace(b'""', b"1"),
        TEXT.replace(b'"aa.toml"', b"aa.toml"),
        b'version = "0.1.0"\nalgorithm = "sha256"\n',
        TEXT + b"#" * (1 << 20),
        b"a = " + b"[" * 5000,
    ],
)
def test_what_is_no_init_data_is_refused(text: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        _derive(text)


def test_unattested_init_data_is_refused() -> None:
    request = DerivationRequest("init-data", {"format": "toml", "fields": ["snp_host_data"]})
    with pytest.raises(SubjectMismatch):
        derive(
            admitted(subject("initdata.toml", TEXT)), request, [Artifact("init-data", "f", TEXT + b"\n")]
        )


def test_a_register_takes_only_a_digest_of_its_size() -> None:
    for algorithm in ("sha384", "sha512"):
        with pytest.raises(NotDerivable, match="32 bytes"):
            _derive(_text(algorithm), fields=["tpm_pcr08"])


def test_the_digest_is_that_of_the_recorded_exchange() -> None:
    assert init_data.digest(TEXT).hex() == DIGEST


def test_every_field_gets_the_digest_as_the_guest_puts_it_there() -> None:
    values = {value.name: value for value in _derive(TEXT, fields=ALL)}
    extended = hashlib.sha256(bytes(32) + bytes.fromhex(DIGEST)).hexdigest()
    assert {name: value.value for name, value in values.items()} == {
        "snp_host_data": DIGEST,
        "tdx_mr_config_id": DIGEST + "00" * 16,
        "sgx_config_id": DIGEST + "00" * 32,
        "tpm_pcr08": extended,
    }
    assert [values[name].tee for name in ALL] == ["snp", "tdx", "sgx", "tpm"]
    assert values["snp_host_data"].inputs["launch"] == {"format": "toml", "fields": ["snp_host_data"]}


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_a_longer_digest_is_cut_to_the_field(algorithm: str) -> None:
    text = _text(algorithm)
    whole = hashlib.new(algorithm, text).digest()
    host, config, enclave = _derive(text, fields=ALL[:3])
    assert host.value == whole[:32].hex()
    assert config.value == whole[:48].hex()
    assert enclave.value == whole.ljust(64, b"\0").hex()


def test_a_bare_agent_policy_is_bound_in_host_data_alone() -> None:
    policy = b"package agent_policy\n\ndefault AllowRequestsFailingPolicy := false\n"
    launch = {"format": "agent-policy", "fields": ["snp_host_data"]}
    (value,) = _derive(policy, launch)
    assert value.value == hashlib.sha256(policy).hexdigest()
    with pytest.raises(NotDerivable, match="HOST_DATA alone"):
        _derive(policy, launch | {"fields": ["tdx_mr_config_id"]})
    with pytest.raises(ArtifactInvalid, match="empty"):
        _derive(b"", launch)


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=80).map(lambda text: TEXT + text.encode())))
def test_only_our_errors_come_out(text: bytes) -> None:
    try:
        value = init_data.digest(text)
    except TouchstoneError:
        return
    for field in (Field.SNP_HOST_DATA, Field.TDX_MR_CONFIG_ID, Field.SGX_CONFIG_ID):
        assert len(init_data.fitted(value, field)) in (32, 48, 64)
