"""What a user or a program sees of the events of a batch."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from pathlib import Path

import pytest

from batchpersist.cli.progress import (
    BarDisplay,
    FailureDisplay,
    JsonDisplay,
    LineDisplay,
    NoticeDisplay,
    choose_display,
    describe_failure,
    describe_notice,
    describe_progress,
)
from batchpersist.events import (
    BatchResumed,
    BatchStarted,
    BatchWaiting,
    Event,
    Progress,
    RetryStarted,
    RunFailed,
)
from batchpersist.models import Failure

FAILURE = RunFailed(
    "snapshot", Failure("TaskStateLockError", "task is locked", "by 7@host"), "a.jsonl", 3, "task-1", "run-1"
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_described() -> None:
    assert describe_progress(Progress("scan", 1500, None, 0), 4.6) == "scan: 1,500 runs after 5 s"
    assert (
        describe_progress(Progress("settle", 10, 2000, 3), 60)
        == "settle: 10 of 2,000 runs, 3 failed after 60 s"
    )


def test_a_described_failure_names_file_line_and_run() -> None:
    assert describe_failure(FAILURE) == "a.jsonl:3: snapshot: task is locked: by 7@host (task-1/run-1)"
    invalid = RunFailed("input", Failure("InvalidRunError", "empty", ""), "b.json", 1, "", "")
    assert describe_failure(invalid) == "b.json:1: input: empty"


@pytest.mark.parametrize(
    ("mode", "as_json", "quiet", "terminal", "expected"),
    [
        ("auto", False, False, True, BarDisplay),
        ("auto", False, False, False, LineDisplay),
        ("bar", False, False, False, BarDisplay),
        ("lines", False, False, True, LineDisplay),
        ("none", False, False, True, NoticeDisplay),
        ("auto", False, True, True, FailureDisplay),
        ("auto", True, False, True, JsonDisplay),
        ("bar", True, True, True, JsonDisplay),
    ],
)
def test_options_and_terminal_choose_the_display(
    mode: str, as_json: bool, quiet: bool, terminal: bool, expected: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    display = choose_display(mode, as_json, quiet, False)
    display.close()
    assert type(display) is expected


def test_json_lines_carry_a_message_type_and_every_failure(capsys: pytest.CaptureFixture[str]) -> None:
    display = JsonDisplay()
    for done in range(100):
        display.show(Progress("settle", done, 100, 1))
    display.show(FAILURE)
    display.close()
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.out.splitlines()]
    assert captured.err == ""
    told = {"phase": "settle", "done": 0, "total": 100, "failed": 1, "resumed": 0}
    assert events[0] == {"message_type": "status", **told}
    assert len(events) < 50, "a status now and then, not one a shard"
    assert events[-1] == {
        "message_type": "error",
        "stage": "snapshot",
        "type": "TaskStateLockError",
        "message": "task is locked",
        "detail": "by 7@host",
        "source": "a.jsonl",
        "line": 3,
        "task_id": "task-1",
        "run_id": "run-1",
    }


def test_lines_are_printed_even_without_new_events(capsys: pytest.CaptureFixture[str]) -> None:
    display = LineDisplay(seconds=0.01)
    display.show(Progress("settle", 5, 9, 0))
    deadline = time.monotonic() + 10
    shown = ""
    while shown.count("\n") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
        shown += capsys.readouterr().err
    display.close()
    assert shown.count("settle: 5 of 9 runs after 0 s\n") >= 2


def test_a_bar_shows_each_phase_and_its_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    display = BarDisplay()
    display.show(Progress("scan", 10, None, 0))
    display.show(Progress("settle", 4, 10, 2))
    display.close()
    assert "scan: 10 runs" in terminal.getvalue()
    assert "4/10" in terminal.getvalue()
    assert "failed=2" in terminal.getvalue()


@pytest.mark.parametrize("display", [NoticeDisplay, LineDisplay, BarDisplay])
def test_failures_are_printed_only_with_verbose(
    display: type[NoticeDisplay], capsys: pytest.CaptureFixture[str]
) -> None:
    for verbose in (False, True):
        shown = display(verbose)
        shown.show(FAILURE)
        shown.close()
        assert ("a.jsonl:3" in capsys.readouterr().err) is verbose


@pytest.mark.parametrize(
    "event",
    [
        BatchWaiting("batch of somebody", 5.0),
        BatchStarted("b", "/folder"),
        BatchResumed("b", 1, 2),
        RetryStarted("b", 1, 0),
        Progress("settle", 1, 2, 0),
        FAILURE,
    ],
)
def test_the_page_has_every_event_with_all_its_fields(
    event: Event, capsys: pytest.CaptureFixture[str]
) -> None:
    JsonDisplay().show(event)
    fields = json.loads(capsys.readouterr().out)
    page = (Path(__file__).parents[2] / "docs" / "batches.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", page, re.MULTILINE))
    named = set(re.findall(r"`(\w+)`", rows[fields.pop("message_type")]))
    assert set(fields) <= named


def test_a_retry_of_invalid_input_alone_is_described_as_such() -> None:
    assert describe_notice(RetryStarted("b", 2, 1)).endswith(
        "runs that did not stand: 2; 1 no longer in the sources"
    )
    assert describe_notice(RetryStarted("b", 0, 0)) == "Retrying batch b: invalid input"
