from __future__ import annotations

import datetime as dt
import json
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from support.scans import Scan, lines, put, run, scan, text

from batchpersist.errors import SourceUnreadableError
from batchpersist.models import Keys
from batchpersist.sources.tables import ROWS, arrow_batches

Write = Callable[[pa.Table, Path], Path]


def parquet(table: pa.Table, folder: Path) -> Path:
    pq.write_table(table, folder / "a.parquet", row_group_size=1000)
    return folder / "a.parquet"


def feather(table: pa.Table, folder: Path) -> Path:
    pyarrow.feather.write_feather(table, str(folder / "a.feather"))
    return folder / "a.feather"


def arrow_file(table: pa.Table, folder: Path) -> Path:
    with pa.ipc.new_file(str(folder / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    return folder / "a.arrow"


def arrow_stream(table: pa.Table, folder: Path) -> Path:
    with pa.ipc.new_stream(str(folder / "s.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    return folder / "s.arrow"


WRITERS = pytest.mark.parametrize("write", [parquet, feather, arrow_file, arrow_stream])


def runs(count: int) -> list[dict[str, Any]]:
    return [run(f"r{number}", plan={"items": [{"id": "ä", "n": number}]}, ok=True) for number in range(count)]


def documents(found: Scan) -> list[Any]:
    return [json.loads(row.document) for row in found.rows]


@WRITERS
def test_columns_named_as_the_fields(tmp_path: Path, write: Write) -> None:
    path = write(pa.Table.from_pylist(runs(2 * ROWS + 5)), tmp_path)
    found = scan(tmp_path / "spool", path)
    assert [row.document for row in found.rows] == [_compact(value) for value in runs(2 * ROWS + 5)]
    assert [row.line for row in found.rows] == list(range(1, 2 * ROWS + 6))
    assert ({row.name for row in found.rows}, found.bytes_read) == ({str(path)}, path.stat().st_size)


@WRITERS
def test_a_column_of_text(tmp_path: Path, write: Write) -> None:
    texts = [text(value) for value in runs(3)]
    texts[1] = json.dumps(runs(3)[1], indent=2).encode()
    path = write(pa.table({"n": [1, 2, 3], "other": ["", "", ""], "Payload": texts}), tmp_path)
    found = scan(tmp_path / "spool", path)
    texts[1] = texts[1].replace(b"\n", b"\r")  # a row is a line
    assert [(row.line, row.document) for row in found.rows] == list(enumerate(texts, 1))
    assert documents(found) == runs(3)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()]
)
def test_the_only_column_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"n": [1], "whatever": pa.array([text(run())]).cast(kind)})
    assert scan(tmp_path / "spool", arrow_file(table, tmp_path)).run_ids == ["r1"]


def test_arrows_own_json_type(tmp_path: Path) -> None:
    column = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array([text(run()).decode()]))
    assert scan(tmp_path / "spool", arrow_file(pa.table({"j": column}), tmp_path)).run_ids == ["r1"]


def test_keys_by_other_names(tmp_path: Path) -> None:
    table = pa.table({"task_id": ["t"], "run_id": ["a"], "completed_at": pa.array([0], pa.timestamp("us"))})
    keys = Keys("task_id", "run_id", "completed_at")
    (row,) = scan(tmp_path / "spool", parquet(table, tmp_path), keys=keys).rows
    assert row.timestamp == "1970-01-01T00:00:00.000Z"


def test_events_in_a_table(tmp_path: Path) -> None:
    events = [{"type": "run:completed", "payload": run("a")}, {"type": "run:started", "payload": {}}]
    table = pa.table({"json": [text(event).decode() for event in events]})
    found = scan(tmp_path / "spool", parquet(table, tmp_path))
    assert (found.run_ids, found.other_events) == (["a"], 1)


def test_a_row_that_is_no_run_is_a_reject_of_its_own(tmp_path: Path) -> None:
    table = pa.table(
        {"json": [text(run("a")).decode(), None, "x", "", " \n\t", '"\n"', text(run("b")).decode()]}
    )
    found = scan(tmp_path / "spool", parquet(table, tmp_path))
    assert (found.run_ids, [reject.line for reject in found.rejects]) == (["a", "b"], [2, 3, 4, 5, 6])
    assert found.rejects[-1].failure.message == "not valid JSON"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_rejects_its_row(tmp_path: Path, number: float) -> None:
    table = pa.Table.from_pylist([run("a", cost=1.5), run("b", cost=number), run("c")])
    found = scan(tmp_path / "spool", parquet(table, tmp_path))
    assert (found.run_ids, [reject.line for reject in found.rejects]) == (["a", "c"], [2])
    assert str(found.rejects[0].failure) == "column `cost` holds NaN or infinity, which JSON does not have"
    assert found.rejects[0].failure.type == "InvalidRunError"


def test_text_that_is_not_utf8_rejects_its_row(tmp_path: Path) -> None:
    notes = pa.array([b"\xc3\xa4", b'\xff", "', None]).cast(pa.binary())
    unchecked = pa.StringArray.from_buffers(3, notes.buffers()[1], notes.buffers()[2], notes.buffers()[0])
    for column in (notes, unchecked):
        table = pa.Table.from_pylist([run("a"), run("b"), run("c")]).append_column("note", column)
        found = scan(tmp_path / "spool", parquet(table, tmp_path))
        assert documents(found) == [run("a", note="ä"), run("c")]
        assert [(reject.line, reject.failure.message) for reject in found.rejects] == [
            (2, "column `note` holds bytes that are no UTF-8")
        ]


def test_neither_form_is_one_reject_that_says_what_was_expected(tmp_path: Path) -> None:
    table = pa.table({"taskId": ["t"], "runId": ["r"], "n": [1]})
    (reject,) = scan(tmp_path / "spool", parquet(table, tmp_path)).rejects
    assert reject.line == 0
    assert (
        "expected columns taskId, runId and timestamp (or folders named taskId=...)" in reject.failure.message
    )
    assert reject.failure.detail == "there is no timestamp; the columns are taskId, runId, n"


def test_a_type_without_json_is_one_reject(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([run()]).append_column("took", pa.array([5], pa.duration("s")))
    (reject,) = scan(tmp_path / "spool", arrow_file(table, tmp_path)).rejects
    assert (reject.line, reject.failure.message.split(",")[0]) == (0, "column `took` has type duration[s]")


@WRITERS
def test_a_table_that_was_cut_short_is_one_reject(tmp_path: Path, write: Write) -> None:
    path = write(pa.Table.from_pylist(runs(3000)), tmp_path)
    whole = path.read_bytes()
    for cut in range(0, len(whole), len(whole) // 25 + 1):
        path.write_bytes(whole[:cut])
        found = scan(tmp_path / "spool", path)
        assert [row.document for row in found.rows] == [_compact(value) for value in runs(len(found.rows))]
        (reject,) = found.rejects
        assert (reject.source, reject.line) == (str(path), len(found.rows))
        assert reject.failure.type == "SourceUnreadableError"


def test_a_stream_cut_between_two_batches_is_reported(tmp_path: Path) -> None:
    path = arrow_stream(pa.Table.from_pylist(runs(2500)), tmp_path)
    whole = path.read_bytes()
    with pa.ipc.open_stream(whole) as reader:
        schema = reader.schema.serialize().size
    ends = [at for at in range(schema, len(whole), 8) if whole[at : at + 4] == b"\xff\xff\xff\xff"]
    seen = set()
    for cut in ends:
        path.write_bytes(whole[:cut])
        found = scan(tmp_path / "spool", path)
        assert len(found.rejects) == 1
        seen.add(len(found.rows))
    assert {1000, 2000, 2500} <= seen


def test_damaged_data_is_one_reject_after_the_rows_before_it(tmp_path: Path) -> None:
    path = parquet(pa.Table.from_pylist(runs(3000)), tmp_path)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(2).column(1).data_page_offset
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    found = scan(tmp_path / "spool", path)
    assert found.run_ids == [f"r{number}" for number in range(len(found.rows))]
    assert len(found.rows) >= ROWS
    assert [reject.line for reject in found.rejects] == [len(found.rows)]


def test_wrong_offsets_inside_a_batch_do_not_end_the_process(tmp_path: Path) -> None:
    path = arrow_file(pa.table({"json": [text(run()).decode()] * 3}), tmp_path)
    data = path.read_bytes()
    size = len(text(run()))
    offsets = b"".join((size * at).to_bytes(4, "little") for at in range(4))
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, offsets[:4] + b"\xff\xff\xff\x7f" + offsets[8:]))
    found = scan(tmp_path / "spool", path)
    assert (found.rows, len(found.rejects)) == ([], 1)


@pytest.mark.parametrize("write", [arrow_file, arrow_stream])
def test_a_table_that_becomes_shorter_while_it_is_read_is_reported(tmp_path: Path, write: Write) -> None:
    tables = pa.concat_tables([pa.Table.from_pylist(runs(1000))] * 300)  # beyond any buffer
    path = write(tables, tmp_path)
    batches = arrow_batches(str(path))
    assert next(batches).num_rows == 1000
    os.truncate(path, 100_000)  # of a memory map, the rest would now end the process
    with pytest.raises(SourceUnreadableError):
        list(batches)


def test_feather_version_1_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pyarrow.feather.write_feather(pa.table({"json": ["{}"]}), str(path), version=1)
    (reject,) = scan(tmp_path / "spool", path).rejects
    assert reject.failure.message == "Feather version 1 is not read: write it as version 2"


def test_a_table_may_be_empty(tmp_path: Path) -> None:
    found = scan(tmp_path / "spool", parquet(pa.Table.from_pylist([run()]).slice(0, 0), tmp_path))
    assert (found.rows, found.rejects) == ([], [])


def test_tables_share_a_part_with_lines(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.jsonl", lines(run("a")))
    for name in ("b", "c"):
        parquet(pa.Table.from_pylist([run(name)]), tmp_path).rename(tmp_path / "in" / f"{name}.parquet")
    found = scan(tmp_path / "spool", tmp_path / "in")
    assert found.tasks == 1
    assert [json.loads(row.document)["runId"] for row in found.rows] == found.run_ids
    assert sorted(found.run_ids) == ["a", "b", "c"]


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def test_int96_timestamps_are_right_in_all_years(tmp_path: Path) -> None:
    moments = [dt.datetime(9999, 12, 31, 23, 59, 59, 999_000), dt.datetime(1000, 1, 1), dt.datetime(1, 1, 1)]
    moments += [dt.datetime(1969, 12, 31), dt.datetime(2026, 1, 31)]
    if int(pa.__version__.split(".")[0]) >= 23:  # older ones write this one wrong, and read it right
        moments[3] = dt.datetime(1969, 12, 31, 23, 59, 59, 999_000)
    kind = pa.timestamp("us")
    columns = {
        "taskId": ["t"] * 5,
        "runId": [f"r{number}" for number in range(5)],
        "timestamp": pa.array(moments, kind),
        "nested": pa.array([{"at": [moment]} for moment in moments], pa.struct([("at", pa.list_(kind))])),
    }
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path, use_deprecated_int96_timestamps=True)
    assert "int96" in str(pq.ParquetFile(path).schema)
    found = scan(tmp_path / "spool", path)
    expected = [moment.isoformat(timespec="milliseconds") + "Z" for moment in moments]
    assert [row.timestamp for row in found.rows] == expected
    assert [document["nested"]["at"] for document in documents(found)] == [[time] for time in expected]


def test_an_int96_time_that_may_stand_for_another_rejects_its_row_alone(tmp_path: Path) -> None:
    moments = [dt.datetime(2026, 1, 31), dt.datetime(2026, 2, 1), dt.datetime(2600, 1, 1)]
    columns = {"taskId": ["t"] * 3, "runId": list("abc"), "timestamp": pa.array(moments, pa.timestamp("us"))}
    path = tmp_path / "a.parquet"
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False}
    pq.write_table(pa.table(columns), path, use_deprecated_int96_timestamps=True, **options)
    epoch = 2_440_588  # a Julian day
    first = struct.pack("<qi", 0, epoch + (moments[0] - dt.datetime(1970, 1, 1)).days)
    before_1970 = struct.pack(
        "<qi", -60_000_000_000, epoch
    )  # as PyArrow before 23 writes 23:59 of the day before
    assert path.read_bytes().count(first) == 1
    path.write_bytes(path.read_bytes().replace(first, before_1970))
    found = scan(tmp_path / "spool", path)
    assert [row.timestamp for row in found.rows] == ["2026-02-01T00:00:00.000Z", "2600-01-01T00:00:00.000Z"]
    assert [(reject.line, reject.failure.message) for reject in found.rejects] == [
        (1, "column `timestamp` holds a time that is out of the range of dates")
    ]


@WRITERS
def test_a_timestamp_out_of_range_rejects_its_row_alone(tmp_path: Path, write: Write) -> None:
    times = pa.array([253_402_300_800_000, 2**62, None, -(2**62)], pa.timestamp("ms"))
    table = pa.table({"taskId": ["t"] * 4, "runId": list("abcd"), "timestamp": times})
    found = scan(tmp_path / "spool", write(table, tmp_path))
    assert [row.timestamp for row in found.rows] == ["+010000-01-01T00:00:00.000Z"]
    assert [(reject.line, reject.failure.message) for reject in found.rejects] == [
        (2, "column `timestamp` holds a time that is out of the range of dates"),
        (3, "`timestamp` is missing"),
        (4, "column `timestamp` holds a time that is out of the range of dates"),
    ]


@WRITERS
def test_keys_of_hives_layout_are_read_from_the_folders(tmp_path: Path, write: Write) -> None:
    folder = Path(tmp_path, "x", "taskId=outer", "taskId=a%20b", "runId=__HIVE_DEFAULT_PARTITION__", "year=1")
    folder.mkdir(parents=True)
    table = pa.table({"runId": ["r"], "timestamp": ["2026-01-01T00:00:00.000Z"], "n": [1]})
    write(table, folder)
    (row,) = scan(tmp_path / "spool", tmp_path / "x").rows
    expected = {"taskId": "a b", "runId": "r", "timestamp": "2026-01-01T00:00:00.000Z", "n": 1}
    assert (row.task_id, json.loads(row.document)) == ("a b", expected)


def test_a_column_is_believed_rather_than_a_folder(tmp_path: Path) -> None:
    (tmp_path / "taskId=other").mkdir()
    path = parquet(pa.Table.from_pylist([run("a")]), tmp_path / "taskId=other")
    assert [row.task_id for row in scan(tmp_path / "spool", path).rows] == ["t"]


@WRITERS
def test_a_table_without_one_of_the_keys_is_one_reject_that_names_it(tmp_path: Path, write: Write) -> None:
    table = pa.table({"runId": ["r"] * 50, "timestamp": pa.array([0] * 50, pa.timestamp("ms"))})
    (reject,) = scan(tmp_path / "spool", write(table, tmp_path)).rejects
    assert "(or folders named taskId=...)" in reject.failure.message
    assert reject.failure.detail == "there is no taskId; the columns are runId, timestamp"


@WRITERS
def test_a_column_of_a_type_without_a_form_is_named(tmp_path: Path, write: Write) -> None:
    table = pa.Table.from_pylist([run("a"), run("b")])
    table = table.append_column("raw", pa.array([b"0123456789ab"] * 2, pa.binary(12)))
    (reject,) = scan(tmp_path / "spool", write(table, tmp_path)).rejects
    assert reject.failure.message.startswith("column `raw` has type fixed_size_binary[12], without a form")


@WRITERS
def test_a_uuid_is_an_id(tmp_path: Path, write: Write) -> None:
    ids = pa.array([UUID(int=7).bytes], pa.uuid())
    table = pa.table({"taskId": ["t"], "runId": ids, "timestamp": ["2026-01-01T00:00:00.000Z"]})
    assert scan(tmp_path / "spool", write(table, tmp_path)).run_ids == [str(UUID(int=7))]
