from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpersist.sources.formats import Format, describe_suffix, format_of, reading_order

LOGROTATE = ["-20260131", "-2026-01-31", ".20260131", "_20260131", "-2026013123", "-20260131-1769817600"]
LOGROTATE += [
    "-1769817600",
    "-202601",
    "-2026-01",
    "-2026-01-31_23:59:59",
    "-20260131-235959",
    ".1",
    ".0",
    ".365",
]
LOGGERS = [
    ".2026-01-31",
    ".2026-01-31_23-59-59",
    ".2026-01-31.7",
    ".20260131T235959Z",
    "-2026-01-31T23-59-59.123",
]


@pytest.mark.parametrize("rotation", LOGROTATE + LOGGERS)
@pytest.mark.parametrize(
    ("suffix", "compression", "kind"),
    [
        (".jsonl", "", Format.LINES),
        (".ndjson", ".gz", Format.GZIP_LINES),
        (".jsonl", ".ZST", Format.ZSTD_LINES),
        (".JSONL", ".xz", Format.XZ_LINES),
        (".jsonl", ".bz2", Format.BZIP2_LINES),
        (".json", "", Format.JSON),
        (".json", ".gz", Format.GZIP_JSON),
        (".json", ".zst", Format.ZSTD_JSON),
        (".json", ".xz", Format.XZ_JSON),
        (".json", ".bz2", Format.BZIP2_JSON),
    ],
)
def test_rotated_and_compressed_names_say_their_format(
    rotation: str, suffix: str, compression: str, kind: Format
) -> None:
    assert format_of(f"a{suffix}{compression}") is kind
    assert format_of(f"a{suffix}{rotation}{compression}") is kind
    assert format_of(f"a{suffix}{compression}{rotation}") is kind


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("agent.log", ".log"),
        ("agent.log.1", ".log"),
        ("agent.log-20260131.gz", ".log.gz"),
        ("notes.TXT", ".txt"),
        ("x.csv.bz2", ".csv.bz2"),
        ("a.jsonl.lz4", ".lz4"),
        ("a.jsonl.old", ".old"),
        ("t.parquet.gz", ".parquet.gz"),  # a table is compressed within
        ("runs.json.tmp-4711-1769817600000-1", ".tmp"),
        ("runs.json.48213", "(none)"),  # a number of a process
        ("runs.json.3428794581", "(none)"),
        ("a.jsonl-20261331", ".jsonl"),  # no month
        ("Makefile", "(none)"),
        ("archive.gz", ".gz"),
        ("a.", "(none)"),
    ],
)
def test_what_is_not_readable_is_named_by_its_suffix(name: str, suffix: str) -> None:
    assert (format_of(name), describe_suffix(name)) == (None, suffix)


@pytest.mark.parametrize(
    "ordered",
    [
        ["a.jsonl.10.gz", "a.jsonl.2.gz", "a.jsonl.2", "a.jsonl.1", "a.jsonl", "b.jsonl"],
        ["a.jsonl-20251231.gz", "a.jsonl-20260101", "a.jsonl-20260102", "a.jsonl", "a.jsonl.d"],
        ["a.jsonl.2026-01-01.1", "a.jsonl.2026-01-01.2", "a.jsonl.2026-01-01.10", "a.jsonl"],
        ["a.json.gz", "a.json", "a.jsonl-20260101", "a.jsonl.gz", "a.jsonl"],
        ["task.1", "task.10", "task.2"],  # no logs: in the order of their names
    ],
)
def test_older_rotated_files_are_read_before_newer_ones(ordered: list[str]) -> None:
    assert sorted(set(ordered), key=reading_order) == ordered


@given(st.sets(st.text("ab.-_1", min_size=1).map(lambda stem: f"{stem}.json")))
def test_other_names_keep_the_order_of_their_text(names: set[str]) -> None:
    assert sorted(names, key=reading_order) == sorted(names)


PIECES = st.lists(
    st.sampled_from(["a", ".jsonl", ".1", ".01", ".2", ".gz", ".xz", "-20260131", "-2026-01-31"])
)


@given(st.sets(PIECES.map("".join)))
def test_no_two_names_have_the_same_place_in_the_reading_order(names: set[str]) -> None:
    assert len(set(map(reading_order, names))) == len(names)
