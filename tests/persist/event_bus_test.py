import logging
import threading

from batchpersist.persist.coordinator import EventBus


def test_handlers_are_called_in_order_with_the_payload():
    bus, heard = EventBus(), []
    bus.subscribe("run:completed", lambda payload: heard.append(("first", payload)))
    bus.subscribe("run:completed", lambda payload: heard.append(("second", payload)))
    bus.subscribe("other", lambda payload: heard.append(("other", payload)))
    bus.emit("run:completed", {"runId": "r"})
    assert heard == [("first", {"runId": "r"}), ("second", {"runId": "r"})]


def test_an_event_without_handlers_is_ignored():
    EventBus().emit("run:completed", {})


def test_unsubscribing_ends_one_subscription_of_a_handler():
    bus, heard = EventBus(), []
    unsubscribe = bus.subscribe("name", heard.append)
    bus.subscribe("name", heard.append)
    unsubscribe()
    unsubscribe()
    bus.emit("name", 1)
    assert heard == [1]


def test_a_failing_handler_is_logged_and_does_not_stop_the_others(caplog):
    bus, heard = EventBus(), []

    def fail(payload):
        raise ValueError(payload)

    bus.subscribe("name", fail)
    bus.subscribe("name", heard.append)
    bus.emit("name", "the payload")
    assert heard == ["the payload"]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("batchpersist.persist.coordinator", logging.ERROR)
    assert "ValueError: the payload" in caplog.text


def test_subscribing_during_an_emit_changes_the_next_one():
    bus, heard = EventBus(), []

    def first(payload):
        heard.append("first")
        end_second()
        bus.subscribe("name", lambda payload: heard.append("late"))

    end_first = bus.subscribe("name", first)
    end_second = bus.subscribe("name", lambda payload: heard.append("second"))
    bus.emit("name", None)
    assert heard == ["first", "second"]
    end_first()
    bus.emit("name", None)
    assert heard == ["first", "second", "late"]


def test_threads_subscribe_emit_and_unsubscribe_at_once():
    bus, heard = EventBus(), []
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        for _ in range(200):
            unsubscribe = bus.subscribe("name", heard.append)
            bus.emit("name", threading.get_ident())
            unsubscribe()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(heard.count(thread.ident) >= 200 for thread in threads)
    count = len(heard)
    bus.emit("name", None)
    assert len(heard) == count
