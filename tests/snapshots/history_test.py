from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpersist.contract.json_text import MAX_DEPTH
from batchpersist.errors import SnapshotError
from batchpersist.models import DEFAULT_KEYS, Keys
from batchpersist.snapshots.history import History, NotASnapshotError, OtherTaskError, read_history
from batchpersist.storage import file_reader
from batchpersist.storage.file_reader import BLOCK, FileBytes, MemoryBytes

DEEP = b"[" * 600 + b"]" * 600
TOO_DEEP = "the snapshot is nested too deep"

RUNS: list[dict[str, Any]] = [
    {
        "taskId": "t",
        "runId": "a",
        "timestamp": "1",
        "plan": {"items": [], "notes": {}},
        "n": 12345678901234567890,
    },
    {
        "timestamp": "2",
        "note": 'é\u2028 "},\n    {" \\ \u0001',
        "runId": "b é",
        "builds": [{"runId": "x"}, [], {}],
    },
    {"runId": "c", "timestamp": "2"},
]


def javascript(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def document(runs: list[dict[str, Any]], **further: object) -> dict[str, object]:
    last = {"lastRunAt": runs[-1]["timestamp"]} if runs else {}
    return {"taskId": "t", **last, "runs": runs, **further}


def read(data: bytes, *, task_id: str = "t", keys: Keys = DEFAULT_KEYS) -> History:
    return read_history(MemoryBytes(data), task_id, keys)


def texts(history: History) -> list[bytes]:
    return [history.text(entry) for entry in range(len(history.keys))]


def nested(run: dict[str, Any]) -> bytes:
    return javascript(run).replace(b"\n", b"\n    ")


@pytest.mark.parametrize("further", [{}, {"schema": {"a": [1, 2]}, "note": "x"}])
@pytest.mark.parametrize("block", [1, 2, 3, 7, 50, 1000, BLOCK])
def test_a_canonical_file_in_blocks_of_any_size(
    block: int, further: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_reader, "BLOCK", block)
    history = read(javascript(document(RUNS, **further)))

    assert history.keys == [("a", "1"), ("b é", "2"), ("c", "2")]
    assert texts(history) == [nested(run) for run in RUNS]
    assert history.is_canonical
    assert history.further == (javascript(further)[1:-2].join([b",", b""]) if further else b"")


def test_neighbours_are_one_stretch_of_text() -> None:
    history = read(javascript(document(RUNS)))
    assert b"".join(history.texts(0, 2)) == b",\n    ".join(map(nested, RUNS))
    assert b"".join(history.texts(1, 1)) == nested(RUNS[1])


def test_a_stretch_comes_in_blocks() -> None:
    runs = [{"runId": str(number), "timestamp": "1", "text": "x" * BLOCK} for number in range(2)]
    found = list(read(javascript(document(runs))).texts(0, 1))
    assert len(found) == 3
    assert b"".join(found) == b",\n    ".join(map(nested, runs))


OTHER_LAYOUTS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "compact": lambda runs: json.dumps(document(runs), separators=(",", ":")).encode(),
    "escaped": lambda runs: json.dumps(document(runs), indent=2).replace("runId", "run\\u0049d").encode(),
    "four spaces": lambda runs: json.dumps(document(runs), indent=4, ensure_ascii=False).encode(),
    "tabs": lambda runs: json.dumps(document(runs), indent="\t").encode(),
    "newline at the end": lambda runs: javascript(document(runs)) + b"\n",
    "carriage returns": lambda runs: javascript(document(runs)).replace(b"\n", b"\r\n"),
    "runs first": lambda runs: javascript(dict(reversed(document(runs).items()))),
    "wrong lastRunAt": lambda runs: javascript(document(runs) | {"lastRunAt": "9"}),
    "lastRunAt null": lambda runs: javascript(document(runs) | {"lastRunAt": None}),
    "no lastRunAt": lambda runs: javascript({"taskId": "t", "runs": runs}),
    "taskId twice": lambda runs: javascript(document(runs)).replace(b"{", b'{\n  "taskId": "x",', 1),
    "a blank in an entry": lambda runs: javascript(document(runs)).replace(b'"a"', b'"a" ', 1),
}


@pytest.mark.parametrize("layout", OTHER_LAYOUTS.values(), ids=OTHER_LAYOUTS)
def test_other_valid_text_is_brought_into_canonical_form(
    layout: Callable[[list[dict[str, Any]]], bytes],
) -> None:
    history = read(layout(RUNS))
    assert history.keys == [("a", "1"), ("b é", "2"), ("c", "2")]
    assert texts(history) == [nested(run) for run in RUNS]
    assert not history.is_canonical
    assert history.further == b""


@pytest.mark.parametrize("dump", [javascript, lambda value: json.dumps(value).encode()])
def test_no_runs_and_further_members(dump: Callable[[object], bytes]) -> None:
    history = read(dump({"x": {"runs": [1]}, "taskId": "t", "runs": [], 'a": "\\': None}))
    assert history.keys == []
    assert history.further == b',\n  "x": {\n    "runs": [\n      1\n    ]\n  },\n  "a\\": \\"\\\\": null'


def test_the_names_of_the_keys_are_a_setting() -> None:
    runs = [{"run_id": "a", "completed at": "1", "runId": 5, "nested": {"run_id": "no"}}]
    data = javascript({"taskId": "t", "lastRunAt": "1", "runs": runs})
    history = read(data, keys=Keys(task="task_id", run="run_id", time="completed at"))
    assert history.keys == [("a", "1")]
    assert history.is_canonical


def test_a_key_with_escapes_is_the_string_it_spells() -> None:
    run = {"runId": 'a"\\é', "timestamp": "?"}
    data = javascript({"taskId": "t", "lastRunAt": "?", "runs": [run]}).replace(b"?", b"\\ud800")
    history = read(data)
    assert history.keys == [('a"\\é', "\ud800")]
    assert history.is_canonical


def test_of_a_repeated_key_the_last_counts() -> None:
    data = javascript(document([{"runId": "first", "timestamp": "1", "x": 0}])).replace(
        b'"x": 0', b'"runId": "last"'
    )
    assert read(data).keys == [("last", "1")]


def test_lone_surrogates_stay_escapes() -> None:
    data = javascript(document([{"runId": "a", "timestamp": "1", "x": "?", "y\\": 1}])).replace(
        b"?", b"\\ud800"
    )
    history = read(data)
    assert history.is_canonical
    assert b'"x": "\\ud800"' in history.text(0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the snapshot does not parse"),
        (b"\0" * 300_000, "the snapshot does not parse"),
        (b'\xef\xbb\xbf{"taskId":"t","runs":[]}', "the snapshot does not parse"),
        (b'{"taskId":"u","runs":[],"x":"\xff"}', "the snapshot does not parse"),
        (b'{"taskId":"t","runs":[],"x":\xff}', "the snapshot does not parse"),
        (b'{"taskId":"t","runs":{},"x":%b}' % DEEP, TOO_DEEP),
        (b'{"taskId":"t","runs":[NaN]}', "the snapshot does not parse"),
        (
            javascript(document(RUNS)).replace(b'"lastRunAt": "2"', b'"lastRunAt": "2"2"'),
            "the snapshot does not parse",
        ),
        (javascript(document(RUNS)) + b"\0", "the snapshot does not parse"),
        (b"[]", "the snapshot is not an object"),
        (b"null", "the snapshot is not an object"),
        (b"{}", "the snapshot's taskId is not the task's"),
        (b'{"taskId":7,"runs":[]}', "the snapshot's taskId is not the task's"),
        (javascript(document(RUNS) | {"taskId": "u"}), "the snapshot's taskId is not the task's"),
        (b'{"taskId":"t"}', "the snapshot's runs are not a list"),
        (b'{"taskId":"t","runs":{"a":1}}', "the snapshot's runs are not a list"),
    ],
)
def test_a_file_that_is_not_a_snapshot_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(NotASnapshotError) as caught:
        read(data)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"taskId":"t","runs":[],"x":"\xff"}', "the snapshot does not parse"),
        (b'{"taskId":"t","runs":[{"runId":"a","timestamp":"1","x":%b}]}' % DEEP, TOO_DEEP),
        (b'{"runs":[],"taskId":"u","x":%b,"t\\u0061skId":"t"}' % DEEP, TOO_DEEP),
        (b'{"taskId":"t","runs":["\xff",%b]}' % DEEP, "the snapshot does not parse"),
    ],
)
def test_what_the_orchestrator_alone_may_read_is_another_error(data: bytes, message: str) -> None:
    with pytest.raises(SnapshotError) as caught:
        read(data)
    assert (type(caught.value), caught.value.message) == (SnapshotError, message)


@pytest.mark.parametrize("dump", [javascript, lambda value: json.dumps(value).encode()])
def test_a_snapshot_may_be_two_levels_deeper_than_a_run(dump: Callable[[object], bytes]) -> None:
    deep = json.loads(b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1))
    run = {"runId": "a", "timestamp": "1", "x": deep}
    assert texts(read(dump({"taskId": "t", "lastRunAt": "1", "runs": [run]}))) == [nested(run)]
    with pytest.raises(SnapshotError) as caught:
        read(dump({"taskId": "t", "lastRunAt": "1", "runs": [{**run, "x": [deep]}]}))
    assert (
        str(caught.value) == "the snapshot is nested too deep: a run in it is nested deeper than 512 levels"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n": 1.5', b'"n": 1.50'),
        (b'"n": 1.5', b'"n": 15e-1'),
        (b'"n": 1.5', b'"m": 2,\n      "n": 1.5,\n      "m": 0'),
        (b'"m": 0', b'"m": 0,\n      "1": 2'),
    ],
)
def test_entries_that_javascript_spells_otherwise_are_respelled(old: bytes, new: bytes) -> None:
    run = {"runId": "a", "timestamp": "1", "m": 0, "n": 1.5}
    data = javascript(document([run, {**run, "runId": "b"}])).replace(old, new, 1)
    history = read(data)
    assert not history.is_canonical
    assert texts(history)[1] == nested({**run, "runId": "b"})
    changed = {name: value for name, value in json.loads(texts(history)[0]).items() if name != "1"}
    assert nested(changed) in (nested(run), nested({"runId": "a", "timestamp": "1", "m": 0, "n": 1.5}))


def test_another_task_s_snapshot_is_one_whatever_its_entries_are() -> None:
    with pytest.raises(OtherTaskError):
        read(javascript({"taskId": "u", "lastRunAt": "1", "runs": [{"timestamp": 1}, None]}))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (b"\n  ]\n", "the snapshot does not parse"),
        (b'\n  ],\n  "taskId": "u"\n}', "the snapshot's taskId is not the task's"),
        (b'\n  ],\n  "runs": null\n}', "the snapshot's runs are not a list"),
    ],
)
def test_what_follows_an_entry_without_a_key_decides_first(rest: bytes, message: str) -> None:
    data = javascript({"taskId": "t", "lastRunAt": "1", "runs": [{"runId": "a"}]})
    with pytest.raises(NotASnapshotError) as caught:
        read(data.replace(b"\n  ]\n}", rest))
    assert caught.value.message == message


def test_an_entry_without_members_lacks_a_key() -> None:
    for runs in ([{}], [*RUNS, {}], [RUNS[0], {}, RUNS[1]]):
        with pytest.raises(SnapshotError) as caught:
            read(javascript({"taskId": "t", "lastRunAt": "2", "runs": runs}))
        assert caught.value.message == "an entry of the snapshot lacks a key"
        assert caught.value.detail == f"entry {runs.index({}) + 1}: runId"


def test_an_error_names_the_byte() -> None:
    data = javascript(document(RUNS)).replace(b'"x"', b'"x" x', 1)
    position = data.index(b'"x" x') + len(b'"x" ')
    with pytest.raises(NotASnapshotError, match=rf"\b{position}\b"):
        read(data)


@pytest.mark.parametrize("dump", [javascript, lambda value: json.dumps(value).encode()])
@pytest.mark.parametrize(
    "bad",
    [
        None,
        1,
        [],
        [{"runId": "a", "timestamp": "1"}],
        {},
        {"runId": "x"},
        {"timestamp": "1"},
        {"runId": None, "timestamp": "1"},
        {"runId": "x", "timestamp": 1},
        {"nested": {"runId": "x", "timestamp": "1"}},
    ],
)
@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_entry_that_is_no_run(bad: object, place: int, dump: Callable[[object], bytes]) -> None:
    runs: list[Any] = [*RUNS[:place], bad, *RUNS[place:]]
    with pytest.raises(SnapshotError, match=rf"entry {place + 1}\b"):
        read(dump({"taskId": "t", "lastRunAt": "2", "runs": runs}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n  ],", b","),
        (b'"x": 1', b'"x": nul'),
        (b'"x": 1', b'"x" 1'),
        (b'"x": 1', b'"x": 1,'),
        (b'"x": 1', b""),
        (b"],", b"],,"),
        (b"\n  ],", b"\n    ,\n  ],"),
        (b"},\n    {", b"}\n    {"),
        (b"\n    }", b"\n    }x"),
    ],
)
def test_damage_around_the_entries_is_seen(old: bytes, new: bytes) -> None:
    data = javascript(document(RUNS, x=1))
    assert old in data
    with pytest.raises(NotASnapshotError, match="does not parse"):
        read(data.replace(old, new, 1))


@pytest.mark.parametrize(
    "new", [b'"x":1', b'"\\u0078": 1', b'"x": 2,\n  "x": 1', b'"taskId": "t",\n  "x": 1']
)
def test_further_members_in_another_form_are_brought_into_canonical_form(new: bytes) -> None:
    history = read(javascript(document(RUNS, x=1)).replace(b'"x": 1', new))
    assert history.further == b',\n  "x": 1'
    assert not history.is_canonical


def test_a_list_of_runs_that_does_not_end_is_seen() -> None:
    with pytest.raises(NotASnapshotError, match="does not parse"):
        read(javascript(document(RUNS)).replace(b"\n  ]\n}", b"\n}"))


def test_no_prefix_of_a_snapshot_is_a_snapshot() -> None:
    data = javascript(document(RUNS))
    for size in range(len(data)):
        with pytest.raises(SnapshotError):
            read(data[:size])


def test_no_snapshot_with_zeros_in_it_is_a_snapshot() -> None:
    data = javascript(document(RUNS))
    for at in range(0, len(data), 3):
        with pytest.raises(SnapshotError):
            read(data[:at] + bytes(64) + data[at + 64 :])


def json_model(data: bytes) -> list[tuple[str, str]] | None:
    """What a snapshot of task t is, by Python's own parser; None for what is none."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        found = json.loads(data.decode(), parse_constant=refuse)
        keys = [(run["runId"], run["timestamp"]) for run in found["runs"]]
        is_one = found["taskId"] == "t" and type(found["runs"]) is list
    except (ValueError, LookupError, TypeError):
        return None
    return keys if is_one and all(type(text) is str for pair in keys for text in pair) else None


@settings(max_examples=500)
@given(st.data())
def test_damage_is_never_taken_for_something_else(data: st.DataObject) -> None:
    damaged = bytearray(javascript(document(RUNS, further=[1])))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(damaged)))
        end = data.draw(st.integers(start, min(start + 12, len(damaged))))
        damaged[start:end] = data.draw(
            st.sampled_from([b"", b" ", b"\n", b'"', b"\\", b"1", b"{}", b",", b"]", b"\xc3"])
        )
    block = data.draw(st.sampled_from([5, 100, BLOCK]))

    expected = json_model(bytes(damaged))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_reader, "BLOCK", block)
        if expected is None:
            with pytest.raises(SnapshotError):
                read(bytes(damaged))
        else:
            assert read(bytes(damaged)).keys == expected


def test_a_history_of_any_size_takes_the_memory_of_its_keys(tmp_path: Path) -> None:
    run = {"runId": "same", "timestamp": "1", "text": "x" * 10_000}
    path = tmp_path / "runs.json"
    path.write_bytes(javascript(document([run] * 6000)))
    with path.open("rb") as file:
        tracemalloc.start()
        try:
            history = read_history(FileBytes(file.fileno()), "t", DEFAULT_KEYS)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert history.keys == [("same", "1")] * 6000
    assert peak < 3_000_000 < path.stat().st_size / 20


def test_a_text_that_is_cut_short_later_on_is_noticed() -> None:
    data = bytearray(javascript(document(RUNS)))
    history = read_history(MemoryBytes(data), "t", DEFAULT_KEYS)
    del data[-20:]
    assert history.text(0) == nested(RUNS[0])
    with pytest.raises(SnapshotError, match="cut short"):
        history.text(2)


@pytest.mark.parametrize("torn", [b"\0" * 3_000_000, b"", None], ids=["zeros", "cut", "NULs within"])
def test_a_torn_file_is_refused_in_little_memory(torn: bytes | None) -> None:
    run = {"runId": "same", "timestamp": "1", "text": "x" * 10_000}
    data = javascript(document([run] * 1000))
    data = data[:9_000_000] + (torn if torn is not None else b"\0" * 100 + data[9_000_100:])
    tracemalloc.start()
    try:
        with pytest.raises(NotASnapshotError, match="does not parse"):
            read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
