"""Turns: one thread at a time, given up while waiting, and never more than a courtesy."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from storage import turns as module
from storage.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable


def _started(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def _take(turns: Turns, then: Callable[[], None] = lambda: None) -> None:
    with turns.turn():
        then()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 30.0)


@pytest.mark.usefixtures("patient")
def test_one_thread_at_a_time_has_the_turn() -> None:
    turns = Turns()
    inside = 0
    most = 0

    def act() -> None:
        nonlocal inside, most
        for _ in range(50):
            with turns.turn():
                inside += 1
                most = max(most, inside)
                time.sleep(0.0001)
                inside -= 1

    for thread in [_started(act) for _ in range(4)]:
        thread.join()
    assert most == 1


@pytest.mark.usefixtures("patient")
def test_a_turn_is_given_up_while_its_holder_waits_and_taken_again() -> None:
    turns = Turns()
    order: list[str] = []
    waits, acted = threading.Event(), threading.Event()

    def other() -> None:
        waits.wait(10)
        with turns.turn():
            order.append("other")
            acted.set()

    thread = _started(other)
    with turns.turn():
        order.append("before")
        with turns.waiting():
            waits.set()
            assert acted.wait(10)
        order.append("after")
        late = _started(lambda: _take(turns, lambda: order.append("late")))
        time.sleep(0.05)
        order.append("end")
    thread.join()
    late.join()
    assert order == ["before", "other", "after", "end", "late"]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("at", ["turn", "waiting"])
def test_a_failure_leaves_the_turn_to_others(at: str) -> None:
    turns = Turns()

    def fail() -> None:
        with turns.turn():
            if at == "turn":
                raise ZeroDivisionError
            with turns.waiting():
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    thread = _started(lambda: _take(turns))
    thread.join(10)
    assert not thread.is_alive()


def test_who_waits_too_long_goes_on_without_and_takes_nothing_from_the_holder() -> None:
    turns = Turns()
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.turn():
            holds.set()
            done.wait(10)

    thread = _started(hold)
    assert holds.wait(10)
    with turns.turn():  # not held: neither leaving it nor waiting in it may release the holder's
        with turns.waiting():
            assert turns._lock.locked()
        assert turns._lock.locked()
    assert turns._lock.locked()
    done.set()
    thread.join()
    assert not turns._lock.locked()


def test_waiting_outside_of_a_turn_does_nothing() -> None:
    turns = Turns()
    with turns.waiting():
        assert not turns._lock.locked()
    assert not turns._lock.locked()
