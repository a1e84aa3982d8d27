import logging
import threading
from dataclasses import dataclass

import pytest

from batchpersist.errors import InvalidRunError, SnapshotError, TaskStateLockError, UsageError
from batchpersist.models import Side
from batchpersist.persist.coordinator import EventBus, PairResult, PersistenceCoordinator

SUMMARY = {"taskId": "the-task", "runId": "the-run", "timestamp": "2024-01-01T00:00:00Z"}
LOCKED = TaskStateLockError("the task is locked", "by pid 7")
SNAPSHOT_ERROR = SnapshotError("not a snapshot", "runs.json")
MANIFEST_ERROR = OSError(28, "No space left on device")


class Store:
    """A state store and manifest writer in one: what each does is given, what was asked is kept."""

    def __init__(self, snapshot=lambda: Side.PERSISTED, manifest=lambda: Side.PERSISTED):
        self._snapshot = snapshot
        self._manifest = manifest
        self.recorded = []
        self.written = []

    def record_run(self, summary):
        self.recorded.append(summary)
        return self._snapshot()

    def write(self, summary):
        self.written.append(summary)
        return self._manifest()


def raising(error):
    def call():
        raise error

    return call


def coordinator_of(store, *args, **kwargs):
    return PersistenceCoordinator(store, store, *args, **kwargs)


def logged(caplog):
    return [(record.name, record.levelno, record.getMessage()) for record in caplog.records]


@pytest.fixture(params=["concurrent", "sequential"])
def pair(request):
    return request.param


def test_both_sides_get_the_summary_and_the_result_says_how_they_settled(pair, caplog):
    store = Store(manifest=lambda: Side.UNCHANGED)
    result = coordinator_of(store, pair=pair).handle_run_completed(SUMMARY)
    assert isinstance(result, PairResult)
    assert (result.snapshot.value, result.manifest.value) == (Side.PERSISTED, Side.UNCHANGED)
    assert store.recorded == store.written == [SUMMARY]
    assert logged(caplog) == []


def test_both_sides_start_together():
    barrier = threading.Barrier(2)
    store = Store(lambda: barrier.wait(timeout=5), lambda: barrier.wait(timeout=5))
    result = coordinator_of(store).handle_run_completed(SUMMARY)
    assert (result.snapshot.error, result.manifest.error) == (None, None)


def test_sequential_starts_the_manifest_once_the_snapshot_has_settled():
    order = []
    store = Store(lambda: order.append("snapshot"), lambda: order.append("manifest"))
    coordinator_of(store, pair="sequential").handle_run_completed(SUMMARY)
    assert order == ["snapshot", "manifest"]


SKIPPED = ("batchpersist.persist.coordinator", logging.WARNING, "snapshot skipped: {run}: {error}")
FAILED = ("batchpersist.persist.coordinator", logging.ERROR, "snapshot failed: {run}: {error}")
REPORTED = ("batchpersist.persist.coordinator", logging.WARNING, "snapshot not recorded: {run}: {error}")
NOT_WRITTEN = ("batchpersist.persist.coordinator", logging.ERROR, "manifest not written: {run}: {error}")


def worded(template, error):
    name, level, text = template
    return name, level, text.format(run="task 'the-task' run 'the-run'", error=error)


@dataclass
class Case:
    snapshot: Exception | None
    manifest: Exception | None
    at_once: tuple[str, int, str] | None
    """Logged, with a callback or without."""
    reported: Exception
    """To the callback; without one it is logged as the next says."""
    otherwise: tuple[str, int, str]


CASES = [
    Case(LOCKED, None, SKIPPED, LOCKED, REPORTED),
    Case(SNAPSHOT_ERROR, None, FAILED, SNAPSHOT_ERROR, REPORTED),
    Case(None, MANIFEST_ERROR, None, MANIFEST_ERROR, NOT_WRITTEN),
    Case(LOCKED, MANIFEST_ERROR, SKIPPED, MANIFEST_ERROR, NOT_WRITTEN),
    Case(SNAPSHOT_ERROR, MANIFEST_ERROR, FAILED, MANIFEST_ERROR, NOT_WRITTEN),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("callback", [True, False])
def test_each_failure_is_reported_once(case, callback, pair, caplog):
    heard = []
    store = Store(
        raising(case.snapshot) if case.snapshot else lambda: Side.PERSISTED,
        raising(case.manifest) if case.manifest else lambda: Side.PERSISTED,
    )
    on_error = (lambda error, summary: heard.append((error, summary))) if callback else None
    result = coordinator_of(store, on_error, pair=pair).handle_run_completed(SUMMARY)
    assert (result.snapshot.error, result.manifest.error) == (case.snapshot, case.manifest)
    expected = [worded(case.at_once, case.snapshot)] if case.at_once else []
    if not callback:
        expected.append(worded(case.otherwise, case.reported))
    assert logged(caplog) == expected
    assert heard == ([(case.reported, SUMMARY)] if callback else [])


def test_a_snapshot_s_failure_is_logged_before_the_manifest_is_done(caplog):
    """The manifest ends only once the log has the snapshot's failure."""
    seen = threading.Event()

    class Seen(logging.Handler):
        def emit(self, record):
            seen.set()

    handler = Seen()
    logger = logging.getLogger("batchpersist.persist.coordinator")
    logger.addHandler(handler)
    try:
        store = Store(raising(LOCKED), lambda: seen.wait(timeout=5))
        result = coordinator_of(store).handle_run_completed(SUMMARY)
    finally:
        logger.removeHandler(handler)
    assert result.manifest.value is True


def test_the_log_carries_the_traceback_of_an_unexpected_failure(caplog):
    coordinator_of(Store(raising(SNAPSHOT_ERROR)), lambda error, summary: None).handle_run_completed(SUMMARY)
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    "sides", [(raising(LOCKED), lambda: Side.PERSISTED), (lambda: Side.PERSISTED, raising(MANIFEST_ERROR))]
)
def test_an_error_of_the_callback_is_logged_and_not_raised(sides, caplog):
    def on_error(error, summary):
        raise RuntimeError("the callback is broken")

    coordinator_of(Store(*sides), on_error).handle_run_completed(SUMMARY)
    assert "on_error failed: task 'the-task' run 'the-run'" in caplog.text
    assert "RuntimeError: the callback is broken" in caplog.text


def test_a_run_given_as_text_is_handled_too(caplog):
    store = Store(manifest=raising(InvalidRunError("not JSON")))
    coordinator_of(store).handle_run_completed(b"{")
    assert store.recorded == [b"{"]
    assert logged(caplog)[0][2] == "manifest not written: a run given as text: not JSON"


def test_an_interrupt_is_raised_once_both_sides_have_ended():
    manifest_runs, ended = threading.Event(), []

    def snapshot():
        assert manifest_runs.wait(timeout=5)
        ended.append("snapshot")

    def manifest():
        manifest_runs.set()
        raise KeyboardInterrupt

    coordinator = coordinator_of(Store(snapshot, manifest))
    with pytest.raises(KeyboardInterrupt):
        coordinator.handle_run_completed(SUMMARY)
    assert ended == ["snapshot"]
    coordinator.stop()  # the interrupted run is no longer in flight


def test_an_unknown_pair_mode_is_a_usage_error():
    with pytest.raises(UsageError, match="'both'"):
        coordinator_of(Store(), pair="both")


def test_between_start_and_stop_it_handles_the_events_of_the_bus():
    bus, store = EventBus(), Store()
    coordinator = coordinator_of(store, event_bus=bus)
    bus.emit("run:completed", "before")
    coordinator.start()
    coordinator.start()
    bus.emit("run:completed", SUMMARY)
    bus.emit("run:started", SUMMARY)
    coordinator.stop()
    coordinator.stop()
    bus.emit("run:completed", "after")
    assert store.recorded == store.written == [SUMMARY]
    coordinator.start()
    bus.emit("run:completed", "again")
    assert store.recorded == [SUMMARY, "again"]


def test_without_a_bus_start_and_stop_do_nothing():
    coordinator = coordinator_of(Store())
    coordinator.start()
    coordinator.stop()
    assert coordinator.handle_run_completed(SUMMARY).manifest.value is Side.PERSISTED


def test_stop_waits_for_runs_in_flight():
    started, may_end, stopped = threading.Event(), threading.Event(), threading.Event()

    def manifest():
        started.set()
        assert may_end.wait(timeout=5)

    coordinator = coordinator_of(Store(manifest=manifest))
    handling = threading.Thread(target=coordinator.handle_run_completed, args=(SUMMARY,))
    handling.start()
    assert started.wait(timeout=5)

    def stop():
        coordinator.stop()
        stopped.set()

    stopping = threading.Thread(target=stop)
    stopping.start()
    assert not stopped.wait(timeout=0.05)
    may_end.set()
    assert stopped.wait(timeout=5)
    handling.join()
    stopping.join()


def test_on_error_may_stop_the_coordinator_and_hand_over_another_run():
    bus = EventBus()
    again = []

    def on_error(error, summary):
        coordinator.stop()
        if not again:
            again.append(True)
            coordinator.handle_run_completed("nested")
        coordinator.stop()

    store = Store(manifest=raising(MANIFEST_ERROR))
    coordinator = coordinator_of(store, on_error, bus)
    coordinator.start()
    bus.emit("run:completed", SUMMARY)
    bus.emit("run:completed", "after the stop")
    assert store.written == [SUMMARY, "nested"]


def test_several_threads_hand_over_runs_at_once():
    everybody = threading.Barrier(4)
    store = Store(manifest=lambda: everybody.wait(timeout=5))
    coordinator = coordinator_of(store)
    results = []

    def hand_over(number):
        results.append(coordinator.handle_run_completed(number))

    threads = [threading.Thread(target=hand_over, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.manifest.error for result in results] == [None] * 4
    assert sorted(store.recorded) == [0, 1, 2, 3]
    coordinator.stop()
