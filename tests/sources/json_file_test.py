from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scans import put, run, scan, text

from batchpersist.errors import InvalidRunError
from batchpersist.sources.documents import json_documents

SPACE = st.text(" \t\r\n", max_size=3)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values=st.lists(st.tuples(SPACE, VALUE, SPACE)), around=st.tuples(SPACE, SPACE), data=st.data())
def test_the_elements_of_a_list_are_found_where_they_are(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], around: tuple[str, str], data: st.DataObject
) -> None:
    ascii_ = data.draw(st.booleans())
    texts = [
        (before, json.dumps(value, ensure_ascii=ascii_, indent=data.draw(st.sampled_from([None, 1]))), after)
        for before, value, after in values
    ]
    whole = around[0] + "[" + ",".join(map("".join, texts)) + "]" + around[1]
    path = put(tmp_path_factory.mktemp("list") / "a.json", whole.encode())
    written = path.read_bytes()
    found = list(json_documents(str(path)))
    assert [document for _, _, document in found] == [text.encode() for _, text, _ in texts]
    for line, offset, document in found:
        assert written[offset : offset + len(document)] == document
        assert line == 1 + written[:offset].count(b"\n")


def test_a_single_document(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", b"\n\r\n  " + json.dumps(run(), indent=2).encode() + b"\n")
    (row,) = scan(tmp_path / "spool", path).rows
    assert (row.line, row.document) == (3, json.dumps(run(), indent=2).encode())


@pytest.mark.parametrize("before", [b"", b"\r\n "])
def test_a_byte_order_mark_at_the_start_is_skipped(tmp_path: Path, before: bytes) -> None:
    mark = b"\xef\xbb\xbf" + before
    for data in (mark + text(run("a")), mark + b"[" + text(run("a")) + b"]\n"):
        (row,) = scan(tmp_path / "spool", put(tmp_path / "a.json", data)).rows
        assert (row.line, row.document) == (1 + before.count(b"\n"), text(run("a")))
    (reject,) = scan(tmp_path / "spool", put(tmp_path / "a.json", mark)).rejects
    assert reject.failure.message == "the file is empty"


def test_a_list_of_runs_and_events(tmp_path: Path) -> None:
    event = {"type": "run:completed", "payload": run("b")}
    values = [run("a"), {"type": "run:started", "payload": {}}, event, {"no": "run"}]
    path = put(tmp_path / "a.json", json.dumps(values, indent=1).encode())
    found = scan(tmp_path / "spool", path)
    assert [row.run_id for row in found.rows] == ["a", "b"]
    assert json.loads(found.rows[1].document) == event
    assert found.other_events == 1
    (reject,) = found.rejects
    assert json.dumps(values, indent=1).splitlines()[reject.line - 1 :][1] == '  "no": "run"'


def test_lone_surrogates_do_not_hide_a_list(tmp_path: Path) -> None:
    escaped = rb'{"taskId":"t","runId":"%b","timestamp":"","note":"\ud800 \\ud800 \ud83d\ude00"}'
    path = put(tmp_path / "a.json", b"[" + escaped % b"a" + b"," + escaped % b"b" + b"]")
    assert [row.document for row in scan(tmp_path / "spool", path).rows] == [escaped % b"a", escaped % b"b"]


def test_invalid_utf8_spoils_its_own_element_alone(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", b'[{"x":"\xff"},\n' + text(run()) + b"]")
    found = scan(tmp_path / "spool", path)
    assert (found.run_ids, [reject.line for reject in found.rejects]) == (["r1"], [1])


def test_a_list_that_is_nested_too_deep_is_one_reject(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(InvalidRunError, match=r"^nested deeper than 512 levels$"):
        list(json_documents(str(path)))


def test_an_element_that_is_nested_too_deep_spoils_itself_alone(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", b"[%b,\n%b]" % (b"[" * 600 + b"]" * 600, text(run())))
    found = scan(tmp_path / "spool", path)
    assert found.run_ids == ["r1"]
    assert [reject.failure.message for reject in found.rejects] == ["nested deeper than 512 levels"]


@pytest.mark.parametrize("data", [b"[", b"[1", b"[1,]", b"[1] 2", b"[NaN]", b"[{]"])
def test_a_list_that_is_not_json_is_one_reject(tmp_path: Path, data: bytes) -> None:
    path = put(tmp_path / "a.json", data)
    with pytest.raises(InvalidRunError, match="the list is not valid JSON"):
        list(json_documents(str(path)))
    (reject,) = scan(tmp_path / "spool", path).rejects
    assert (reject.source, reject.line) == (str(path), 0)


@pytest.mark.parametrize("data", [b"", b" \n\t"])
def test_an_empty_file_is_reported(tmp_path: Path, data: bytes) -> None:
    put(tmp_path / "in" / "a.json", data)
    (reject,) = scan(tmp_path / "spool", tmp_path / "in").rejects
    assert reject.failure.message == "the file is empty"


def test_an_empty_list_holds_nothing(tmp_path: Path) -> None:
    found = scan(tmp_path / "spool", put(tmp_path / "a.json", b" [ ] "))
    assert (found.rows, found.rejects) == ([], [])
