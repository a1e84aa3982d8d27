from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.json_spelling import DOCUMENTS, spell_string

from batchpersist.contract.json_text import MAX_DEPTH, canonical
from batchpersist.contract.run_parser import RunReader
from batchpersist.errors import InvalidRunError, UnsafeIdentifierError, UsageError
from batchpersist.models import DEFAULT_KEYS, Keys, RunKeys

read = RunReader(DEFAULT_KEYS).read

KEYS = RunKeys("task", "run", "2024-01-01T00:00:00.000Z")
RUN = b'{"taskId":"task","runId":"run","timestamp":"2024-01-01T00:00:00.000Z"}'
OPEN = RUN[:-1] + b","


def event(payload: bytes, kind: bytes = b'"run:completed"') -> bytes:
    return b'{"type": %b, "payload": %b}' % (kind, payload)


@pytest.mark.parametrize(
    "data",
    [
        RUN,
        b" " + RUN + b"\r\n",
        b'{"timestamp":"2024-01-01T00:00:00.000Z","mode":"mcp","runId":"run","plan":{"taskId":1},"taskId":"task"}',
        rb'{"t\u0061skId":"t\u0061sk","runId":"run","timestamp":"2024-01-01T00:00:00.000Z"}',
        OPEN + rb'"notes":"\ud800 \\ud800 \ud83d\ude00"}',
        OPEN + rb'"\udfff":1e400}',
        OPEN + b'"type":1}',
        OPEN + b'"type":null,"payload":{}}',
        OPEN + b'"type":"cloud"}',
        OPEN + b'"type":"run:completed"}',
        OPEN + b'"payload":{"taskId":"other"}}',
    ],
)
def test_a_run_is_its_own_document(data):
    keys, run = read(data)
    assert keys == KEYS
    assert run is data


@pytest.mark.parametrize(
    "data",
    [
        event(RUN),
        event(RUN, rb'"run\u003acompleted"'),
        b'{"payload":%b,"id":7,"type":"run:completed"}' % RUN,
        b'{"payload":1,"type":7,"type":"run:completed","payl\\u006fad":%b}' % RUN,
        b'{"taskId":"not this","type":"run:completed","payload":%b}' % RUN,
        rb'{"note":"\uD800","type":"run:completed","payload":%b}' % RUN,
    ],
)
def test_a_completed_event_holds_the_run(data):
    assert read(data) == (KEYS, RUN)


def test_the_payload_is_returned_unchanged():
    payload = OPEN + rb' "a" : "\uDFFF\u00E9\/\\uD800" }'
    assert read(event(payload)) == (KEYS, payload)


def test_a_payload_is_a_run_even_where_it_looks_like_an_event():
    payload = OPEN + b'"type":"other","payload":{}}'
    assert read(event(payload)) == (KEYS, payload)


@pytest.mark.parametrize(
    "data",
    [
        event(b"{}", b'"run:started"'),
        event(b"null", b'"run:started"'),
        event(RUN, b'"run:Completed"'),
        event(RUN, b'""'),
        event(RUN, rb'"\ud800"'),
        b'{"type":"heartbeat"}',
        b'{"type":"heartbeat","taskId":"task","runId":"run"}',
        b'{"type":"run:completed","type":"run:started","payload":1}',
        b'{"type":"run:started","payload":{"a":[1e999,"\\ud800"]}}',
    ],
)
def test_an_event_of_another_type_is_no_run(data):
    assert read(data) is None


MISSING_PAYLOAD = "`run:completed` event without a payload"
NO_PAYLOAD_OBJECT = "the payload of a `run:completed` event is not a JSON object"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"1" * 5000, "not a JSON object"),
        (b"[" + RUN + b"]", "not a JSON object"),
        (b"[1,]", "not valid JSON"),
        (b"[", "incomplete JSON"),
        (RUN[:-1], "incomplete JSON"),
        (RUN + RUN, "not valid JSON"),
        (b"\xef\xbb\xbf" + RUN, "begins with a byte order mark"),
        (RUN + b"\0", "NUL byte"),
        (OPEN + b'"x":"\xff"}', "invalid UTF-8"),
        (OPEN + b'"x":NaN}', "not valid JSON"),
        (OPEN + b'"x":[1,]}', "not valid JSON"),
        (OPEN + rb'"x":"\ud80"}', "not valid JSON"),
        (OPEN + rb'"x":\ud800}', "not valid JSON"),
        (OPEN + b'"x":%b}' % (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH), "nested deeper than 512 levels"),
        (OPEN + b'"x":%b}' % (b"[" * 100_000), "nested deeper than 512 levels"),
        (b"{}", "`taskId` is missing"),
        (b'{"taskId":"task"}', "`runId` is missing"),
        (b'{"taskId":"task","runId":"run"}', "`timestamp` is missing"),
        (b'{"taskId":1,"runId":"run","timestamp":""}', "`taskId` is not a string"),
        (b'{"taskId":"task","runId":null,"timestamp":""}', "`runId` is not a string"),
        (b'{"taskId":"task","runId":"run","timestamp":[]}', "`timestamp` is not a string"),
        (OPEN + b'"taskId":{}}', "`taskId` is not a string"),
        (OPEN + b'"timestamp":0,"type":"x"}', "`timestamp` is not a string"),
        (OPEN + rb'"timestamp":"\udc00"}', "`timestamp` holds a lone surrogate"),
        (b'{"type":"run:completed"}', MISSING_PAYLOAD),
        (b'{"type":"run:completed","taskId":"task"}', MISSING_PAYLOAD),
        (event(b"null"), NO_PAYLOAD_OBJECT),
        (event(b'"{}"'), NO_PAYLOAD_OBJECT),
        (event(b"[" + RUN + b"]"), NO_PAYLOAD_OBJECT),
        (event(b"{}"), "`taskId` is missing"),
        (event(event(RUN)), "`taskId` is missing"),
        (event(b'{"x":NaN}', b'"run:started"'), "not valid JSON"),
        (event(b'"\xff"', b'"run:started"'), "invalid UTF-8"),
    ],
)
def test_invalid(data, message):
    with pytest.raises(InvalidRunError) as caught:
        read(data)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (OPEN + b'"taskId":"up/.."}', "task id contains a character that is not allowed in file names"),
        (OPEN + rb'"taskId":"up\/x"}', "task id contains a character that is not allowed in file names"),
        (OPEN + b'"runId":""}', "run id is empty"),
        (OPEN + rb'"runId":"a\ud800"}', "run id contains a lone surrogate"),
        (event(OPEN + rb'"taskId":"\udc00"}'), "task id contains a lone surrogate"),
        (OPEN + rb'"runId":"a\u0000"}', "run id contains a control character"),
    ],
)
def test_unsafe_ids(data, message):
    with pytest.raises(UnsafeIdentifierError) as caught:
        read(data)
    assert caught.value.message == message


def test_the_last_of_repeated_keys_counts():
    data = b'{"taskId":1,"runId":"a","timestamp":{"x":[]},"t\\u0061skId":"task",' + RUN[1:]
    assert read(data) == (KEYS, data)


def test_depth_at_the_limit():
    data = OPEN + b'"x":%b}' % (b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1))
    assert read(data) == (KEYS, data)
    assert read(event(data)) == (KEYS, data)


@pytest.mark.parametrize("payload", [b"[%b]", b'{"x":[%b]}'])
def test_an_event_may_be_one_level_deeper_than_a_run(payload):
    deep = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    deeper = payload % deep
    for data in (event(OPEN + b'"x":%b}' % deeper), event(RUN)[:-1] + b',"x":[%b]}' % deeper):
        with pytest.raises(InvalidRunError, match="nested deeper"):
            read(data)


def test_many_containers_are_not_depth():
    data = OPEN + b'"x":[%b]}' % b",".join([b"{}"] * 2000)
    assert read(data) == (KEYS, data)


def test_from_a_deep_stack():
    inner = b"[" * (MAX_DEPTH - 2) + b"]" * (MAX_DEPTH - 2)
    payload = OPEN + b'"x":%b}' % inner

    def deeper(frames):
        return deeper(frames - 1) if frames else read(event(payload))

    assert deeper(700) == (KEYS, payload)


# Other key names


def test_other_keys():
    reader = RunReader(Keys("task_id", "run_id", "abgeschlossen é\u2028"))
    data = '{"task_id":"task","run_id":"run","abgeschlossen é\\u2028":"2024-01-01T00:00:00.000Z"}'.encode()
    assert reader.read(data) == (KEYS, data)
    with pytest.raises(InvalidRunError, match=r"^`task_id` is missing"):
        reader.read(RUN)


def test_keys_that_are_named_as_other_fields():
    same = RunReader(Keys("id", "id", "payload"))
    data = b'{"id":"x","payload":"2024"}'
    assert same.read(data) == (RunKeys("x", "x", "2024"), data)
    typed = RunReader(Keys("type", "runId", "timestamp"))
    data = b'{"type":"task","runId":"run","timestamp":"2024-01-01T00:00:00.000Z"}'
    assert typed.read(data) == (KEYS, data)
    assert typed.read(event(data)) == (KEYS, data)
    assert typed.read(event(data, b'"x"')) is None
    fields = RunReader(Keys("key0", "key3", "key2"))
    data = b'{"key2":"2024-01-01T00:00:00.000Z","key3":"run","key0":"task"}'
    assert fields.read(data) == (KEYS, data)


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "\ud800"])
def test_a_key_name_that_msgspec_cannot_find_is_refused(name):
    with pytest.raises(UsageError, match="unusable key name"):
        RunReader(Keys(task=name))


# Properties

NAMES = ["taskId", "runId", "timestamp", "type", "payload"]
FIELDS = st.builds(
    lambda name, value, rng: spell_string(name, rng) + ":" + value,
    st.sampled_from([*NAMES, "other"]),
    st.one_of(DOCUMENTS, st.sampled_from(['"a"', '"run:completed"', '"run:started"', RUN.decode()])),
    st.randoms(use_true_random=False),
)


@given(st.lists(FIELDS, max_size=7))
def test_reads_as_the_parsed_document_says(fields):
    data = ("{" + ",".join(fields) + "}").encode()
    document = json.loads(data)
    found: object
    try:
        found = read(data)
    except UnsafeIdentifierError:
        return  # told apart in identifiers_test
    except InvalidRunError as error:
        found = error.message
    if isinstance(found, tuple):
        found, run = found
        assert json.loads(canonical(run)) in (document, document.get("payload"))
    assert found == expected(document)


def outcome(function, data):
    """What a function returns, or how it words what it raises."""
    try:
        return function(data)
    except InvalidRunError as error:
        return type(error), error.message


def read_slowly(data):
    """The rule as it is, without the shortcut for runs like nearly all."""
    return RunReader(DEFAULT_KEYS)._read_any(data)


def read_then_format(data):
    found = read(data)
    return found and (found[0], canonical(found[1]))


DAMAGED = st.builds(
    lambda fields, at, junk: (
        (text := ("{" + ",".join(fields) + "}").encode())[: at % len(text)] + junk + text[at % len(text) :]
    ),
    st.lists(FIELDS, max_size=7),
    st.integers(0, 1000),
    st.sampled_from([b"", b"", b"", b" ", b"[", b"}", b'"', b"\xff", b"\0", b"\\ud800", b"," + RUN[1:-1]]),
)


@given(DAMAGED)
@example(RUN)
@example(event(RUN))
@example(event(RUN) + b" ")
@example(event(RUN[:-1] + b',"taskId":null}'))
@example(OPEN + b'"taskId":"a/b","x":"\xff"}')
@example(OPEN + b'"runId":"a/b","x":%b}' % (b"[" * 600 + b"]" * 600))
@example(OPEN + b'"x":%b}' % (b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)))
@example(event(OPEN + b'"x":%b}' % (b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1))))
@example(b'{"type":"run:completed","x":"\xff","payload":%b}' % RUN)
@example(b'{"type":"run:completed","x":"\\ud800","payload":%b}' % RUN)
def test_shortcuts_give_what_the_long_way_gives(data):
    assert outcome(read, data) == outcome(read_slowly, data)
    assert outcome(RunReader(DEFAULT_KEYS).read_canonical, data) == outcome(read_then_format, data)


def test_the_canonical_text_of_the_run_inside_an_event():
    found = RunReader(DEFAULT_KEYS).read_canonical(event(RUN))
    assert found == (KEYS, canonical(RUN))
    assert RunReader(DEFAULT_KEYS).read_canonical(event(RUN, b'"run:started"')) is None


def expected(value: dict[str, object]) -> object:
    """The event rule over a parsed document: keys, None, or the message of the error."""
    kind = value.get("type")
    if isinstance(kind, str) and "payload" in value:
        if kind != "run:completed":
            return None
        payload = value["payload"]
        return keys_of(payload) if isinstance(payload, dict) else NO_PAYLOAD_OBJECT
    if isinstance(kind, str) and not all(name in value for name in NAMES[:3]):
        return MISSING_PAYLOAD if kind == "run:completed" else None
    if isinstance(kind, str) and ":" in kind and kind != "run:completed":
        return None
    return keys_of(value)


def keys_of(run: dict[str, object]) -> object:
    for name in NAMES[:3]:
        if not isinstance(run.get(name), str):
            return f"`{name}` is not a string" if name in run else f"`{name}` is missing"
    try:
        str(run["timestamp"]).encode()
    except UnicodeEncodeError:
        return "`timestamp` holds a lone surrogate"
    return RunKeys(*(str(run[name]) for name in NAMES[:3]))


@pytest.mark.parametrize("kind", ["run:started", "run:cancelled", "task:opened", "task\\u003aopened"])
def test_an_event_that_carries_ids_itself_is_no_completed_run(kind: str) -> None:
    data = f'{{"type":"{kind}","taskId":"t","runId":"r","timestamp":"2026-01-01T00:00:00.000Z"}}'
    assert RunReader(DEFAULT_KEYS).read(data.encode()) is None


@pytest.mark.parametrize("kind", ["cli", "run:completed", "nightly"])
def test_any_other_type_is_a_field_of_the_run(kind: str) -> None:
    flat = {"type": kind, "taskId": "t", "runId": "r", "timestamp": "2026-01-01T00:00:00.000Z"}
    data = json.dumps(flat).encode()
    found = RunReader(DEFAULT_KEYS).read(data)
    assert found == (("t", "r", "2026-01-01T00:00:00.000Z"), data)
