"""One appraisal decision: regorus in process against the OPA server on loopback, side by side."""

from __future__ import annotations

import json
import statistics
import time

from policy import shipped
from policy.opa_engine import OpaEngine
from policy.port import PolicyKind
from policy.regorus_engine import RegorusEngine
from testkit.opa import OpaServer

_ROUNDS = 20
_PER_ROUND = 50
_INPUT = {
    "snp": {"measurement": "aa", "policy_debug_allowed": False, "policy_migrate_ma": False, "vmpl": 0},
    "verification": {
        "tee": "snp",
        "bound": "session",
        "failed": [],
        "identity": "x",
        "init_data": "absent",
    },
    "reference": {"snp_launch_measurement": {"aa": {"value": "aa"}}},
}


def run() -> list[str]:
    """The figure, as lines of text."""
    source = shipped.load(PolicyKind.APPRAISAL, "default")
    document = json.dumps(_INPUT).encode()
    with OpaServer() as server:
        engines = [RegorusEngine().compile(source), OpaEngine(server.url).compile(source)]
        assert engines[0].evaluate(document) == engines[1].evaluate(document)
        times: list[list[float]] = [[], []]
        for _ in range(_ROUNDS):
            for place, compiled in enumerate(engines):
                started = time.perf_counter()
                for _ in range(_PER_ROUND):
                    compiled.evaluate(document)
                times[place].append((time.perf_counter() - started) / _PER_ROUND)
    regorus, opa = (statistics.median(side) * 1e6 for side in times)
    return [f"regorus {regorus:.0f} us, OPA server {opa:.0f} us: {opa / regorus:.0f} times"]


if __name__ == "__main__":
    print("\n".join(run()))
