"""``--on-failure COMMAND``: runs a command when this one fails, however early."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import failure_of
from ..system_limits import system_error_in
from .output import print_line


@dataclass
class Invocation:
    """What is known of a command when it ends. click hands it to commands as ``Context.obj``."""

    words: Sequence[str]
    """The command line, without the program."""
    options: Mapping[str, Any] | None = None
    """As click parsed them; None: it could not, or it was not asked to."""
    batch_id: str = ""
    metrics: str = ""
    """The file to which this batch has written its metrics."""


def run_failure_command(invocation: Invocation, code: int) -> None:
    """Run the command that ``--on-failure`` names, without a shell, and wait for it.

    It gets the path of the metrics as its last argument, and BATCHPERSIST_EXIT_CODE, BATCHPERSIST_METRICS
    and BATCHPERSIST_BATCH in its environment. The path, and the latter two variables, are empty if there was
    no batch, or it wrote no metrics. Its output goes to standard error. If it fails, that is printed and
    logged, and changes nothing else.
    """
    options = invocation.options
    if not options or not options.get("on_failure") or options.get("dry_run"):
        return
    from .logfile import log_to  # rarely needed, like subprocess

    with suppress(KeyboardInterrupt):
        problem = _run_command(options["on_failure"], invocation, code)
        if problem is not None:
            print_line(f"Error: {problem}", err=True)
            with suppress(OSError), log_to(options["log_file"], lambda: True) as log:
                log.error(problem)


def _run_command(command: Sequence[str], invocation: Invocation, code: int) -> str | None:
    """Return what went wrong as a line to print; None if nothing did."""
    import subprocess

    variables = {
        # If the command runs batchpersist and that fails, it must not run the command again.
        **{name: value for name, value in os.environ.items() if not _is_failure_command_variable(name)},
        "BATCHPERSIST_EXIT_CODE": str(code),
        "BATCHPERSIST_METRICS": invocation.metrics,
        "BATCHPERSIST_BATCH": invocation.batch_id,
    }
    try:
        process = subprocess.run(
            [*command, invocation.metrics], env=variables, stdin=subprocess.DEVNULL, stdout=2, check=False
        )
    except (OSError, ValueError) as error:
        failure = failure_of(system_error_in(error))
        return f"the command for failures could not be run: {failure.message}: {command[0]}"
    if process.returncode:
        return f"the command for failures itself ended with {process.returncode}: {command[0]}"
    return None


def _is_failure_command_variable(name: str) -> bool:
    return name.startswith("BATCHPERSIST_") and name.endswith("ON_FAILURE")
