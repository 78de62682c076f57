"""One fuzz target under atheris: ``python -m tests.fuzz.one MODULE NAME CORPUS [libFuzzer options]``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import atheris

_ROOMS = ["common", "wire", "verifier", "provenance", "coco", "policy", "rvps", "kms", "guest_agent"]


def main() -> None:
    module, name, corpus = sys.argv[1:4]
    with atheris.instrument_imports(include=_ROOMS):
        targets = __import__(f"tests.fuzz.targets.{module}", fromlist=["TARGETS"])
    target = targets.TARGETS[name]
    for number, seed in enumerate(getattr(targets, "SEEDS", {}).get(name, ())):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    slowest = 0.0

    def timed(data: bytes) -> None:
        nonlocal slowest
        start = time.perf_counter()
        target(data)
        took = time.perf_counter() - start
        if took > slowest:
            # At once, since libFuzzer leaves the process without a word to Python.
            slowest = took
            sys.stderr.write(f"\nTOUCHSTONE slowest {took * 1000:.3f}\n")

    atheris.Setup([sys.argv[0], corpus, *sys.argv[4:]], timed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
