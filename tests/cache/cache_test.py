"""Nights with a cache, each compared with the same night in a twin root that knows none.

Between the nights all that a cache could be wrong about happens: sources are changed, added,
taken away, reordered and touched; outputs are edited (in place, with the old times put back),
replaced and deleted; an orchestrator records runs; the cache itself is damaged.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather
from support.engine import Run, await_tick, run, slow_file_clock, snapshot_text, text, tree

from batchpersist.batch.dry_run import preview_batch
from batchpersist.batch.run import run_batch
from batchpersist.cache import store
from batchpersist.index import scan, scan_worker
from batchpersist.metrics.batch_report import BatchReport
from batchpersist.metrics.build import stable
from batchpersist.models import Durability, Keys, ShardOutcome
from batchpersist.options import BatchOptions, PersistOptions, Selection
from batchpersist.paths import Layout
from batchpersist.persist import manifests, snapshots, worker
from batchpersist.plan.shard_job import ShardJob
from batchpersist.snapshots.store import TaskStateStore
from batchpersist.sources.discovery import discover as discover_sources
from batchpersist.sources.source_reader import SourceReader
from batchpersist.storage import atomic_write
from batchpersist.workers import shard_call
from batchpersist.workers.pool import WorkerPool
from batchpersist.workers.shard_call import ShardPersister

NIGHTS = 10


def clocks_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (manifests, snapshots, atomic_write):
        monkeypatch.setattr(module, "file_clock", slow_file_clock)


class Twins:
    """Two roots of the same content, one of which has a cache."""

    def __init__(self, folder: Path) -> None:
        self.sources = folder / "in"
        self.sources.mkdir()
        self.roots = folder / "with", folder / "without"

    def options(self, root: Path, **more: Any) -> BatchOptions:
        return BatchOptions(
            out_dir=str(root / "out"), runs_dir=str(root / "runs"), durability=Durability.NONE, **more
        )

    def night(self, sources: list[str] | None = None, **more: Any) -> BatchReport:
        """One batch in each; the same files and figures. Returns the report of the one with a cache."""
        await_tick()
        sources = sources or [str(self.sources)]
        figures = []
        for root in self.roots:
            options = self.options(root, cache=root is self.roots[0], **more)
            before = preview_batch(sources, options)
            report = run_batch(sources, options)
            shown = stable(report.metrics)
            figures.append({name: shown[name] for name in shown if name != "config"})
            assert (before.discovered, before.selected) == (
                report.metrics.counts.discovered,
                report.metrics.counts.selected,
            )
            if root is self.roots[0]:
                with_cache = report
        assert figures[0] == figures[1]
        self.assert_equal()
        return with_cache

    def assert_equal(self) -> None:
        first, second = (
            {name: content for name, content in tree(root).items() if name != "out/metrics.json"}
            for root in self.roots
        )
        assert first.keys() == second.keys()
        assert [name for name in first if first[name] != second[name]] == []

    @property
    def cache(self) -> Path:
        root = self.roots[0]
        return Path(Layout(str(root / "out"), str(root / "runs")).cache)

    def outputs(self) -> list[str]:
        return sorted(name for name in tree(self.roots[1]) if name.endswith(".json") and "/" in name[5:])

    def each(self, change: Callable[[Path], None]) -> None:
        for root in self.roots:
            change(root)


COPIED = ("jsonl.gz", "jsonl.zst", "parquet", "arrow")
"""What cannot be read by position."""


def write_lines(path: Path, runs: list[Run], *extra: bytes) -> None:
    """In the form that the file's name says; ``extra`` are lines that are no runs."""
    texts = [json.dumps(item).encode() + b"\n" for item in runs] + list(extra)
    if path.suffix in (".parquet", ".arrow"):
        table = pa.table({"json": [line.decode() for line in texts]})
        if path.suffix == ".parquet":
            pq.write_table(table, path)
        else:
            feather.write_feather(table, path)
        return
    pack = {".gz": gzip.compress, ".zst": lambda data: pa.compress(data, "zstd", asbytes=True)}
    path.write_bytes(pack.get(path.suffix, bytes)(b"".join(texts)))


class Chance:
    """Random changes, the same in both roots."""

    def __init__(self, seed: int, twins: Twins) -> None:
        self.random = random.Random(seed)
        self.twins = twins
        self.serial = 0

    def runs(self, count: int) -> list[Run]:
        pick = self.random.randrange
        return [
            run(f"task-{pick(4)}", pick(25), note=pick(3), timestamp=f"2026-01-01T00:0{pick(6)}:00.000Z")
            for _ in range(count)
        ]

    def new_runs(self, count: int) -> list[Run]:
        self.serial += count
        return [run(f"task-{n % 4}", 100 + n) for n in range(self.serial - count, self.serial)]

    def between_nights(self) -> None:
        kinds = [
            self.add_source,
            self.add_source,
            self.change_source,
            self.remove_source,
            self.touch_source,
            self.rename_source,
            self.edit_output,
            self.edit_in_place,
            self.delete_output,
            self.replace_output,
            self.orchestrate,
            self.shuffle_snapshot,
            self.damage_cache,
        ]
        for kind in self.random.choices(kinds, k=self.random.randrange(4)):
            kind()

    def add_source(self) -> None:
        runs = self.new_runs(3) if self.random.random() < 0.7 else self.runs(4)
        event = json.dumps({"type": "other"}).encode() + b"\n"
        name = f"{self.random.randrange(10_000):04}"
        kind = self.random.choice(["jsonl", "jsonl", "json", "json", *COPIED])
        if kind == "json":
            (self.twins.sources / f"{name}.json").write_text(json.dumps(runs))
        else:
            write_lines(self.twins.sources / f"{name}.{kind}", runs, event)

    def _source(self) -> Path | None:
        found = sorted(self.twins.sources.iterdir())
        return self.random.choice(found) if found else None

    def change_source(self) -> None:
        if path := self._source():
            status = path.stat()
            if path.name.partition(".")[2] in COPIED and self.random.random() < 0.7:
                write_lines(path, self.runs(3))
            else:
                content = path.read_bytes()
                changed = content.replace(b'"mcp"', b'"cli"') if b'"mcp"' in content else content + b"\n{"
                path.write_bytes(changed)
            if self.random.random() < 0.5:
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def remove_source(self) -> None:
        if path := self._source():
            path.unlink()

    def touch_source(self) -> None:
        if path := self._source():
            path.touch()

    def rename_source(self) -> None:
        if path := self._source():
            kind = path.name.partition(".")[2]
            path.rename(path.with_name(f"{self.random.randrange(10_000):04}.{kind}"))

    def _output(self) -> str | None:
        names = self.twins.outputs()
        return self.random.choice(names) if names else None

    def edit_output(self) -> None:
        if name := self._output():
            self.twins.each(lambda root: (root / name).write_bytes((root / name).read_bytes() + b"\n"))

    def edit_in_place(self) -> None:
        """Same size, same inode, and the mtime put back."""
        if name := self._output():

            def edit(root: Path) -> None:
                path, status = root / name, (root / name).stat()
                with path.open("r+b") as file:
                    content = file.read()
                    file.seek(0)
                    file.write(content.replace(b'"note": 1', b'"note": 9').replace(b'"mcp"', b'"mcq"'))
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

            self.twins.each(edit)

    def delete_output(self) -> None:
        if name := self._output():
            self.twins.each(lambda root: (root / name).unlink())

    def replace_output(self) -> None:
        """A restored copy: the content of before, another inode."""
        if name := self._output():

            def replace(root: Path) -> None:
                shutil.copy2(root / name, root / "copy")
                os.replace(root / "copy", root / name)

            self.twins.each(replace)

    def orchestrate(self) -> None:
        runs = self.runs(2) + self.new_runs(1)
        for root in self.twins.roots:
            store = TaskStateStore(str(root / "out"), str(root / "runs"))
            for item in runs:
                try:
                    store.record_run(item)
                except Exception:  # a snapshot that was damaged before
                    continue
                manifest = root / "runs" / item["taskId"] / item["runId"] / "manifest.json"
                manifest.parent.mkdir(parents=True, exist_ok=True)
                manifest.write_bytes(text(item))

    def shuffle_snapshot(self) -> None:
        """Someone leaves a snapshot that is valid, but not in order, or has a run twice."""
        name = self._output()
        if name and name.endswith("runs.json"):

            def shuffle(root: Path) -> None:
                snapshot = json.loads((root / name).read_bytes())
                random.Random(self.serial).shuffle(snapshot["runs"])
                snapshot["runs"] += snapshot["runs"][:1]
                snapshot["lastRunAt"] = snapshot["runs"][-1]["timestamp"]
                (root / name).write_bytes(text(snapshot))

            try:
                self.twins.each(shuffle)
            except ValueError:
                return

    def damage_cache(self) -> None:
        path = self.twins.cache
        if not path.exists() or not path.stat().st_size:
            return
        content = bytearray(path.read_bytes())
        kind = self.random.randrange(4)
        if kind == 0:
            path.unlink()
        elif kind == 1:
            path.write_bytes(content[: self.random.randrange(len(content))])
        elif kind == 2:
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
            path.write_bytes(content)
        else:
            path.write_bytes(b"")

    def options(self) -> dict[str, Any]:
        pick = self.random.random
        more: dict[str, Any] = {}
        if pick() < 0.3:
            more["selection"] = self.random.choice(
                [Selection(tasks=("task-1",)), Selection(since="2026-01-01T00:03"), Selection(limit=9)]
            )
        if pick() < 0.1:
            more["force"] = True
        if pick() < 0.1:
            more["verify_unchanged"] = True
        return more


def die_while_copying(job: ShardJob, options: PersistOptions) -> ShardOutcome:
    """What a worker does; the first of them dies halfway."""
    make_copy = SourceReader._copy

    def die_once(*arguments: Any) -> Any:
        try:
            (Path(options.out_dir).parent / "died").touch(exist_ok=False)
        except FileExistsError:
            return make_copy(*arguments)
        os._exit(9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SourceReader, "_copy", die_once)
        return worker.persist_shard(job, options)


@dataclass(frozen=True)
class DyingPersister(ShardPersister):
    """Picklable, as the one that it replaces."""

    def persist(self, job: ShardJob) -> ShardOutcome:
        return die_while_copying(job, self.options)


@pytest.mark.parametrize("seed", range(int(os.environ.get("BATCHPERSIST_NIGHTS", "6"))))
def test_whatever_happens_between_the_nights_a_cache_changes_no_result(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks_are_slow(monkeypatch)
    twins = Twins(tmp_path)
    chance = Chance(seed, twins)
    chance.add_source()
    chance.add_source()
    for _ in range(NIGHTS):
        twins.night(**chance.options())
        chance.between_nights()


class TestByOne:
    """What chance would seldom meet."""

    @pytest.fixture
    def twins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Twins:
        clocks_are_slow(monkeypatch)
        return Twins(tmp_path)

    def test_unchanged_files_are_not_read(self, twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
        write_lines(twins.sources / "a.jsonl", [run("t", n) for n in range(5)])
        twins.night()
        monkeypatch.setattr(worker.PayloadReader, "text", None)  # reading a payload is a defect now
        monkeypatch.setattr(scan, "run_scan_task", None)
        report = run_batch([str(twins.sources)], twins.options(twins.roots[0]))
        assert report.metrics.counts.unchanged == 5
        assert report.metrics.timing.cached_sources == 1

    @pytest.mark.parametrize("kind", COPIED)
    def test_unchanged_compressed_files_are_not_copied(
        self, twins: Twins, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_lines(twins.sources / f"a.{kind}", [run("t", n) for n in range(5)])
        size = (twins.sources / f"a.{kind}").stat().st_size
        twins.night()
        monkeypatch.setattr(SourceReader, "_copy", None)
        report = run_batch([str(twins.sources)], twins.options(twins.roots[0]))
        assert report.metrics.counts.unchanged == 5
        assert (report.metrics.timing.cached_sources, report.metrics.bytes.read) == (1, size)

    @pytest.mark.parametrize("kind", ["json", "jsonl", *COPIED])
    def test_names_that_are_not_utf8_are_known_too(self, tmp_path: Path, twins: Twins, kind: str) -> None:
        folder = tmp_path / os.fsdecode(b"caf\xe9")
        folder.mkdir()
        write_lines(tmp_path / f"ascii.{kind}", [run("t", 1)])
        (tmp_path / f"ascii.{kind}").rename(folder / os.fsdecode(b"\xff.%s" % kind.encode()))
        sources = [str(folder), os.path.relpath(folder)]
        roots = {name: str(tmp_path / f"{folder.name}-{name}") for name in ("out_dir", "runs_dir")}
        # Of a copy there is one place, and it is the first one's.
        for cached in (0, 1 if kind in COPIED else 2):
            await_tick()
            report = run_batch(sources, BatchOptions(**roots, durability=Durability.NONE))
            assert report.exit_code == 0
            assert report.metrics.timing.cached_sources == cached
            assert report.outcomes["source"].to_pylist()[0].endswith(f"caf\\xe9/\\xff.{kind}")

    @pytest.mark.parametrize("kind", COPIED)
    @pytest.mark.parametrize("workers", [1, 2])
    def test_of_a_copied_source_the_copy_is_made_when_a_text_is_needed(
        self, twins: Twins, kind: str, workers: int
    ) -> None:
        runs = [run(f"task-{n % 3}", n) for n in range(9)]
        write_lines(twins.sources / f"a.{kind}", runs)
        twins.night()
        await_tick()
        for name in ("runs/task-1/run-4/manifest.json", "out/task-2/runs.json"):
            twins.each(lambda root, name=name: (root / name).unlink())
        options = replace(twins.options(twins.roots[0]), workers=workers, pool_runs=0)
        report = run_batch([str(twins.sources)], options)
        assert report.metrics.timing.cached_sources == 1
        counts = report.metrics.counts
        assert (counts.persisted, counts.unchanged, counts.failed) == (4, 5, 0)
        run_batch([str(twins.sources)], twins.options(twins.roots[1], cache=False))
        twins.assert_equal()

    def test_a_copied_source_that_is_gone_by_then_fails_its_runs(
        self, twins: Twins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = twins.sources / "a.jsonl.gz"
        write_lines(path, [run("t", 1), run("t", 2)])
        twins.night()
        await_tick()
        (twins.roots[0] / "runs/t/run-2/manifest.json").unlink()
        make_copy = SourceReader._copy

        def gone(*arguments: Any) -> Any:
            path.unlink()
            return make_copy(*arguments)

        monkeypatch.setattr(SourceReader, "_copy", gone)
        report = run_batch([str(twins.sources)], twins.options(twins.roots[0]))
        (error,) = report.metrics.errors
        assert (error.stage, error.message, error.count) == (
            "manifest",
            "[ENOENT] No such file or directory",
            1,
        )
        assert error.samples[0].detail == str(path)

    def test_a_worker_that_dies_while_it_makes_a_copy_costs_no_run(
        self, twins: Twins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_lines(twins.sources / "a.jsonl.gz", [run(f"task-{n}", n) for n in range(4)])
        twins.night()
        for n in range(4):
            twins.each(lambda root, n=n: (root / f"runs/task-{n}/run-{n}/manifest.json").unlink())
        monkeypatch.setattr(shard_call, "ShardPersister", DyingPersister)
        options = replace(twins.options(twins.roots[0]), workers=2, pool_runs=0)
        report = run_batch([str(twins.sources)], options)
        (twins.roots[0] / "died").unlink()
        counts = report.metrics.counts
        assert (counts.persisted, counts.failed) == (4, 0)
        run_batch([str(twins.sources)], twins.options(twins.roots[1], cache=False))
        twins.assert_equal()

    def test_a_copy_that_cannot_be_made_is_not_tried_for_each_run(
        self, twins: Twins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_lines(twins.sources / "a.jsonl.gz", [run("t", n) for n in range(9)])
        twins.night()
        shutil.rmtree(twins.roots[0] / "runs" / "t")
        tried = []

        def fail(*arguments: Any) -> Any:
            tried.append(arguments)
            return None, 0, OSError(errno.EFBIG, "File too large")

        monkeypatch.setattr(SourceReader, "_copy", fail)
        report = run_batch([str(twins.sources)], twins.options(twins.roots[0]))
        assert (report.metrics.counts.failed, len(tried)) == (9, 1)

    def test_a_copied_source_may_be_named_twice(self, twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second copy does not take the first one's place, least of all if it breaks off."""
        path = twins.sources / "a.jsonl.gz"
        write_lines(path, [run("t", n) for n in range(9)])
        sources = [str(twins.sources), str(path)]
        for _ in range(3):
            twins.night(sources)
        await_tick()
        shutil.rmtree(twins.roots[0] / "runs" / ".batchpersist" / "cache")
        make_copy, made = SourceReader._copy, []

        def break_off(*arguments: Any, **options: Any) -> Any:
            path, _, error = make_copy(*arguments, **options)
            made.append(path)
            if len(made) == 2:
                os.truncate(path, 300)
                error = OSError(errno.EFBIG, "File too large")
            return path, 300 if error else os.stat(path).st_size, error

        monkeypatch.setattr(SourceReader, "_copy", break_off)
        report = run_batch(sources, twins.options(twins.roots[0], force=True))
        counts = report.metrics.counts
        assert (len(made), counts.failed, counts.persisted) == (2, 0, 9)

    @pytest.mark.parametrize("maker", ["__version__", "sys.getfilesystemencoding"])
    def test_another_version_or_encoding_makes_another_cache(
        self, twins: Twins, maker: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_lines(twins.sources / "a.parquet", [run("t", 1)])
        twins.night()
        other: Any = "0.0.1" if maker == "__version__" else lambda: "ascii"
        with monkeypatch.context() as patch:
            patch.setattr(f"batchpersist.cache.store.{maker}", other)
            assert twins.night().metrics.timing.cached_sources == 0

    def test_dry_run_reads_compressed_files(self, twins: Twins) -> None:
        write_lines(twins.sources / "a.jsonl.gz", [run("t", 1), run("t", 2)])
        twins.night()
        (twins.roots[0] / "runs/t/run-2/manifest.json").unlink()
        preview = preview_batch([str(twins.sources)], twins.options(twins.roots[0]))
        assert (preview.unchanged, preview.changed, preview.unreadable) == (1, 1, 0)

    @pytest.mark.parametrize("damaged", [False, True])
    def test_a_source_with_a_long_copy_is_known_as_a_whole_or_not_at_all(
        self, twins: Twins, damaged: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is scanned in ranges, and why it ends early is told with the last of them."""
        monkeypatch.setattr(scan_worker, "LONGEST_COPY", 500)
        monkeypatch.setattr(scan_worker, "SCAN_TASK_BYTES", 300)
        path = twins.sources / "b.jsonl.gz"
        write_lines(path, [run("t", n) for n in range(20)], b'{"type": "other"}\n')
        if damaged:
            path.write_bytes(path.read_bytes()[:-4])
        write_lines(twins.sources / "a.jsonl", [run("u", 1)])
        write_lines(twins.sources / "c.jsonl.gz", [run("v", 1)])
        twins.night()
        report = twins.night()
        assert report.metrics.timing.cached_sources == (2 if damaged else 3)
        assert report.metrics.counts.invalid == damaged
        assert report.metrics.passed_over.other_events == 1

    @pytest.mark.parametrize(
        ("large", "then", "pooled"),
        [
            ("many.jsonl", "one.jsonl", False),  # its size tells how little it is
            ("deep", "deep", True),  # nothing can be told of a folder within a folder
        ],
    )
    def test_pool_scans_a_source_expected_to_be_large(
        self, twins: Twins, monkeypatch: pytest.MonkeyPatch, large: str, then: str, pooled: bool
    ) -> None:
        (twins.sources / "deep" / "deeper").mkdir(parents=True)
        for name in ("many.jsonl", "deep/deeper/many.jsonl"):
            write_lines(twins.sources / name, [run("t", n) for n in range(300)])
        write_lines(twins.sources / "one.jsonl", [run("t", 300)])
        options = twins.options(twins.roots[0], workers=2, pool_runs=250)
        await_tick()
        run_batch([str(twins.sources / large)], options)
        assert twins.cache.exists()
        calls, submit = [], WorkerPool._submit_to_pool

        def listen(pool: WorkerPool, call: Callable[..., Any], *args: Any) -> Any:
            calls.append(call)
            return submit(pool, call, *args)

        monkeypatch.setattr(WorkerPool, "_submit_to_pool", listen)
        report = run_batch([str(twins.sources / then)], options)
        assert report.exit_code == 0
        assert (scan.run_scan_task in calls) == pooled

    def test_a_source_of_which_a_range_could_not_be_scanned_is_not_known(
        self, twins: Twins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A worker died of it, twice: another one may read it the next night."""
        monkeypatch.setattr(discover_sources, "__kwdefaults__", {"scan_task_bytes": 300})
        write_lines(twins.sources / "a.jsonl", [run("t", n) for n in range(12)])
        run_scan_task = scan.run_scan_task

        def die(part: Any, *rest: Any) -> Any:
            if [piece.start for piece in part.sources] == [300]:
                raise MemoryError
            return run_scan_task(part, *rest)

        monkeypatch.setattr(scan, "run_scan_task", die)
        options = twins.options(twins.roots[0])
        first = run_batch([str(twins.sources / "a.jsonl")], options)
        assert first.metrics.counts.invalid == 1
        monkeypatch.setattr(scan, "run_scan_task", run_scan_task)
        await_tick()
        second = run_batch([str(twins.sources / "a.jsonl")], options)
        assert second.metrics.timing.cached_sources == 0
        assert second.metrics.counts.discovered == 12

    def test_known_files_around_a_removed_one_keep_their_rows(self, twins: Twins) -> None:
        write_lines(twins.sources / "a.jsonl", [run("t", 1)])
        write_lines(twins.sources / "b.jsonl", [run("t", 2)], b"no run\n")
        write_lines(twins.sources / "c.jsonl", [run("t", 3)])
        twins.night()
        (twins.sources / "b.jsonl").unlink()
        report = twins.night()
        assert report.metrics.timing.cached_sources == 2
        assert report.outcomes["run_id"].to_pylist() == ["run-1", "run-3"]

    def test_new_runs_alone_are_read(self, twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
        write_lines(twins.sources / "b.jsonl", [run("t", n) for n in range(5)] + [run("u", 1)])
        twins.night()
        write_lines(twins.sources / "a.jsonl", [run("t", 7)])
        read, text = [], worker.PayloadReader.text
        monkeypatch.setattr(
            worker.PayloadReader,
            "text",
            lambda self, keys, *place: read.append(keys.run_id) or text(self, keys, *place),
        )
        report = run_batch([str(twins.sources)], twins.options(twins.roots[0]))
        assert read == ["run-7"]
        counts = report.metrics.counts
        assert (counts.persisted, counts.unchanged) == (1, 6)
        run_batch([str(twins.sources)], twins.options(twins.roots[1], cache=False))
        twins.assert_equal()

    def test_an_unsorted_snapshot_is_sorted_when_a_run_comes_again(self, twins: Twins) -> None:
        """So a run that has been appended to one is not to be passed over the next time."""
        entries = [run("t", 5), run("t", 3)]
        for root in twins.roots:
            path = root / "out/t/runs.json"
            path.parent.mkdir(parents=True)
            path.write_bytes(snapshot_text("t", entries))
        write_lines(twins.sources / "a.jsonl", [run("t", 9)])
        twins.night()
        assert (twins.roots[0] / "out/t/runs.json").read_bytes() == snapshot_text(
            "t", [*entries, run("t", 9)]
        )
        twins.night()
        found = json.loads((twins.roots[0] / "out/t/runs.json").read_bytes())["runs"]
        assert [entry["runId"] for entry in found] == ["run-3", "run-5", "run-9"]

    def test_a_run_that_comes_twice_is_recorded_twice_each_night(self, twins: Twins) -> None:
        """An earlier form of it moves it among the runs of its time."""
        tied = run("t", 1)["timestamp"]
        twice = [run("t", 1), run("t", 2, timestamp=tied), run("t", 1, note="later")]
        write_lines(twins.sources / "a.jsonl", twice)
        for _ in range(3):
            twins.night()
        write_lines(twins.sources / "b.jsonl", [run("t", 1, timestamp="2025"), run("t", 3, timestamp=tied)])
        for _ in range(3):
            twins.night()
        (twins.sources / "b.jsonl").unlink()
        for _ in range(3):
            twins.night()

    def test_a_cache_of_another_boot_is_not_believed(
        self, twins: Twins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_lines(twins.sources / "a.jsonl", [run("t", 1)])
        twins.night()
        monkeypatch.setattr(store, "boot_id", lambda: "another")
        assert (
            run_batch([str(twins.sources)], twins.options(twins.roots[0])).metrics.timing.cached_sources == 0
        )

    def test_durable_batch_compares_outputs_that_were_not_synced(
        self, twins: Twins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its sources are known all the same, and after it all is."""
        write_lines(twins.sources / "a.jsonl", [run("t", 1)])
        compared: list[str] = []
        compare = manifests._compare

        def record(path: str, text: bytes) -> Any:
            compared.append(path)
            return compare(path, text)

        monkeypatch.setattr(manifests, "_compare", record)
        options = twins.options(twins.roots[0])
        looked = []
        for durability in ("none", "none", "batch", "batch", "file", "none"):
            await_tick()
            compared.clear()
            run_batch([str(twins.sources)], replace(options, durability=Durability(durability)))
            looked.append(len(compared))
        assert looked == [0, 0, 1, 0, 0, 0]

    def test_other_keys_make_another_cache(self, twins: Twins) -> None:
        write_lines(twins.sources / "a.jsonl", [run("t", 1, at="2026")])
        twins.night()
        for root in twins.roots:
            Path(Layout(str(root / "out"), str(root / "runs")).root_record).unlink()  # it would refuse them
        assert twins.night(keys=Keys(time="at")).metrics.timing.cached_sources == 0

    def test_a_dry_run_uses_it_and_leaves_it(self, twins: Twins) -> None:
        write_lines(twins.sources / "a.jsonl", [run("t", 1)])
        twins.night()
        before = twins.cache.stat()
        preview_batch([str(twins.sources)], twins.options(twins.roots[0]))
        assert twins.cache.stat().st_ino == before.st_ino

    def test_a_cache_that_cannot_be_kept_fails_nothing(
        self, twins: Twins, caplog: pytest.LogCaptureFixture
    ) -> None:
        write_lines(twins.sources / "a.jsonl", [run("t", 1)])
        twins.cache.parent.parent.mkdir(parents=True)
        twins.cache.parent.write_text("a file where a folder should be")
        assert twins.night().exit_code == 0
        assert "cannot be written" in caplog.text
