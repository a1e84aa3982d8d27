import subprocess
import sys
import threading
import time

import pytest

from batchpersist.persist import pair
from batchpersist.persist.pair import Settled, settle_one, settle_pair


def raising(error):
    def call():
        raise error

    return call


def waiting_for_the_other(barrier, value):
    """Ends only where the other side runs at the same time."""

    def call():
        barrier.wait(timeout=5)
        return value

    return call


def test_both_start_together():
    barrier = threading.Barrier(2)
    snapshot, manifest = settle_pair(waiting_for_the_other(barrier, "s"), waiting_for_the_other(barrier, "m"))
    assert (snapshot.value, manifest.value) == ("s", "m")
    assert (snapshot.error, manifest.error) == (None, None)


def test_nested_and_parallel_pairs_start_together():
    everybody = threading.Barrier(8)

    def pair_of_pairs():
        def inner():
            return settle_pair(waiting_for_the_other(everybody, None), waiting_for_the_other(everybody, None))

        return settle_pair(inner, inner)

    outer = settle_pair(pair_of_pairs, pair_of_pairs)
    assert [side.error for pair in outer for inner in pair.value for side in inner.value] == [None] * 8


def test_sequential_is_the_snapshot_and_then_the_manifest():
    order = []
    settle_pair(lambda: order.append("snapshot"), lambda: order.append("manifest"), concurrent=False)
    assert order == ["snapshot", "manifest"]


@pytest.mark.parametrize("concurrent", [True, False])
@pytest.mark.parametrize("failing", ["snapshot", "manifest", "both"])
def test_each_is_awaited_whatever_the_other_does(concurrent, failing):
    errors = {"snapshot": ValueError("snapshot"), "manifest": OSError("manifest")}
    calls = {
        side: raising(error) if failing in (side, "both") else (lambda side=side: side)
        for side, error in errors.items()
    }
    settled = dict(
        zip(calls, settle_pair(calls["snapshot"], calls["manifest"], concurrent=concurrent), strict=True)
    )
    for side, result in settled.items():
        if failing in (side, "both"):
            assert (result.value, result.error) == (None, errors[side])
        else:
            assert (result.value, result.error) == (side, None)


@pytest.mark.parametrize("slow", [0, 1])
def test_the_slower_side_is_awaited(slow):
    calls = [lambda: "quick", lambda: "quick"]
    calls[slow] = lambda: time.sleep(0.05) or "slow"
    settled = settle_pair(*calls)
    assert [settled[slow].value, settled[1 - slow].value] == ["slow", "quick"]
    assert settled[slow].seconds >= 0.05


def test_each_side_has_its_own_seconds(monkeypatch):
    monkeypatch.setattr(pair, "perf_counter", iter([10.0, 12.5, 20.0, 20.25]).__next__)
    snapshot, manifest = settle_pair(lambda: None, raising(ValueError()), concurrent=False)
    assert (snapshot.seconds, manifest.seconds) == (2.5, 0.25)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("side", ["snapshot", "manifest"])
def test_interrupts_are_raised_once_both_sides_have_ended(side, error):
    ended = []
    other_may_end = threading.Event()

    def broken():
        threading.Timer(0.05, other_may_end.set).start()
        raise error

    def other():
        assert other_may_end.wait(timeout=5)
        ended.append(True)

    with pytest.raises(type(error)) as caught:
        settle_pair(*((broken, other) if side == "snapshot" else (other, broken)))
    assert caught.value is error
    assert ended == [True]


INTERRUPTED = """
import os, signal, threading, time
from batchpersist.persist.pair import settle_pair

# It is ignored in what a shell has started in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

def slow():
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    time.sleep(0.4)
    print("ended", flush=True)

try:
    settle_pair(slow, lambda: None)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_an_interrupt_while_waiting_for_the_snapshot_awaits_it():
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.split() == ["ended", "interrupted"]


def test_without_a_thread_one_side_follows_the_other(monkeypatch):
    monkeypatch.setattr(pair._SnapshotThread, "start", lambda self: raising(RuntimeError("no thread"))())
    order = []
    settled = settle_pair(lambda: order.append("snapshot"), lambda: order.append("manifest"))
    assert order == ["snapshot", "manifest"]
    assert [side.error for side in settled] == [None, None]


def test_no_thread_is_left_behind():
    before = threading.active_count()
    for _ in range(20):
        settle_pair(lambda: None, raising(ValueError()))
    assert threading.active_count() == before


def test_settle_one_returns_an_exception_and_raises_interrupts():
    settled = settle_one(lambda: 3)
    assert settled == Settled(3, None, settled.seconds)
    error = ValueError()
    assert settle_one(raising(error)).error is error
    with pytest.raises(KeyboardInterrupt):
        settle_one(raising(KeyboardInterrupt()))
