"""The metrics that each shard of a batch left: read, and seen to belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..batches.preparation import WORK
from ..errors import UsageError
from ..exit_codes import ExitCode
from ..options import Partition
from .schema import Metrics, State, read_metrics

_CODES: dict[State, ExitCode] = {
    "finished": ExitCode.SUCCESS,
    "timed_out": ExitCode.TIMED_OUT,
    "stopped": ExitCode.STOPPED,
    "interrupted": ExitCode.INTERRUPTED,
}
"""Exit codes of commands whose runs all went well; the worst one comes last."""


@dataclass(frozen=True)
class ShardPart:
    """What one shard did."""

    path: str
    shard: Partition
    metrics: Metrics

    @property
    def exit_code(self) -> ExitCode:
        """Of its command, as far as its metrics tell."""
        failures = self.metrics.has_failures
        return worst([_CODES[self.metrics.state], ExitCode.SOME_FAILED if failures else ExitCode.SUCCESS])


def read_part(path: str) -> ShardPart:
    """Raises SourceMissingError, OSError, and UsageError where the file is not the metrics of a shard."""
    metrics = read_metrics(path)
    shard = metrics.config.get("shard")
    if not isinstance(shard, str):
        raise UsageError(f"{path}: these metrics are not a shard's: their batch had no --shard")
    return ShardPart(path, Partition.parse(shard), metrics)


def check_parts(parts: Iterable[ShardPart], *, partial: bool) -> list[ShardPart]:
    """The parts by their numbers. Raises UsageError where they are not those of one batch.

    ``partial``: some may be missing.
    """
    parts = sorted(parts, key=lambda part: part.shard.number)
    first = parts[0]
    for part in parts[1:]:
        if part.shard.of != first.shard.of:
            raise UsageError(f"{first.path} is shard {first.shard}, but {part.path} is {part.shard}")
        for name in (*WORK, "retry_of"):
            theirs, ours = part.metrics.config.get(name), first.metrics.config.get(name)
            if theirs != ours:
                raise UsageError(
                    f"not shards of one batch: {name} is {ours!r} in {first.path}, {theirs!r} in {part.path}"
                )
    _check_numbers(parts, partial=partial)
    return parts


def _check_numbers(parts: Sequence[ShardPart], *, partial: bool) -> None:
    paths: dict[int, list[str]] = defaultdict(list)
    for part in parts:
        paths[part.shard.number].append(part.path)
    for number, same in paths.items():
        if len(same) > 1:
            raise UsageError(f"shard {number} is there twice: {' and '.join(same)}")
    of = parts[0].shard.of
    missing = [str(number) for number in range(1, of + 1) if number not in paths]
    if missing and not partial:
        raise UsageError(f"shards are missing of {of}: {', '.join(missing)} (--partial merges the others)")


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code that says most of what went wrong."""
    return max(codes, key=(ExitCode.SUCCESS, ExitCode.SOME_FAILED, *_CODES.values()).index)


def worst_state(parts: Iterable[ShardPart]) -> State:
    """That of the whole, if its shards ended so."""
    return max((part.metrics.state for part in parts), key=list(_CODES).index)
