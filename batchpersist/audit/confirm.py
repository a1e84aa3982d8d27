"""The confirmation of findings: what one check saw may only have been about to be written."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator

from ..context import RunContext
from ..locks import is_stale_lock
from .check_task import TaskResult
from .models import AuditOptions, Finding, FindingKind, RunStatus

_log = logging.getLogger(__name__)

MAX_HELD = 100_000
"""So many findings at most wait for their second check: that is what an audit holds in memory."""

LOCK_WAIT_SECONDS = 10.0
"""How long the second check waits, in all, for tasks that are locked."""

_POLL_SECONDS = 0.1

_LASTING = frozenset(
    {
        FindingKind.ENRICHED,
        FindingKind.FOREIGN_FILE,
        FindingKind.ORPHANED_TEMPORARY,
        FindingKind.STALE_LOCK,
        FindingKind.OTHER_LAYOUT,
        FindingKind.UNSAFE_NAME,
    }
)
"""No step of writing a run looks like this: it is enough that the path still exists."""


class Unconfirmed:
    """The results of first checks, held until a second check confirms their findings."""

    def __init__(self, options: AuditOptions) -> None:
        self._options = options
        self._held: list[TaskResult] = []
        self._findings = 0

    def hold(self, result: TaskResult) -> None:
        """Keep a result for the second check."""
        self._held.append(result)
        self._findings += len(result.findings)

    @property
    def is_full(self) -> bool:
        """Whether so many findings wait that the second check must not be put off."""
        return self._findings >= MAX_HELD

    def take(self, context: RunContext) -> Iterator[list[TaskResult]]:
        """Wait for the pause, then give the held results in groups, for the second check.

        A task whose lock is held comes last: its owner may be about to replace its snapshot. Once
        ``context`` is stopping, the rest is dropped.
        """
        held, self._held, self._findings = self._held, [], 0
        if held and not context.is_stopping:
            time.sleep(self._options.pause_seconds)
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while held and not context.is_stopping:
            ready, held = self._split_locked(held, deadline)
            if ready:
                yield ready
            if held:
                time.sleep(_POLL_SECONDS)

    def _split_locked(
        self, held: list[TaskResult], deadline: float
    ) -> tuple[list[TaskResult], list[TaskResult]]:
        ready: list[TaskResult] = []
        locked: list[TaskResult] = []
        may_wait = time.monotonic() < deadline
        for result in held:
            is_locked = may_wait and self._is_locked(result.slice.task_id)
            (locked if is_locked else ready).append(result)
        return ready, locked

    def _is_locked(self, task_id: str) -> bool:
        path = self._options.layout.task_lock(task_id)
        try:
            return os.path.lexists(path) and not is_stale_lock(path, self._options.stale_seconds)
        except OSError:
            return True


def needs_confirmation(result: TaskResult) -> bool:
    """Whether a result counts only once a second check, some time later, has seen the same."""
    return bool(result.incomplete) or any(finding.kind not in _LASTING for finding in result.findings)


def drop_outdated(result: TaskResult) -> TaskResult:
    """The result without lasting findings whose path does not exist any more."""
    result.findings = [
        finding
        for finding in result.findings
        if finding.kind not in _LASTING or os.path.lexists(finding.path)
    ]
    return result


def confirm(first: TaskResult, second: TaskResult) -> TaskResult:
    """The first result, with only those findings and statuses that the second check saw as well."""
    seen_again = set(second.findings)
    kept: list[Finding] = []
    for finding in drop_outdated(first).findings:
        if finding.kind in _LASTING or finding in seen_again:
            kept.append(finding)
        else:
            _log_unconfirmed(finding)
    first.findings = kept
    confirmed = {finding.run_id for finding in kept}
    for run_id, status in first.incomplete.items():
        now = second.statuses.get(run_id)
        if now is None:  # the run is gone, or complete and complete runs are not asked for
            del first.statuses[run_id]
        elif now.is_complete or (now is status and run_id in confirmed):
            first.statuses[run_id] = now
        else:
            first.statuses[run_id] = RunStatus.UNCHECKED
    return first


def _log_unconfirmed(finding: Finding) -> None:
    name = f"{finding.task_id}/{finding.run_id}"
    _log.debug("%s: not reported as %s: the second check did not see the same", name, finding.kind.value)
