"""Appraisals per second over HTTP: SNP evidence, a real server with two workers, 8 clients, then 1.

The load generator shares the two cores with the server. Reports differ from each other; each is verified,
appraised and answered with a signed token. The stored reference values grow from 10 to a million on the
faster server (granian); gunicorn is measured beside it, on the first store. Before and after stands what
bare P-384 verifications on both cores come to: no server can do more.
"""

from __future__ import annotations

import multiprocessing
import re
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from http_load import resident_mib, server, wrk

from service import composition, settings
from storage.database import Database
from testkit import reference_values
from testkit.daemon import children_of, free_port
from testkit.snp_firmware import SnpFirmware

_BODIES = 400
_SECONDS = 8
_CLIENTS = 8
_BARE_SECONDS = 3
_SIGNED = bytes(0x2A0)  # what of a report is signed (56860, table 23)
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
        lines.append(_bare())
        composition.prepare(settings.load(config))
        database = Database(settings.load(config).database_url)
        stored, first = 0, 0.0
        for step in steps:
            reference_values.fill(database, step - stored, seed=f"fill-{step}")
            stored = step
            if not first:
                _choose(config, "gunicorn")
                lines.append(f"gunicorn, {_measure(config, url, bodies)[1]}")
                _choose(config, "granian")
            per_second, text = _measure(config, url, bodies)
            first = first or per_second
            lines.append(f"granian, {step:>9,} reference values ({per_second / first:4.0%}): {text}")
        lines.append(_bare())
        database.close()
    return lines


def _measure(config: Path, url: str, bodies: list[bytes]) -> tuple[float, str]:
    with server(config, url) as (process, ready):
        wrk(f"{url}/v1/appraisals", bodies, clients=_CLIENTS, seconds=2)
        load = wrk(f"{url}/v1/appraisals", bodies, clients=_CLIENTS, seconds=_SECONDS)
        single = wrk(f"{url}/v1/appraisals", bodies, clients=1, seconds=3)
        memory = max(resident_mib(child) for child in children_of(process.pid))
    return load.per_second, (
        f"{load.per_second:6.0f}/s, p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms,"
        f" {load.failed} not 200; 1 client p50 {single.p50_ms:.2f} ms; worker {memory:.0f} MiB;"
        f" ready in {ready:.1f} s"
    )


def _bare() -> str:
    """Two processes that do nothing but verify the signature of a report."""
    with multiprocessing.Pool(2) as pool:
        rates = pool.map(_verifications, range(2))
    return f"bare P-384 verifications in two processes: {sum(rates):.0f}/s"


def _verifications(_: int) -> float:
    key = ec.generate_private_key(ec.SECP384R1())
    signature = key.sign(_SIGNED, ec.ECDSA(hashes.SHA384()))
    public, done, started = key.public_key(), 0, time.perf_counter()
    while time.perf_counter() - started < _BARE_SECONDS:
        public.verify(signature, _SIGNED, ec.ECDSA(hashes.SHA384()))
        done += 1
    return done / (time.perf_counter() - started)


def _choose(config: Path, engine: str) -> None:
    text = re.sub(r'engine = "\w+"', f'engine = "{engine}"', config.read_text())
    config.write_text(text)


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
engine = "granian"
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
