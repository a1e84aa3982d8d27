"""The second look: what was only seen once may have been about to be written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..context import RunContext
from ..locking.stalelock import is_stale_lock
from .check_task import TaskLook
from .models import Finding, Kind, Sign
from .options import AuditOptions

MOST_HELD = 100_000
"""Findings that wait for the second look, at most: they are what an audit holds in memory."""

LOCK_PATIENCE = 10.0
"""Seconds to wait, in all, for tasks whose lock is held at the time of the second look."""

_POLL = 0.1

_LASTING = frozenset(
    {
        Kind.ENRICHED,
        Kind.FOREIGN_FILE,
        Kind.ORPHANED_TEMPORARY,
        Kind.STALE_LOCK,
        Kind.OTHER_LAYOUT,
        Kind.UNSAFE_NAME,
    }
)
"""What cannot be a step of somebody's writing: it is confirmed by being there still."""

LookAgain = Callable[[Sequence[TaskLook]], Iterable[TaskLook]]
"""Takes another look at the runs that the looks told of; in any order."""


def confirm(
    looks: Iterable[TaskLook], again: LookAgain, options: AuditOptions, context: RunContext
) -> Iterator[TaskLook]:
    """The looks, with only those findings that a second look, some seconds later, saw as well.

    A task whose lock is held gets its second look later. Once ``context`` is stopping, what
    needs one is left out.
    """
    held: list[TaskLook] = []
    findings = 0
    for look in looks:
        if not look.findings and not look.marked:
            yield look
            continue
        held.append(look)
        findings += len(look.findings)
        if findings >= MOST_HELD:
            yield from _look_again(held, again, options, context)
            held, findings = [], 0
    yield from _look_again(held, again, options, context)


def _look_again(
    held: list[TaskLook], again: LookAgain, options: AuditOptions, context: RunContext
) -> Iterator[TaskLook]:
    if held and not context.is_stopping:
        time.sleep(options.pause_seconds)
    deadline = time.monotonic() + LOCK_PATIENCE
    while held and not context.is_stopping:
        patient = time.monotonic() < deadline
        ready = [look for look in held if not (patient and _is_locked(options, look))]
        yield from _confirmed(ready, again)
        done = {look.share for look in ready}
        held = [look for look in held if look.share not in done]
        if held:
            time.sleep(_POLL)


def _confirmed(looks: list[TaskLook], again: LookAgain) -> Iterator[TaskLook]:
    unsure = {look.share: look for look in looks if look.marked or any(map(_may_pass, look.findings))}
    for look in looks:
        if look.share not in unsure:
            yield _those_still_there(look)
    for second in again(list(unsure.values())) if unsure else ():
        yield _both(unsure[second.share], second)


def _both(first: TaskLook, second: TaskLook) -> TaskLook:
    seen_again = set(second.findings)
    look = _those_still_there(first)
    look.findings = [item for item in look.findings if not _may_pass(item) or item in seen_again]
    certain = {item.run_id for item in look.findings}
    look.same += [run for run in second.same if run in first.marked]
    look.enriched += [run for run in second.enriched if run in first.marked]
    look.marked = {
        run: sign if second.marked[run] is sign and run in certain else Sign.UNCHECKED
        for run, sign in first.marked.items()
        if run in second.marked
    }
    return look


def _those_still_there(look: TaskLook) -> TaskLook:
    look.findings = [item for item in look.findings if _may_pass(item) or os.path.lexists(item.path)]
    return look


def _may_pass(finding: Finding) -> bool:
    return finding.kind not in _LASTING


def _is_locked(options: AuditOptions, look: TaskLook) -> bool:
    """Whether somebody may be about to replace the task's snapshot."""
    path = options.layout.task_lock(look.share.task_id)
    try:
        return os.path.lexists(path) and not is_stale_lock(path, options.stale_seconds)
    except OSError:
        return True
