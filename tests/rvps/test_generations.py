from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rvps.generations import Generations


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60))
def test_it_never_holds_more_than_two_generations_nor_a_wrong_entry(
    limit: int, steps: list[tuple[bool, int]]
) -> None:
    kept: Generations[int, str] = Generations(limit)
    for put, key in steps:
        if put:
            kept.put(key, str(key))
            assert kept.get(key) == str(key)
        else:
            assert kept.get(key) in (None, str(key))
        assert len(kept) <= 2 * limit


def test_what_is_used_survives_what_is_not() -> None:
    kept: Generations[str, int] = Generations(4)
    kept.put("used", 1)
    for index in range(40):
        kept.put(f"once {index}", index)
        assert kept.get("used") == 1
    assert kept.get("once 0") is None
