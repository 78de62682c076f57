"""Every figure of docs/benchmarks.md: `make bench`, or one by its name."""

from __future__ import annotations

import importlib
import sys
import warnings

_ALL = (
    "appraisal_in_process",
    "policy_engines",
    "tdx_quote",
    "bundle_verifications",
    "guest_size",
    "reference_values",
    "http_appraisals",
    "kbs",
)


def main() -> None:
    """Run the named benchmarks, or all."""
    warnings.filterwarnings("ignore", message="Parsed a serial number")
    for name in sys.argv[1:] or _ALL:
        module = importlib.import_module(name)
        print(f"\n{name}: {(module.__doc__ or '').strip().splitlines()[0]}")
        for line in module.run():
            print(f"  {line}")


if __name__ == "__main__":
    main()
