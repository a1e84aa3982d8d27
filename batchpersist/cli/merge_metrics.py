"""``batchpersist merge-metrics``: the metrics of a batch's shards as one document."""

from __future__ import annotations

import click

from ..exit_codes import ExitCode
from ..metrics.merge_partitions import check_partitions, merge_partitions, read_partition, worst_exit_code
from ..metrics.schema import metrics_text
from .output import print_event, print_line, write_document
from .params import OutputType, SectionedCommand
from .summary import metrics_fields, summary_lines


@click.command(
    "merge-metrics",
    cls=SectionedCommand,
    short_help="Merge the metrics of a batch's shards (run --shard K/N).",
)
@click.argument("parts", nargs=-1, required=True, metavar="PART...")
@click.option(
    "-o", "--output", required=True, type=OutputType(), metavar="FILE", help="Where the merged metrics go."
)
@click.option("--partial", is_flag=True, help="Merge what there is, though shards are missing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as a JSON object.")
def command(parts: tuple[str, ...], output: str, partial: bool, as_json: bool) -> None:
    """Merge the metrics of all shards of one batch, PART..., into one document of the same form.

    The exit code is that of the worst shard, and 3 at least where shards are missing.
    """
    partitions = check_partitions(map(read_partition, parts), partial=partial)
    merged = merge_partitions(partitions)
    write_document((metrics_text(merged),), output)
    code = worst_exit_code(part.exit_code for part in partitions)
    missing = partitions[0].shard.of - len(partitions)
    if missing:
        code = worst_exit_code((code, ExitCode.SOME_FAILED))
    if as_json:
        figures = metrics_fields(merged, "counts", "bytes", "timing")
        print_event("summary", state=merged.state, missing=missing, **figures, metrics=output, exit_code=code)
    else:
        for line in summary_lines(merged, output):
            print_line(line)
        if missing:
            print_line(f"{missing} of {partitions[0].shard.of} shards are missing here.", err=True)
    click.get_current_context().exit(code)
