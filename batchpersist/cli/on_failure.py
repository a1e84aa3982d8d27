"""``--on-failure COMMAND``: whom to notify when a command did not end well, however early."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import failure_of
from ..system_limits import refusal_in
from .output import say

_ITSELF = "ON_FAILURE"


@dataclass
class Ending:
    """What is known of a command at its end; click's ``Context.obj``."""

    words: Sequence[str]
    """Its command line, without the program."""
    options: Mapping[str, Any] | None = None
    """As click parsed them; None: it did not come to that."""
    batch_id: str = ""
    metrics: str = ""
    """The file in which this batch has written them."""


def tell(ending: Ending, code: int, read_leniently: Callable[[Sequence[str]], Mapping[str, Any]]) -> None:
    """Run the command for failures (no shell), where there is one, and wait for it.

    Where the options could not be parsed, it is the one that ``read_leniently`` finds in the command line.
    It gets the path of the metrics as its last argument, and finds BATCHPERSIST_EXIT_CODE,
    BATCHPERSIST_METRICS and BATCHPERSIST_BATCH in its environment; the latter two, and the argument, are
    empty where there was no batch, or it wrote no metrics. What it prints goes to standard error. What goes
    wrong with it is told there, and in the log; it changes nothing else.
    """
    options = ending.options
    if options is None and ending.words:
        options = read_leniently(ending.words)
    if not options or not options.get("on_failure") or options.get("dry_run"):
        return
    from .logfile import log_to  # seldom needed, as is subprocess

    with suppress(KeyboardInterrupt):
        complaint = _run(options["on_failure"], ending, code)
        if complaint is not None:
            say(f"Error: {complaint}", err=True)
            with suppress(OSError), log_to(options["log_file"], lambda: True) as log:
                log.error(complaint)


def _run(command: Sequence[str], ending: Ending, code: int) -> str | None:
    """Returns what went wrong, in words."""
    import subprocess

    variables = {
        # Should it run batchpersist again, that is not to call it once more.
        **{name: value for name, value in os.environ.items() if not _is_ours(name)},
        "BATCHPERSIST_EXIT_CODE": str(code),
        "BATCHPERSIST_METRICS": ending.metrics,
        "BATCHPERSIST_BATCH": ending.batch_id,
    }
    try:
        done = subprocess.run(
            [*command, ending.metrics], env=variables, stdin=subprocess.DEVNULL, stdout=2, check=False
        )
    except (OSError, ValueError) as error:
        failure = failure_of(refusal_in(error))
        return f"the command for failures could not be run: {failure.message}: {command[0]}"
    if done.returncode:
        return f"the command for failures itself ended with {done.returncode}: {command[0]}"
    return None


def _is_ours(name: str) -> bool:
    return name.startswith("BATCHPERSIST_") and name.endswith(_ITSELF)
