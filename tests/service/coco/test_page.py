"""docs/compatibility.md says what the tests show, and its configurations start."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from service import settings
from tests.service.coco.differences import DIFFERENCES
from tests.service.coco.page import PAGE, rendered

DEPLOYMENTS = PAGE.parents[1] / "deploy" / "coco"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_tables_of_the_page_are_those_of_the_tests(page: str) -> None:
    assert page == rendered(page), "write them anew: python -m tests.service.coco.page"


def test_every_difference_says_why(page: str) -> None:
    assert all(item.why and item.ours and item.theirs for item in DIFFERENCES)
    assert len({item.what for item in DIFFERENCES}) == len(DIFFERENCES)


def test_every_trap_is_answered(page: str) -> None:
    traps = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert [int(number) for number in traps] == list(range(1, 23))


def test_tests_that_the_page_names_exist(page: str) -> None:
    root = PAGE.parents[1]
    named = set(re.findall(r"`(tests/[^`]+\.py)`", page))
    assert named
    assert not [name for name in named if not (root / name).exists()]


@pytest.mark.parametrize("name", ["development", "production"])
def test_configurations_are_valid(name: str) -> None:
    built = settings.build(tomllib.loads((DEPLOYMENTS / f"{name}.toml").read_text(encoding="utf-8")))
    assert built.profile == name


def test_settings_that_the_page_shows_are_valid(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n# touchstone\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        document: dict[str, Any] = tomllib.loads(block)
        settings.build(document | {"storage": {"data_dir": str(tmp_path)}})
