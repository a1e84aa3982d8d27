"""``--on-failure COMMAND``: whom to tell when a batch did not end well."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from ..errors import failure_of

_ITSELF = "ON_FAILURE"


def tell(command: Sequence[str], *, exit_code: int, metrics: str, batch_id: str) -> str | None:
    """Run a command (no shell) with the path of the metrics as its last argument, and wait for it.

    It finds BATCHPERSIST_EXIT_CODE, BATCHPERSIST_METRICS and BATCHPERSIST_BATCH in its environment; the
    latter two, and the argument, are empty where there was no batch, or it wrote no metrics. What it
    prints goes to standard error. Returns what went wrong with it, in words; it changes nothing else.
    """
    variables = {
        # Should it run batchpersist again, that is not to call it once more.
        **{name: value for name, value in os.environ.items() if not _is_ours(name)},
        "BATCHPERSIST_EXIT_CODE": str(exit_code),
        "BATCHPERSIST_METRICS": metrics,
        "BATCHPERSIST_BATCH": batch_id,
    }
    try:
        done = subprocess.run(
            [*command, metrics], env=variables, stdin=subprocess.DEVNULL, stdout=2, check=False
        )
    except (OSError, ValueError) as error:
        failure = failure_of(error)
        return f"the command for failures could not be run: {failure.message}: {command[0]}"
    if done.returncode:
        return f"the command for failures itself ended with {done.returncode}: {command[0]}"
    return None


def _is_ours(name: str) -> bool:
    return name.startswith("BATCHPERSIST_") and name.endswith(_ITSELF)
