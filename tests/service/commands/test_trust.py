"""``touchstone trust refresh`` against a real TUF repository over TLS on loopback."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from common.errors import FetchFailed, FetchForbidden, InvalidSetting
from provenance.errors import RootRefreshRefused
from provenance.sigstore import trust_root
from service import settings, trust_refresh
from service.cli import cli
from testkit.authority import TestAuthority
from tests.provenance.builds import START
from tests.provenance.sigstore.tuf_repository import Repository, later
from tests.service.running import Authority

FIRST = TestAuthority("first", start=START)
SECOND = TestAuthority("second", start=START)


class Served:
    """A TUF repository behind TLS."""

    def __init__(self, folder: Path) -> None:
        self.repository = Repository(FIRST.trusted_root_json())
        self.ca_file = Authority().write(folder)
        files = self.repository.files

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = files.get(self.path.lstrip("/"))
                self.send_response(200 if data is not None else 404)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, folder / "tls.key")
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up
        self.url = f"https://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    (tmp_path / "tuf-root.json").write_bytes(served.repository.tuf_root)
    yield served
    served.http.shutdown()
    served.http.server_close()


@pytest.fixture
def config(served: Served, tmp_path: Path) -> Path:
    file = tmp_path / "touchstone.toml"
    file.write_text(
        f"""
        [storage]
        data_dir = "{tmp_path / "data"}"
        [sigstore]
        tuf_url = "{served.url}"
        tuf_root = "{tmp_path / "tuf-root.json"}"
        ca_file = "{served.ca_file}"
        allow_private = true
        """
    )
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["trust", *map(str, arguments)])


def shown(config: Path) -> dict[str, object]:
    return json.loads(run("show", "--config", config, "--json").stdout)


def digest(authority: TestAuthority) -> str:
    return trust_root.parse_document(authority.trusted_root()).digest


def test_refreshed_root_is_what_the_server_would_use(config: Path, served: Served) -> None:
    assert shown(config)["refreshed"] is False
    result = run("refresh", "--config", config, "--json")
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout)["changed"] is True
    assert (shown(config)["refreshed"], shown(config)["sha256"]) == (True, digest(FIRST))
    served.repository.publish(SECOND.trusted_root_json())
    assert run("refresh", "--config", config).exit_code == 0
    assert shown(config)["sha256"] == digest(SECOND)
    used = trust_refresh.root_in_use(settings.load(config, {}))
    assert used is not None
    assert used.version == 2


def test_refused_refresh_leaves_the_root_in_use(config: Path, served: Served) -> None:
    run("refresh", "--config", config)
    served.repository.publish(SECOND.trusted_root_json(), expires={"timestamp": later(minutes=-1)})
    assert isinstance(run("refresh", "--config", config).exception, RootRefreshRefused)
    assert shown(config)["sha256"] == digest(FIRST)


def test_repository_that_does_not_answer_is_unavailable(config: Path, served: Served) -> None:
    run("refresh", "--config", config)
    result = run("refresh", "--config", config, "--tuf-url", "https://127.0.0.1:1")
    assert isinstance(result.exception, FetchFailed)
    assert shown(config)["sha256"] == digest(FIRST)


def test_state_that_the_settings_root_does_not_vouch_for_is_not_used(
    config: Path, served: Served, tmp_path: Path
) -> None:
    run("refresh", "--config", config)
    (tmp_path / "tuf-root.json").write_bytes(Repository(b"{}").tuf_root)
    found = shown(config)
    assert (found["refreshed"], found["sha256"]) == (False, trust_root.public_good().digest)
    assert "pinned" in str(found["warning"])


def test_private_address_and_foreign_authority_need_the_operators_word(
    config: Path, served: Served, tmp_path: Path
) -> None:
    text = config.read_text()
    config.write_text(text.replace("allow_private = true", ""))
    assert isinstance(run("refresh", "--config", config).exception, FetchForbidden)
    assert run("refresh", "--config", config, "--allow-private").exit_code == 0
    config.write_text(text.replace(f'ca_file = "{served.ca_file}"', ""))
    assert isinstance(run("refresh", "--config", config).exception, FetchFailed)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "file:///etc", "x", "https://", "https://h:999999"])
def test_url_that_is_not_https_is_refused(config: Path, url: str) -> None:
    assert isinstance(run("refresh", "--config", config, "--tuf-url", url).exception, InvalidSetting)
