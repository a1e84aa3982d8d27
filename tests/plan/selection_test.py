"""Selecting by time: by instants, whatever they are spelled like, and nothing left out without a word."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.scans import lines, put, run

from batchpersist import BatchOptions, Selection, UsageError, preview_batch, run_batch
from batchpersist.batch.validate import validate_sources
from batchpersist.cli.main import cli
from batchpersist.events import Event, RunFailed

UTC = dt.timezone.utc


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def timed(*times: str) -> bytes:
    return lines(*(run(f"r{at}", timestamp=time) for at, time in enumerate(times)))


def selected(times: list[str], **selection: Any) -> list[str]:
    """The times of those runs that are persisted."""
    put(Path("s.jsonl"), timed(*times))
    result = run_batch(["s.jsonl"], BatchOptions(selection=Selection(**selection), force=True, cache=False))
    counts = result.metrics.counts
    assert counts.persisted + counts.filtered + counts.invalid == len(times)
    manifests = sorted(Path(".runs/t").glob("*/manifest.json"))
    return [json.loads(manifest.read_text())["timestamp"] for manifest in manifests]


def test_a_time_is_compared_as_an_instant_and_not_as_text() -> None:
    early, same, west = "2026-01-01T00:30:00Z", "2026-01-01T00:30:00.001Z", "2025-12-31T23:30:00-01:00"
    assert selected([early, same, west], since="2026-01-01T00:30:00.001Z") == [same]


@pytest.mark.parametrize("time", ["2025-12-31T23:30:00-01:00", "2026-01-01 00:30", "2026-01-01T01:30:00+01"])
def test_spellings_of_a_time_select_the_same(time: str) -> None:
    assert selected([time], since="2026-01-01T00:30:00Z", until="2026-01-01T00:30:00.001Z") == [time]


def test_since_includes_its_instant_and_until_does_not() -> None:
    times = [f"2026-01-0{day}T00:00:00.000Z" for day in (1, 2, 3, 4)]
    assert selected(times, since=times[1], until=times[3]) == times[1:3]


def test_a_day_alone_counts_from_its_start_to_its_end() -> None:
    times = ["2026-01-01T23:59:59.999Z", "2026-01-02", "2026-01-03T23:59:59.999Z", "2026-01-04T00:00:00Z"]
    assert selected(times, since="2026-01-02", until="2026-01-03") == times[1:3]


def test_times_that_cannot_be_read_are_invalid_where_times_are_selected() -> None:
    times = ["2026-01-02T00:00:00Z", "last week", "", "2026-02-30T00:00:00Z", "2020-01-01T00:00:00Z"]
    assert len(selected(times)) == 5
    failures: list[RunFailed] = []

    def watch(event: Event) -> None:
        if isinstance(event, RunFailed):
            failures.append(event)

    options = BatchOptions(selection=Selection(since="2026-01-01"), out_dir="o2", runs_dir="r2")
    report = run_batch(["s.jsonl"], options, on_event=watch)
    counts = report.metrics.counts
    assert (counts.persisted, counts.filtered, counts.invalid, report.exit_code) == (1, 1, 3, 3)
    assert [(failure.source, failure.line) for failure in failures] == [
        ("s.jsonl", line) for line in (2, 3, 4)
    ]
    (cause,) = report.metrics.errors
    assert cause.message.startswith("its time cannot be read, so --since and --until cannot select it")
    assert cause.samples[0].detail == "'last week'"
    assert preview_batch(["s.jsonl"], options).invalid == 3
    found = validate_sources(["s.jsonl"], selection=options.selection)
    assert (found.invalid, found.filtered, found.selected) == (3, 1, 1)


def test_an_unreadable_time_counts_for_a_wanted_task_alone() -> None:
    put(Path("s.jsonl"), lines(run("a", timestamp="x"), run("b", taskId="u", timestamp="2026-01-02")))
    selection = Selection(tasks=("u",), since="2026-01-01")
    assert validate_sources(["s.jsonl"], selection=selection).rejects == []


def test_an_unreadable_time_behind_the_limit_does_not_count() -> None:
    put(
        Path("s.jsonl"),
        timed("x", "2026-01-02", "y"),
    )
    found = validate_sources(["s.jsonl"], selection=Selection(since="2026-01-01", limit=0))
    assert (found.invalid, found.selected) == (0, 0)
    put(
        Path("s.jsonl"),
        timed("x", "2026-01-02", "x", "2026-01-02"),
    )
    found = validate_sources(["s.jsonl"], selection=Selection(since="2026-01-01", limit=1))
    assert ([reject.line for reject in found.rejects], found.selected) == ([1], 1)


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_shards_share_out_what_cannot_be_selected(shards: int) -> None:
    put(Path("s.jsonl"), lines(*(run("r", taskId=f"t{number}", timestamp="x") for number in range(9))))
    invalid = 0
    for shard in range(1, shards + 1):
        words = ["run", "s.jsonl", "--since", "7d", "--shard", f"{shard}/{shards}", "--json"]
        summary = json.loads(CliRunner().invoke(cli, words).output.splitlines()[-1])
        invalid += summary["counts"]["invalid"]
    assert invalid == 9


MOMENTS = st.datetimes(dt.datetime(2025, 12, 30), dt.datetime(2026, 1, 3), timezones=st.just(UTC))


@given(st.lists(st.tuples(MOMENTS, st.integers(-840, 840)), max_size=6), MOMENTS)
def test_the_selection_is_that_of_pythons_datetimes(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[dt.datetime, int]], since: dt.datetime
) -> None:
    moments = [moment for moment, _ in drawn]
    zones = [dt.timezone(dt.timedelta(minutes=offset)) for _, offset in drawn]
    times = [moment.astimezone(zone).isoformat() for moment, zone in zip(moments, zones, strict=True)]
    path = put(tmp_path_factory.mktemp("times") / "s.jsonl", timed(*times))
    after = validate_sources([str(path)], selection=Selection(since=since.isoformat()))
    before = validate_sources([str(path)], selection=Selection(until=since.isoformat()))
    assert after.selected == sum(moment >= since for moment in moments)
    assert before.selected == sum(moment < since for moment in moments)


def test_relative_times_are_resolved_once() -> None:
    selection = Selection(since="7d", until="yesterday")
    assert Selection(since=selection.since, until=selection.until) == selection
    assert selection.since is not None
    moment = dt.datetime.fromisoformat(selection.since[:23]).replace(tzinfo=UTC)
    assert abs(dt.datetime.now(UTC) - dt.timedelta(days=7) - moment) < dt.timedelta(minutes=10)


def test_the_library_refuses_what_is_no_time() -> None:
    with pytest.raises(UsageError, match="until: 'soon' is not an ISO date or time"):
        Selection(until="soon")


@pytest.mark.parametrize("command", ["run", "validate", "compare"])
def test_since_after_until_is_a_usage_error_that_names_both(command: str) -> None:
    put(Path("s.jsonl"), lines(run("a")))
    words = [command, "s.jsonl", "--since", "2026-02-03", "--until", "2026-02-01"]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: since (2026-02-03T00:00:00.000Z) is later than until (2026-02-02T00:00:00.000Z):"
        " no run can match\n"
    )
    assert not Path("out").exists()


@pytest.mark.parametrize("command", [["run", "--dry-run"], ["validate"], ["run"]])
def test_relative_times_select_in_every_command(command: list[str]) -> None:
    now = dt.datetime.now(UTC)
    ages = [dt.timedelta(minutes=1), dt.timedelta(days=3), dt.timedelta(days=30)]
    put(Path("s.jsonl"), timed(*((now - age).isoformat() for age in ages)))
    for words, expected in (
        (["--since", "7d"], 2),
        (["--since", "2 days ago"], 1),
        (["--since=-12h"], 1),
        (["--until", "7d"], 1),
        (["--since", "1w", "--until", "48h"], 1),
        (["--until", "now"], 3),
        (["--since", "now"], 0),
    ):
        result = CliRunner().invoke(cli, [*command, "s.jsonl", *words, "--json"], catch_exceptions=False)
        summary = json.loads(result.output.splitlines()[-1])
        assert summary.get("counts", summary)["selected"] == expected, words


def test_the_metrics_tell_which_instants_were_meant() -> None:
    put(Path("s.jsonl"), lines(run("a")))
    words = ["run", "s.jsonl", "--since", "2026-01-01", "--until", "2026-01-31"]
    CliRunner().invoke(cli, words, catch_exceptions=False)
    config = json.loads(Path("out/metrics.json").read_text())["config"]
    assert (config["since"], config["until"]) == ("2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z")


def test_dates_in_the_options_file_need_no_quotes() -> None:
    put(Path("s.jsonl"), lines(run("a", timestamp="2026-01-01T12:00:00Z")))
    put(Path("batchpersist.toml"), b"[run]\nsince = 2026-01-01\nuntil = 2026-01-01T13:00:00+01:00\n")
    summary = json.loads(CliRunner().invoke(cli, ["run", "s.jsonl", "--json"]).output.splitlines()[-1])
    assert (summary["counts"]["filtered"], summary["exit_code"]) == (1, 0)
