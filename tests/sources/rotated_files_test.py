"""Folders of rotated logs: all of them are read, the oldest first; what is not read is named."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from support.engine import await_tick
from support.scans import lines, put, run, scan, text

from batchpersist import BatchOptions, run_batch
from batchpersist.cli.main import cli


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)  # type: ignore[no-any-return]


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*words: str) -> str:
    return CliRunner().invoke(cli, words, catch_exceptions=False).output


def put_log(name: str, *runs: dict[str, object]) -> None:
    data = text(list(runs)) if ".json" in name and ".jsonl" not in name else lines(*runs)
    put(Path("logs", name), FORMS[suffix if (suffix := Path(name).suffix) in FORMS else ""](data))


def test_rotated_files_of_a_folder_are_read_oldest_first(tmp_path: Path) -> None:
    names = [
        "a.jsonl.10.xz",
        "a.jsonl.2.gz",
        "a.jsonl.1",
        "a.jsonl",
        "b.jsonl-20260101.zst",
        "b.jsonl-20260102",
    ]
    names += ["b.jsonl", "c.json.gz", "c.json.1.bz2", "d.json.xz", "e.json.zst"]
    for name in sorted(names):
        put_log(name, run(name))
    found = scan(tmp_path / "spool", "logs")
    expected = [*names[:7], "c.json.1.bz2", "c.json.gz", "d.json.xz", "e.json.zst"]
    assert (found.run_ids, found.rejects, found.ignored_files) == (expected, [], 0)


def test_a_newer_version_of_a_run_wins_over_one_in_an_older_log() -> None:
    put_log("a.jsonl.10.gz", run("r", note="oldest"))
    put_log("a.jsonl.9", run("r", note="older"))
    put_log("a.jsonl", run("r", note="newest"))
    counts = run_batch(["logs"], BatchOptions()).metrics.counts
    assert (counts.persisted, counts.superseded) == (1, 2)
    assert json.loads(Path(".runs/t/r/manifest.json").read_text())["note"] == "newest"


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".xz", ".bz2"])
@pytest.mark.parametrize("workers", [1, 2])
def test_json_texts_and_lines_are_read_alike_however_they_are_compressed(suffix: str, workers: int) -> None:
    runs = [run(f"r{number}", nested={"list": [1, {"a": "b\n"}]}) for number in range(30)]
    put(Path("logs/list.json" + suffix), FORMS[suffix](b"\n" + json.dumps(runs, indent=1).encode()))
    put(Path("logs/one.json" + suffix), FORMS[suffix](text(run("one"))))
    put(Path("logs/lines.jsonl" + suffix), FORMS[suffix](lines(*(run(f"l{number}") for number in range(30)))))
    options = BatchOptions(workers=workers, pool_runs=0)
    assert run_batch(["logs"], options).metrics.counts.persisted == 61
    again = run_batch(["logs"], options).metrics
    assert again.counts.unchanged == 61
    assert json.loads(Path(".runs/t/r7/manifest.json").read_text()) == runs[7]


def test_a_named_rotated_file_is_read() -> None:
    put_log("a.jsonl-20260101.gz", run("r"))
    assert run_batch(["logs/a.jsonl-20260101.gz"], BatchOptions()).metrics.counts.persisted == 1


def test_elements_of_a_compressed_list_keep_their_lines(tmp_path: Path) -> None:
    put(Path("a.json.gz"), gzip.compress(b"[\n\n" + text(run("a")) + b",\n1]"))
    found = scan(tmp_path / "spool", "a.json.gz")
    assert ([row.line for row in found.rows], [reject.line for reject in found.rejects]) == ([3], [4])


def test_an_unchanged_rotated_file_is_known_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jsonl.1", "a.jsonl.2.gz", "a.json.xz"):
        put_log(name, run(name))
        shutil.copystat("/", Path("logs", name))  # long ago, as far as its times tell
    await_tick()
    BatchOptionsOf = BatchOptions()
    run_batch(["logs"], BatchOptionsOf)
    metrics = run_batch(["logs"], BatchOptionsOf).metrics
    assert (metrics.timing.cached_sources, metrics.counts.unchanged) == (3, 3)


def test_a_rotated_file_beside_its_compressed_copy_is_ordinary() -> None:
    runs = [run(f"r{number}") for number in range(50)]
    put_log("a.jsonl.1", *runs)
    put_log("a.jsonl.1.gz", *runs)
    report = run_batch(["logs"], BatchOptions())
    counts = report.metrics.counts
    assert (report.exit_code, counts.persisted, counts.superseded) == (0, 50, 50)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz", ".bz2"])
@pytest.mark.parametrize("kept", [0, 1, 9, 0.5])
def test_a_copy_that_is_just_being_compressed_is_no_damage(suffix: str, kept: float) -> None:
    runs = [run(f"r{number}") for number in range(50)]
    put_log("a.jsonl.1", *runs)
    data = FORMS[suffix](lines(*runs))
    put(Path(f"logs/a.jsonl.1{suffix}"), data[: int(kept * len(data)) if kept == 0.5 else int(kept)])
    report = run_batch(["logs"], BatchOptions())
    assert (report.exit_code, report.metrics.counts.persisted) == (0, 50)
    Path("logs/a.jsonl.1").unlink()
    assert run_batch(["logs"], BatchOptions()).exit_code == 3


@pytest.mark.parametrize("name", ["a.jsonl.1.gz", "a.jsonl.gz", "a.jsonl.gz.1"])
def test_a_cut_archive_beside_a_log_of_other_runs_is_reported(name: str) -> None:
    put_log("a.jsonl.1", run("new"))
    put_log("a.jsonl", run("newer"))
    put(Path("logs", "a.jsonl.gz"), gzip.compress(lines(run("good"))))
    put(Path("logs", name), gzip.compress(lines(*(run(f"r{number}") for number in range(50))))[:-20])
    report = run_batch(["logs"], BatchOptions())
    assert (report.exit_code, report.metrics.counts.invalid) == (3, 1)


def test_a_cut_copy_named_alone_is_reported() -> None:
    put_log("a.jsonl.1", run("r"))
    put(Path("logs/a.jsonl.1.gz"), gzip.compress(lines(run("r")))[:20])
    assert run_batch(["logs/a.jsonl.1.gz"], BatchOptions()).exit_code == 3


def test_files_with_unknown_suffixes_are_named_everywhere() -> None:
    put_log("a.jsonl", run("r"))
    for name in ("agent.log", "agent.log.1", "notes.txt"):
        put(Path("logs", name), b"some text\n")
    sentence = "Skipped 3 files with unknown suffixes: .log (2), .txt (1).\n"
    suffixes = {".log": 2, ".txt": 1}
    assert sentence in invoke("run", "--dry-run", "logs")
    assert sentence in invoke("validate", "logs")
    assert sentence in invoke("run", "logs")
    assert json.loads(Path("out/metrics.json").read_text())["unknown_suffixes"] == suffixes
    assert f"Note: {sentence}" in invoke("report")
    for words in (("run", "logs", "--json"), ("run", "-n", "logs", "--json"), ("validate", "logs", "--json")):
        summary = json.loads(invoke(*words).splitlines()[-1])
        assert summary["unknown_suffixes"] == suffixes, words
    assert json.loads(invoke("report", "--format", "json"))["unknown_suffixes"] == suffixes


def test_one_file_with_an_unknown_suffix_is_named_in_the_singular() -> None:
    put_log("a.jsonl", run("r"))
    put(Path("logs/Makefile"), b"")
    assert "Skipped 1 file with an unknown suffix: (none) (1).\n" in invoke("run", "logs")


def test_no_more_than_a_few_suffixes_are_named() -> None:
    put_log("a.jsonl", run("r"))
    for number in range(30):
        put(Path(f"logs/x.s{number:02}"), b"")
    found = run_batch(["logs"], BatchOptions()).metrics.unknown_suffixes
    assert (len(found), sum(found.values()), found["(other)"]) == (21, 30, 10)


def test_shards_tell_the_skipped_files_once() -> None:
    put_log("a.jsonl", *(run(f"r{number}", taskId=f"t{number}") for number in range(9)))
    put(Path("logs/agent.log"), b"")
    for shard in ("1/2", "2/2"):
        invoke("run", "logs", "--shard", shard)
    invoke("merge-metrics", "out/metrics-1-of-2.json", "out/metrics-2-of-2.json", "-o", "all.json")
    assert json.loads(Path("all.json").read_text())["unknown_suffixes"] == {".log": 1}


def test_what_logrotate_makes_of_a_log_is_read_whole(tool: Callable[[str], str]) -> None:
    """Nights of the real program: nothing it leaves is skipped, and no run is missing."""
    logrotate = tool("logrotate")
    Path("logs").mkdir()
    Path("logs").chmod(0o755)
    for index, extra in enumerate(("compress", "compress\ndelaycompress", "", "compress\nnodateext")):
        log = Path("logs").absolute() / f"app{index}.jsonl"
        Path("conf").write_text(f"{log} {{\nrotate 9\nmissingok\nnocreate\n{extra}\n}}\n")
        Path("conf").chmod(0o644)
        for night in range(4):
            log.write_bytes(lines(run(f"{index}-{night}"), run("last", taskId=f"app{index}", night=night)))
            subprocess.run([logrotate, "-f", "-s", "state", "conf"], check=True)
    report = run_batch(["logs"], BatchOptions())
    assert (report.exit_code, report.metrics.counts.persisted) == (0, 4 * 4 + 4)
    assert report.metrics.unknown_suffixes == {}
    for index in range(4):
        assert json.loads(Path(f".runs/app{index}/last/manifest.json").read_text())["night"] == 3
