"""What does it cost to check that JavaScript would spell a text the same, against all of a batch's CPU?"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from measure import Cost, persist, round_robin, source, table

from batchpersist.contract.javascript_spelling import spell_as_javascript
from batchpersist.contract.json_text import lay_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=6000)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    path = source(folder / "runs.jsonl", options.runs, options.tasks)
    texts = [lay_out(line) for line in path.read_bytes().splitlines()]
    shapes = {
        "respelling: nothing to respell": texts,
        "respelling: a fraction with zeros": [text.replace(b": true", b": 1.50", 1) for text in texts],
        "respelling: an index among the names": [text.replace(b'"success"', b'"1"', 1) for text in texts],
    }
    contenders: dict[str, Callable[[], Cost]] = {
        "batch": lambda: persist(folder / "root", path, "-j", 1),
        "laying out": partial(for_each, lay_out, path.read_bytes().splitlines()),
        **{name: partial(for_each, spell_as_javascript, of) for name, of in shapes.items()},
    }
    costs = round_robin(contenders, options.repeat)
    rows: list[tuple[object, ...]] = [("", "CPU us a run", "CPU, share of the batch's")]
    for name, cost in costs.items():
        rows.append((name, f"{cost.cpu / options.runs * 1e6:.1f}", f"{cost.cpu / costs['batch'].cpu:.2%}"))
    table(rows)


def for_each(function: Callable[[bytes], bytes], texts: Sequence[bytes]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    for text in texts:
        function(text)
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    main()
