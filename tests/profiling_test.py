"""Clocks of phases: each moment counts once, for the thread that spends it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from batchpersist import profiling
from batchpersist.profiling import PHASES, PhaseClock, current, in_phase, running


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time go by."""
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(profiling, "perf_counter", lambda: now)
    return spend


def test_time_within_an_inner_phase_is_not_the_outer_one_s(spend: Callable[[float], None]) -> None:
    clock = PhaseClock()
    with running(clock, "snapshot"):
        spend(1)
        with in_phase("sync"):
            spend(2)
            with in_phase("lock_wait"):
                spend(4)
            spend(8)
        spend(16)
    spend(32)
    assert clock.seconds() == {**dict.fromkeys(PHASES, 0.0), "snapshot": 17, "sync": 10, "lock_wait": 4}


def test_what_raises_has_taken_its_time(spend: Callable[[float], None]) -> None:
    clock = PhaseClock()

    def fail() -> None:
        spend(3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), running(clock, "manifest"), in_phase("sync"):
        fail()
    spend(5)
    assert clock.seconds()["sync"] == 3
    assert sum(clock.seconds().values()) == 3
    assert current() is not clock


def test_clocks_are_added_up(spend: Callable[[float], None]) -> None:
    outer, inner = PhaseClock(), PhaseClock()
    with running(outer, "snapshot"):
        spend(1)
        with running(inner, "snapshot"):
            current().syncs += 2
            spend(2)
    outer.add(inner)
    assert outer.syncs == 2
    assert outer.seconds()["snapshot"] == 5  # both of them ran: they are for two threads


def test_threads_have_clocks_of_their_own() -> None:
    mine, other = PhaseClock(), []
    with running(mine):
        thread = threading.Thread(target=lambda: other.append(current()))
        thread.start()
        thread.join()
        assert current() is mine
    assert other[0] is not mine
