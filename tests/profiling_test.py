"""Phase clocks: each moment counts once, to the innermost phase of its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from batchpersist import profiling
from batchpersist.profiling import PHASES, PhaseClock, current, in_phase, running


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``spend(seconds)`` advances the clock."""
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(profiling, "perf_counter", lambda: now)
    return spend


def test_inner_phase_is_not_counted_to_the_outer(spend: Callable[[float], None]) -> None:
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


def test_phase_that_raises_is_counted(spend: Callable[[float], None]) -> None:
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


def test_clocks_can_be_added(spend: Callable[[float], None]) -> None:
    outer, inner = PhaseClock(), PhaseClock()
    with running(outer, "snapshot"):
        spend(1)
        with running(inner, "snapshot"):
            current().syncs += 2
            spend(2)
    outer.add(inner)
    assert outer.syncs == 2
    assert outer.seconds()["snapshot"] == 5  # each clock measures its own thread


def test_each_thread_has_its_own_clock() -> None:
    mine, other = PhaseClock(), []
    with running(mine):
        thread = threading.Thread(target=lambda: other.append(current()))
        thread.start()
        thread.join()
        assert current() is mine
    assert other[0] is not mine
