"""The outcome of a batch in a sentence or two, the same wherever it is shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..metrics.schema import Counts, EndState
from ..models import failure_type
from ..snapshots import NotASnapshotError, OtherTaskError
from ..wording import number

IN_THE_FUTURE = "The recorded start lies in the future: the clock was wrong then, or is wrong now."

DAMAGED = {failure_type(NotASnapshotError), failure_type(OtherTaskError)}
"""Types of failures that a later batch meets again: only a repair helps."""

DO_THE_REST = "The same command again does what is left; what stands already is skipped."

_OPENINGS: dict[EndState, str] = {
    "finished": "Done",
    "stopped": "Stopped by the failure policy",
    "timed_out": "Out of time",
    "interrupted": "Interrupted",
}


def outcome(counts: Counts, state: EndState) -> str:
    """What became of every run that was found, leaving out what did not occur."""
    parts = [
        f"{counts.persisted:,} persisted",
        f"{counts.unchanged:,} unchanged" if counts.unchanged else "",
        f"{counts.failed:,} failed{_locked(counts)}" if counts.failed else "",
        f"{counts.not_attempted:,} not attempted" if counts.not_attempted else "",
        f"{counts.superseded:,} superseded by a later line" if counts.superseded else "",
        f"{counts.filtered:,} filtered out" if counts.filtered else "",
        f"{counts.invalid:,} invalid" if counts.invalid else "",
        f"{counts.other_shards:,} left to other shards" if counts.other_shards else "",
    ]
    return f"{_OPENINGS[state]}: {', '.join(part for part in parts if part)}."


def _locked(counts: Counts) -> str:
    locked = counts.snapshot_locked
    return f" ({locked:,} because {'its' if locked == 1 else 'their'} task was locked)" if locked else ""


def work_done(counts: Counts) -> str:
    """The runs that this batch attempted, without those of an earlier part; and of how many, if of more."""
    done = counts.selected - counts.not_attempted - counts.resumed
    return number(done, "run") if done == counts.selected else f"{done:,} of {counts.selected:,} runs"


def what_next(counts: Counts, state: EndState, causes: Collection[str] = ()) -> str:
    """The advice after a batch; ``causes``: the types of its failures (``Failure.type``)."""
    if state == "timed_out" and not counts.attempted:
        return "The time was up before anything was settled; it must be enough to read the sources, and more."
    if state == "stopped":
        return (
            "Remove the cause, or allow more failures by --max-failures; then the same command does what is "
            "left, and what stands already is skipped."
        )
    if state != "finished":
        return DO_THE_REST
    return _after_the_end(counts, causes)


def _after_the_end(counts: Counts, causes: Collection[str]) -> str:
    """The advice after a batch that attempted all of its runs."""
    if DAMAGED & set(causes):
        return (
            "`batchpersist repair` restores damaged snapshots; then run the same command again, "
            "and what stands already is skipped."
        )
    if counts.failed:
        return "Remove the cause and run the same command again; what stands already is skipped."
    if counts.invalid and counts.invalid == counts.discovered:
        return "No input was valid, so nothing was persisted."
    if counts.invalid:
        return "Invalid input was left out; everything else is persisted."
    return nothing_found(counts.discovered, counts.filtered) or "Nothing failed."


def nothing_found(discovered: int, filtered: int) -> str:
    """Why there was nothing to do, where nothing was found or selected; else ""."""
    if not discovered:
        return "No runs were found in the sources."
    if filtered == discovered:
        return (
            f"None of the {number(discovered, 'run')} found is selected (--task, --since, --until, --limit)."
        )
    return ""


def incomplete(run_folders: int) -> str:
    """How many run folders of the orchestrator have no summary; "" where all have one."""
    return (
        f"{number(run_folders, 'run folder')} without a run-summary.json (incomplete)." if run_folders else ""
    )


def skipped(suffixes: Mapping[str, int]) -> str:
    """Which files of folders were not read, the most frequent suffix first; "" where there are none."""
    if not suffixes:
        return ""
    named = sorted(suffixes.items(), key=lambda suffix: (-suffix[1], suffix[0]))
    listed = ", ".join(f"{suffix} ({files:,})" for suffix, files in named)
    files = sum(suffixes.values())
    kind = "an unknown suffix" if files == 1 else "unknown suffixes"
    return f"Skipped {number(files, 'file')} with {kind}: {listed}."
