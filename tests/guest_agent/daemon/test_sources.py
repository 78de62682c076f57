"""Where settings come from: our file, the reference's files, environment, kernel command line."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from common.errors import InvalidSetting, NotFound
from guest_agent.daemon import boot, config, reference_config, sources
from guest_agent.errors import DevelopmentOnly, Unsupported

AA = """
[token_configs]
[token_configs.coco_as]
url = "http://127.0.0.1:8000"

[token_configs.kbs]
url = "https://kbs.example:8080"
cert = '''
-----BEGIN CERTIFICATE-----
'''
tee_key_algorithm = "ECDH-ES+A256KW-P521"

[eventlog_config]
init_pcr = 16
enable_eventlog = true

[log]
level = "warn"
"""
CDH = """
socket = "unix:///run/confidential-containers/other.sock"

[kbc]
name = "cc_kbc"
url = "https://kbs.example:8080"

[aa]
aa_socket = "unix:///run/x.sock"

[[credentials]]
path = "/run/confidential-containers/cdh/kbs/one"
resource_uri = "kbs:///default/credential/one"

[image]
max_concurrent_layer_downloads_per_image = 3
[image.image_pull_proxy]
https_proxy = "http://127.0.0.1:8080"
"""
AT_INITDATA = "run/confidential-containers/initdata"


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def gather(root, **changes):
    return sources.gather(**({"options": {}, "root": root, "environ": {}} | changes))


def test_nothing_said(tmp_path):
    gathered = gather(tmp_path)
    assert gathered.settings == config.Settings()
    assert gathered.warnings == ()
    assert gathered.settings.rest.listen == "127.0.0.1:8006"
    assert gathered.settings.rest.features == "resource"


def test_the_reference_files_as_they_are(tmp_path):
    write(tmp_path, "etc/attestation-agent.conf", AA)
    write(tmp_path, "etc/confidential-data-hub.conf", CDH)
    gathered = gather(tmp_path)
    settings = gathered.settings
    assert settings.kbs.url == "https://kbs.example:8080"
    assert settings.kbs.certificate.strip() == "-----BEGIN CERTIFICATE-----"
    assert settings.kbs.key_algorithm == "ECDH-ES+A256KW-P521"
    assert settings.attestation_service.url == "http://127.0.0.1:8000"
    assert settings.event_log == config.EventLog(enabled=True, register=16)
    assert settings.log.level == "warning"
    assert settings.grpc.confidential_data_hub == "unix:///run/confidential-containers/other.sock"
    assert settings.credentials == (
        boot.Credential("/run/confidential-containers/cdh/kbs/one", "kbs:///default/credential/one"),
    )
    assert any("image.max_concurrent_layer_downloads_per_image" in warning for warning in gathered.warnings)
    assert not any("8080" in warning for warning in gathered.warnings)


def test_init_data_comes_before_etc(tmp_path):
    write(tmp_path, "etc/attestation-agent.conf", "[token_configs.kbs]\nurl = 'https://etc.example'\n")
    write(tmp_path, f"{AT_INITDATA}/aa.toml", "[token_configs.kbs]\nurl = 'https://initdata.example'\n")
    assert gather(tmp_path).settings.kbs.url == "https://initdata.example"


def test_the_order_of_sources(tmp_path):
    own = write(tmp_path, "etc/touchstone-guest.toml", "[kbs]\nurl = 'https://own.example'\n")
    write(tmp_path, f"{AT_INITDATA}/cdh.toml", "[kbc]\nname = 'cc_kbc'\nurl = 'https://cdh.example'\n")
    write(tmp_path, "proc/cmdline", "quiet agent.aa_kbc_params=cc_kbc::https://kernel.example\n")
    environ = {"AA_KBC_PARAMS": "cc_kbc::https://environment.example"}
    options = {"rest": {"listen": "127.0.0.1:1"}}
    settings = gather(tmp_path, environ=environ, options=options).settings
    assert (settings.kbs.url, settings.rest.listen) == ("https://own.example", "127.0.0.1:1")
    own.unlink()
    assert gather(tmp_path, environ=environ).settings.kbs.url == "https://cdh.example"
    (tmp_path / AT_INITDATA / "cdh.toml").unlink()
    assert gather(tmp_path, environ=environ).settings.kbs.url == "https://environment.example"
    assert gather(tmp_path).settings.kbs.url == "https://kernel.example"


def test_an_authority_stays_with_its_url(tmp_path):
    write(tmp_path, "etc/touchstone-guest.toml", "[kbs]\nurl = 'https://own.example'\n")
    write(
        tmp_path,
        "etc/attestation-agent.conf",
        "[token_configs.kbs]\nurl = 'https://aa.example'\ncert = 'x'\n",
    )
    settings = gather(tmp_path).settings
    assert (settings.kbs.url, settings.kbs.certificate) == ("https://own.example", None)


def test_two_files_that_name_two_kbs(tmp_path):
    write(tmp_path, "etc/attestation-agent.conf", "[token_configs.kbs]\nurl = 'https://one.example'\n")
    write(
        tmp_path, "etc/confidential-data-hub.conf", "[kbc]\nname = 'cc_kbc'\nurl = 'https://two.example'\n"
    )
    with pytest.raises(InvalidSetting):
        gather(tmp_path)
    write(tmp_path, "etc/touchstone-guest.toml", "[kbs]\nurl = 'https://three.example'\n")
    assert gather(tmp_path).settings.kbs.url == "https://three.example"


def test_a_file_that_was_named_must_be_there(tmp_path):
    for name in ("own", "aa", "cdh"):
        with pytest.raises(NotFound):
            gather(tmp_path, **{name: tmp_path / "nowhere"})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("skip_sealed_secret_verification = true", DevelopmentOnly),
        ("[kbc]\nname = 'offline_fs_kbc'\nurl = ''", Unsupported),
        ("[kbc]\nname = 'cc_kbc'\ninsecure = true", Unsupported),
        ("[[credentials]]\npath = '/x'\nresource_uri = 'kbs:///a/b/c'\nmode = 1", InvalidSetting),
        ("[[credentials]]\npath = '/x'\nresource_uri = 'http://a/b/c/d'", InvalidSetting),
        ("[kbc]\nname = 'cc_kbc'\nurl = 1", InvalidSetting),
        ("skip_sealed_secret_verification = 'no'", InvalidSetting),
        ("[log]\nlevel = 'loud'", InvalidSetting),
        ("not toml", InvalidSetting),
    ],
)
def test_a_data_hub_file_that_would_weaken(tmp_path, text, error):
    write(tmp_path, "etc/confidential-data-hub.conf", text)
    with pytest.raises(error):
        gather(tmp_path)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[token_configs.kbs]\nurl = 'https://x.example'\nverify = false", Unsupported),
        ("[token_configs.other]\nurl = 'https://x.example'", Unsupported),
        ("[eventlog_config]\neventlog_algorithm = 'sha1'", Unsupported),
        ("[token_configs.kbs]\ntee_key_algorithm = 'RSA1_5'", InvalidSetting),
        ("[eventlog_config]\ninit_pcr = 99", InvalidSetting),
    ],
)
def test_an_agent_file_that_would_weaken(tmp_path, text, error):
    write(tmp_path, "etc/attestation-agent.conf", text)
    with pytest.raises(error):
        gather(tmp_path)


def test_development_accepts_what_weakens(tmp_path):
    write(tmp_path, "etc/confidential-data-hub.conf", "skip_sealed_secret_verification = true")
    assert gather(tmp_path, development=True).settings.sealed_secrets.skip_verification


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("unknown = 1", InvalidSetting),
        ("development = true", InvalidSetting),
        ("[rest]\nport = 1", InvalidSetting),
        ("[rest]\nlisten = '0.0.0.0:8006'", InvalidSetting),
        ("[rest]\nlisten = 'localhost:8006'", InvalidSetting),
        ("[rest]\nlisten = '127.0.0.1'", InvalidSetting),
        ("[rest]\nlisten = '127.0.0.1:99999'", InvalidSetting),
        ("[rest]\npeers = ['everybody']", InvalidSetting),
        ("[grpc]\nattestation_agent = '0.0.0.0:50002'", InvalidSetting),
        ("[grpc]\nattestation_agent = 'unix://relative'", InvalidSetting),
        ("[grpc]\nattestation_agent = 'unix:///a/../b'", InvalidSetting),
        ("[kbs]\nca_file = 'x'\ncertificate = 'y'", InvalidSetting),
        ("[init_data]\nfile = 'x'\ndigest = 'y'", InvalidSetting),
        ("allow_sample = true", DevelopmentOnly),
        ("[sealed_secrets]\nskip_verification = true", DevelopmentOnly),
        ("max_waiting = 32", InvalidSetting),
    ],
)
def test_our_own_file(tmp_path, text, error):
    with pytest.raises(error):
        gather(tmp_path, own=write(tmp_path, "own.toml", text))


def test_beyond_loopback_where_it_is_told(tmp_path):
    own = write(tmp_path, "own.toml", "[rest]\nlisten = '0.0.0.0:8006'\npeers = ['10.0.0.0/24']\n")
    assert gather(tmp_path, own=own).settings.rest.listen == "0.0.0.0:8006"


@pytest.mark.parametrize(
    "words",
    [
        "cdh.kbs_resources=kbs:///a/b/c::/x/one,kbs:///a/b/d::/x/two",
        "cdh.kbs_resources=/x/one::kbs:///a/b/c,/x/two::kbs:///a/b/d",
        'quiet "cdh.kbs_resources=kbs:///a/b/c::/x/one,kbs:///a/b/d::/x/two" ro',
        "cdh.kbs_resources=kbs:///a/b/c::/x/one,,kbs:///a/b/d::/x/two cdh.kbs_resources=second",
    ],
)
def test_credentials_of_the_command_line(words):
    assert boot.command_line(words).credentials == (
        boot.Credential("/x/one", "kbs:///a/b/c"),
        boot.Credential("/x/two", "kbs:///a/b/d"),
    )


def test_what_of_the_command_line_is_not_used(tmp_path):
    write(tmp_path, "proc/cmdline", "agent.https_proxy=http://p agent.enable_signature_verification=false")
    assert len(gather(tmp_path).warnings) == 2


def test_credentials_of_all_sources_are_fetched(tmp_path):
    write(tmp_path, "etc/confidential-data-hub.conf", CDH)
    write(tmp_path, "proc/cmdline", "cdh.kbs_resources=kbs:///a/b/c::/x/one")
    assert len(gather(tmp_path).settings.credentials) == 2


@pytest.mark.parametrize(
    "words",
    [
        "agent.aa_kbc_params=cc_kbc",
        "agent.aa_kbc_params=cc_kbc::",
        "agent.aa_kbc_params=cc_kbc::https://a::b",
        "agent.aa_kbc_params=offline_fs_kbc::null",
        "agent.aa_kbc_params=online_sev_kbc::x",
        "cdh.kbs_resources=nonsense",
    ],
)
def test_a_command_line_of_another_form(words):
    with pytest.raises((InvalidSetting, Unsupported)):
        boot.command_line(words)


def test_an_open_quote_loses_nothing():
    assert (
        boot.command_line('a="b agent.aa_kbc_params=cc_kbc::https://k.example').kbs_url
        == "https://k.example"
    )


def test_an_ipv6_address():
    assert boot.kbs_url("cc_kbc::http://[::1]:8080") == "http://[::1]:8080"


def test_every_member_of_the_tables_is_one_of_ours():
    known = json.loads(msgspec.json.encode(config.Settings()))
    for table in (reference_config._AGENT, reference_config._HUB):
        for target, _ in table.values():
            value = known
            for part in filter(None, target.split(".")):
                assert part in value, target
                value = value[part]


def test_a_reference_file_of_json(tmp_path):
    text = json.dumps({"token_configs": {"kbs": {"url": "https://kbs.example"}}})
    assert gather(tmp_path, aa=write(tmp_path, "aa.json", text)).settings.kbs.url == "https://kbs.example"
    for text in ("[]", "{", '{"log":{},"log":{}}'):
        with pytest.raises(InvalidSetting):
            gather(tmp_path, aa=write(tmp_path, "aa.json", text))
