"""Appraisals per second over HTTP: SNP evidence, a real server with two workers, 8 clients, then 1.

The load generator shares the two cores with the server. Reports differ from each other; each is verified,
appraised and answered with a signed token. The stored reference values grow from 10 to a million.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from http_load import children_of, free_port, resident_mib, server, wrk

from service import composition, settings
from storage.database import Database
from testkit import reference_values
from testkit.snp_firmware import SnpFirmware

_BODIES = 400
_SECONDS = 8
_CLIENTS = 8
_STEPS = (10, 1_000, 100_000, 1_000_000)


def run(steps: tuple[int, ...] = _STEPS) -> list[str]:
    """The figures, as lines of text."""
    now = datetime.now(UTC).replace(microsecond=0)
    firmware = SnpFirmware(start=now - timedelta(days=1))
    measurement = bytes.fromhex(reference_values.measurement("fill-10", 7))
    bodies = [_body(firmware, place, measurement) for place in range(_BODIES)]
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url, config = _configure(folder, firmware, now)
        composition.prepare(settings.load(config))
        database = Database(settings.load(config).database_url)
        stored, first = 0, 0.0
        for step in steps:
            reference_values.fill(database, step - stored, seed=f"fill-{step}")
            stored = step
            with server(config, url) as (process, ready):
                wrk(f"{url}/v1/appraisals", bodies, clients=_CLIENTS, seconds=2)
                load = wrk(f"{url}/v1/appraisals", bodies, clients=_CLIENTS, seconds=_SECONDS)
                single = wrk(f"{url}/v1/appraisals", bodies, clients=1, seconds=3)
                memory = max(resident_mib(child) for child in children_of(process.pid))
            first = first or load.per_second
            share = load.per_second / first
            lines.append(
                f"{step:>9,} reference values: {load.per_second:6.0f}/s ({share:4.0%} of the first),"
                f" p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, {load.failed} not 200;"
                f" 1 client p50 {single.p50_ms:.2f} ms; worker {memory:.0f} MiB; ready in {ready:.1f} s"
            )
        database.close()
    return lines


def _body(firmware: SnpFirmware, place: int, measurement: bytes) -> bytes:
    report_data = (place + 1).to_bytes(64, "big")
    evidence = firmware.evidence(report_data, measurement=measurement)
    return msgspec.json.encode({"evidence": evidence, "report_data": report_data.hex()})


def _configure(folder: Path, firmware: SnpFirmware, now: datetime) -> tuple[str, Path]:
    url = f"http://127.0.0.1:{free_port()}"
    (folder / "ark.pem").write_bytes(firmware.ark.public_bytes(Encoding.PEM))
    lists = folder / "collateral" / "crl"
    lists.mkdir(parents=True)
    name = firmware.ark.fingerprint(hashes.SHA256()).hex()
    (lists / f"{name}.crl").write_bytes(firmware.crl(this_update=now - timedelta(hours=1)))
    config = folder / "touchstone.toml"
    config.write_text(
        f"""profile = "development"
[server]
listen = "{url.removeprefix("http://")}"
workers = 2
[storage]
data_dir = "{folder / "data"}"
[snp]
extra_anchors = ["{folder / "ark.pem"}"]
collateral_dir = "{folder / "collateral"}"
"""
    )
    return url, config


if __name__ == "__main__":
    print("\n".join(run()))
