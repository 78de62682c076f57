"""The fuzz targets run: on nothing, on what hypothesis makes, on their own seeds and on pieces of them."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.campaign import modules, targets


def _loaded(module: str) -> Any:
    return importlib.import_module(f"tests.fuzz.targets.{module}")


@pytest.mark.parametrize(("module", "name"), targets())
def test_any_bytes_give_a_value_or_a_typed_error(module: str, name: str) -> None:
    target = _loaded(module).TARGETS[name]

    @settings(deadline=None, max_examples=60)
    @given(st.binary(max_size=4096))
    def run(data: bytes) -> None:
        target(data)

    run()


@pytest.mark.parametrize(("module", "name"), targets())
def test_damaged_seeds_give_a_value_or_a_typed_error(module: str, name: str) -> None:
    target = _loaded(module).TARGETS[name]
    seeds = list(getattr(_loaded(module), "SEEDS", {}).get(name, (b"",)))
    for seed in seeds:
        target(seed)

    @settings(deadline=None, max_examples=60)
    @given(st.sampled_from(seeds), st.integers(0, 1 << 16), st.binary(max_size=4), st.booleans())
    def run(seed: bytes, place: int, patch: bytes, cut: bool) -> None:
        place %= len(seed) + 1
        target(seed[:place] + patch + (b"" if cut else seed[place + len(patch) :]))

    run()


def test_every_module_of_targets_has_some() -> None:
    assert {module for module, _ in targets()} == set(modules())
