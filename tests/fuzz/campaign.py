"""``make fuzz``: a coverage-guided campaign (atheris, libFuzzer) over every parser, with its figures.

Every module of ``tests/fuzz/targets`` has ``TARGETS``, name to a function of bytes that swallows typed
errors alone, and may have ``SEEDS``, name to valid inputs. Each target runs in a process of its own.
Printed per target: executions, executions per second, crashes, slowest input in milliseconds. The exit code
is 1 after a crash; the input that caused it is kept in the folder of crashes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tests.fuzz.targets

_SLOW_INPUT_S = 5
_MEMORY_MB = 1024
_MAX_INPUT = 1 << 16
_STAT = re.compile(rb"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_SLOWEST = re.compile(rb"^TOUCHSTONE slowest (\d+\.\d+)", re.MULTILINE)


def modules() -> list[str]:
    return [item.name for item in pkgutil.iter_modules(tests.fuzz.targets.__path__)]


def targets() -> list[tuple[str, str]]:
    """Module and name of every target."""
    found = []
    for module in modules():
        loaded = importlib.import_module(f"tests.fuzz.targets.{module}")
        found += [(module, name) for name in loaded.TARGETS]
    return found


def run_one(module: str, name: str, seconds: int, crashes: Path) -> dict[str, float | str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "tests.fuzz.one", module, name, folder,
            f"-max_total_time={seconds}", f"-rss_limit_mb={_MEMORY_MB}", f"-timeout={_SLOW_INPUT_S}",
            f"-max_len={_MAX_INPUT}", "-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, check=False)
    output = done.stdout + done.stderr
    stats = {key.decode(): int(value) for key, value in _STAT.findall(output)}
    slowest = _SLOWEST.findall(output)
    crashed = done.returncode != 0
    if crashed:
        sys.stderr.write(output[-4000:].decode("utf-8", "replace") + "\n")
    return {
        "target": name,
        "executions": stats.get("number_of_executed_units", 0),
        "per_second": stats.get("average_exec_per_sec", 0),
        "crashes": int(crashed),
        "slowest_ms": max((float(value) for value in slowest), default=0.0),
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=60, help="of each target")
    options.add_argument("--only", default="", help="targets whose name contains this")
    options.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"), help="where such inputs go")
    given = options.parse_args()
    given.crashes.mkdir(exist_ok=True)
    chosen = [item for item in targets() if given.only in item[1]]
    print(f"{'target':30} {'executions':>12} {'per second':>11} {'crashes':>8} {'slowest':>10}")
    total: dict[str, float] = {"executions": 0, "crashes": 0, "slowest_ms": 0}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = [pool.submit(run_one, *item, given.seconds, given.crashes.resolve()) for item in chosen]
        for job in jobs:
            row = job.result()
            print(_row(row), flush=True)
            total["executions"] += float(row["executions"])
            total["crashes"] += float(row["crashes"])
            total["slowest_ms"] = max(total["slowest_ms"], float(row["slowest_ms"]))
    print(_row({"target": f"{len(chosen)} targets", "per_second": 0, **total}))
    return 1 if total["crashes"] else 0


def _row(row: dict[str, float | str]) -> str:
    return (
        f"{row['target']:30} {row['executions']:12,.0f} {row['per_second'] or '':>11}"
        f" {row['crashes']:8.0f} {row['slowest_ms']:7.1f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
