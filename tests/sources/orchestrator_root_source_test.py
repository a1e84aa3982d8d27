"""A root in which the orchestrator itself has run, as a source: what of it is read, and what never."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.engine import await_tick, tree
from support.scans import lines, put, run, scan, text

from batchpersist.batch.run import run_batch
from batchpersist.cli.main import cli
from batchpersist.contract.runs_root import NOT_TASKS, SECRETS
from batchpersist.metrics.merge_partitions import merge_partitions, read_partition
from batchpersist.metrics.schema import PassedOver
from batchpersist.options import BatchOptions, FailurePolicy
from batchpersist.partition import Partition
from batchpersist.sources import walk as walking
from batchpersist.sources.source import Source
from batchpersist.sources.walk import Finding, folder_source, walk

CASE = Path(__file__).parents[2] / "fixtures" / "orchestrator-root"
OLD = "0099-old/2025-11-03T08-15-30-120Z-0f21ab77"
FIRST = "0101-alpha/cli/2026-12-01T11-55-05-845Z-4aae8f05"
FAILED = "0101-alpha/cli/2026-12-01T11-55-21-771Z-35c3f8e1"
EXEC = "0101-alpha/cli/2026-12-01T11-55-24-614Z-3c5df3a2"
BETA = "0102-beta/cli/2026-12-01T11-55-14-064Z-65c9d536"
UNDER_WAY = "0102-beta/cli/2026-12-01T11-55-16-918Z-d32008ea"
SUMMARIES = {f"{name}/run-summary.json" for name in (FIRST, FAILED, EXEC, BETA)}
FILES = {*SUMMARIES, f"{OLD}/manifest.json"}
RUNS = {name.rpartition("/")[2] for name in (OLD, FIRST, FAILED, BETA)}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the fixture as ``.runs`` in a repository, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(CASE / "source", tmp_path / ".runs", symlinks=True)
    return tmp_path / ".runs"


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words], catch_exceptions=False)


def summary_of(result: Result) -> dict[str, Any]:
    return json.loads(result.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def options(place: str = "elsewhere", **more: Any) -> BatchOptions:
    return BatchOptions(out_dir=f"{place}/out", runs_dir=f"{place}/runs", **more)


def found(*sources: Path | str) -> set[str]:
    """The files of the runs in sources, from their root down; nothing in them may be invalid."""
    scanned = scan(Path("spool"), *sources)
    assert scanned.rejects == []
    return {re.sub(r".*?((?:[^/]+/cli|0099-old)/[^/]+/[^/]+)$", r"\1", row.name) for row in scanned.rows}


RUN_FILES = FILES - {f"{EXEC}/run-summary.json"}


def test_run_without_sources_takes_the_runs_dir_that_is_a_root() -> None:
    first, second = invoke("run"), invoke("run")
    for result in (first, second):
        assert result.exit_code == 0
        assert "reading the orchestrator's root .runs" in result.stderr
    assert first.stdout.splitlines()[-1] == "Done: 4 persisted. Nothing failed."
    assert second.stdout.splitlines()[-1] == "Done: 0 persisted, 4 unchanged. Nothing failed."
    assert snapshots(".") == tree(CASE / "expected" / "out")


def test_a_quiet_run_without_sources_says_nothing() -> None:
    result = invoke("run", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_run_without_sources_refuses_other_folders_as_its_root(root: Path) -> None:
    for summary in [*root.glob("*/cli/*/run-summary.json"), *root.glob("*/cli/*/.heartbeat")]:
        summary.unlink()
    result = invoke("run")
    assert result.exit_code == 2
    assert "Missing argument 'SOURCES...'" in result.stderr
    assert "and .runs is not." in result.stderr
    assert not Path("out").exists()


def test_the_manifests_become_the_summaries_and_nothing_else_changes(root: Path) -> None:
    before = tree(root)
    assert invoke("run", ".runs").exit_code == 0
    after = {name: data for name, data in tree(root).items() if not name.startswith(".batchpersist/")}
    assert after == before | tree(CASE / "expected" / "runs")
    assert before.keys() == after.keys()


OPENED = re.compile(r'^open\w*\((?:\S+, )?"([^"]*)".* = \d+$', re.MULTILINE)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_secret_is_touched_and_nothing_but_runs_is_opened(
    root: Path, tool: Callable[[str], str], workers: str
) -> None:
    for secret in SECRETS:
        for run_folder in root.glob("*/cli/*/"):
            put(run_folder / secret, b"placeholder")
    command = [sys.executable, "-m", "batchpersist", "run", str(root), "--no-cache", "-j", workers]
    roots = ["--pool-threshold", "0", "--out-dir", "elsewhere/out", "--runs-dir", "elsewhere/runs"]
    trace = [tool("strace"), "-ff", "-qq", "-s", "4096", "-o", "log", "-e", "trace=%file"]
    subprocess.run([*trace, *command, *roots], check=True, capture_output=True)
    log = "".join(path.read_text() for path in Path().glob("log.*"))  # of each thread, so that no line is cut
    assert not [secret for secret in SECRETS if secret in log]
    paths = {os.path.relpath(path, root) for path in OPENED.findall(log)}
    below = {path for path in paths if not path.startswith("..")}
    folders = {".", "0099-old", "0101-alpha", "0101-alpha/cli", "0102-beta", "0102-beta/cli"}
    assert below == FILES | folders


def test_skipped_files_are_counted_in_every_report() -> None:
    batch = invoke("run", ".runs", "--json", "--out-dir", "a")
    passed_over = {"other_events": 1, "other_manifests": 0, "ignored_files": 0, "incomplete": 1}
    assert summary_of(batch)["passed_over"] == passed_over
    assert json.loads(Path("a/metrics.json").read_bytes())["passed_over"] == passed_over
    assert summary_of(invoke("validate", ".runs", "--json"))["passed_over"] == passed_over
    assert summary_of(invoke("run", "--dry-run", "--json"))["incomplete"] == 1
    words = "1 run folder without a run-summary.json (incomplete)."
    for command in (["run"], ["run", "--dry-run"], ["report", "--format", "text"]):
        assert words in invoke(*command).stdout
    assert "1 incomplete run passed over" in invoke("validate", ".runs").stdout
    assert invoke("report", "-o", "report.html").exit_code == 0
    assert words in Path("report.html").read_text()


def test_a_run_folder_without_a_summary_leaves_its_manifest(root: Path) -> None:
    (root / f"{FIRST}/run-summary.json").unlink()
    scanned = scan(Path("spool"), root)
    assert {row.run_id for row in scanned.rows} == RUNS
    assert (scanned.incomplete, scanned.other_events, scanned.rejects) == (2, 1, [])


def test_a_summary_and_a_manifest_of_one_run_are_one_run(root: Path) -> None:
    report = run_batch([str(root)], options())
    assert (report.metrics.counts.discovered, report.metrics.counts.superseded) == (4, 0)
    summary = json.loads((root / f"{FIRST}/run-summary.json").read_bytes())
    assert "usageKpi" in summary
    manifest = Path("elsewhere/runs") / FIRST.replace("/cli/", "/") / "manifest.json"
    assert json.loads(manifest.read_bytes()) == summary


def test_a_damaged_summary_is_invalid_and_named(root: Path) -> None:
    (root / f"{FIRST}/run-summary.json").write_bytes(b'{"taskId":')
    (reject,) = scan(Path("spool"), root).rejects
    assert reject.source == str(root / f"{FIRST}/run-summary.json")


def test_manifests_of_another_schema_are_skipped(root: Path) -> None:
    put(root / "0099-old/r2/manifest.json", text({"schema_version": 1, "run_id": "r2"}))
    assert (scan(Path("spool"), root).rejects, scan(Path("spool"), root).other_manifests) == ([], 1)


def test_folders_that_cannot_be_listed_are_invalid(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> Any:
        if str(path).endswith("0102-beta/cli"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)
    scanned = scan(Path("spool"), root)
    (reject,) = scanned.rejects
    assert (reject.source, reject.failure.detail) == (f"{root}/0102-beta", f"{root}/0102-beta/cli")
    assert len(scanned.rows) == 3


@pytest.mark.parametrize(
    ("source", "runs"),
    [
        (".runs/0101-alpha", {FIRST, FAILED}),
        (".runs/0101-alpha/cli", {FIRST, FAILED}),
        (f".runs/{FIRST}", {FIRST}),
        (f".runs/{EXEC}", set()),
        (f".runs/{UNDER_WAY}", set()),
        (".runs/local-mcp", set()),
        (".runs/", {FIRST, FAILED, BETA, OLD}),
        ("link", {FIRST, FAILED, BETA, OLD}),
    ],
)
def test_any_folder_of_a_root_may_be_named(root: Path, source: str, runs: set[str]) -> None:
    os.symlink(root, "link")
    assert {name.rpartition("/")[0] for name in found(source)} == runs


def test_a_glob_of_all_tasks_gives_what_the_root_gives(root: Path) -> None:
    assert found(*sorted(root.glob("*"))) == found(root) == RUN_FILES


def test_what_lies_beside_the_tasks_is_not_a_task(root: Path) -> None:
    for name in NOT_TASKS:
        put(root / name / "r1/manifest.json", text(run("r1")))
        put(root / name / "cli/control-host/run-summary.json", text(run("r2")))
    put(root / "0102-beta.lock", b"")
    assert found(root) == RUN_FILES
    assert [found(root / name) for name in NOT_TASKS] == [set()] * len(NOT_TASKS)


def test_a_copy_is_recognised_wherever_it_lies(root: Path) -> None:
    for name in ("monday", "tuesday"):
        shutil.copytree(root, Path("backups") / "of 2026" / name)  # links become files
    put(Path("backups/log.jsonl"), lines(run("beside")))
    for source in ("backups", "backups/of 2026"):
        assert found(source) - {"backups/log.jsonl"} == RUN_FILES
    assert scan(Path("spool"), "backups").incomplete == 2


def test_several_roots_and_other_sources_are_read_together(root: Path) -> None:
    shutil.copytree(root, "copy", symlinks=True)
    put(Path("log.jsonl"), lines(run("beside")))
    report = run_batch([".runs", "log.jsonl", "copy"], options())
    counts, passed_over = report.metrics.counts, report.metrics.passed_over
    assert (counts.discovered, counts.superseded, counts.persisted) == (9, 4, 5)
    assert (passed_over.incomplete, passed_over.other_events) == (2, 2)


def test_a_task_that_is_called_cli_is_a_task() -> None:
    runs = [run(f"r{n}", taskId=task) for n, task in enumerate(("cli", "cli", "search"))]
    put(Path("runs.jsonl"), lines(*runs))
    run_batch(["runs.jsonl"], options())
    again = run_batch(["elsewhere/runs"], options("again"))
    assert (again.metrics.counts.persisted, again.metrics.counts.invalid) == (3, 0)
    assert tree(Path("again/out")).keys() == tree(Path("elsewhere/out")).keys()


def test_a_task_that_is_called_cli_is_a_task_in_a_root_too(root: Path) -> None:
    put(root / "cli/cli/r1/run-summary.json", text(run("r1", taskId="cli")))
    put(root / "cli/r0/manifest.json", text(run("r0", taskId="cli")))
    assert {row.run_id for row in scan(Path("spool"), root).rows} == RUNS | {"r0", "r1"}


def test_a_folder_cli_of_json_files_is_a_folder() -> None:
    for name in ("a.json", "2026/b.json", "2026/events.jsonl", "2026/runner.ndjson"):
        put(Path("logs/cli") / name, text(run(name.rpartition("/")[2])))
    for source in ("logs", "logs/cli", "logs/cli/2026"):
        assert "events.jsonl" in {row.run_id for row in scan(Path("spool"), source).rows}
    assert len(scan(Path("spool"), "logs").rows) == 4


def test_secrets_are_skipped_in_any_folder() -> None:
    for name in ("control_auth.json", "delegation_tokens.json"):
        put(Path("logs") / name, text(run("secret")))
    put(Path("logs/a.json"), text(run("a")))
    scanned = scan(Path("spool"), "logs")
    assert (scanned.run_ids, scanned.ignored_files) == (["a"], 2)


@pytest.mark.parametrize("name", ["control_auth.json", "delegation_tokens.json", ".resume-token"])
def test_a_secret_is_not_opened_even_if_it_is_named(root: Path, name: str) -> None:
    put(root / FIRST / name, text(run("secret")))
    result = invoke("run", f".runs/{FIRST}/{name}")
    assert (result.exit_code, Path("out").exists()) == (2, False)


@pytest.mark.parametrize("link", ["0101-alpha", "0101-alpha/cli", FIRST])
def test_a_link_to_run_folders_elsewhere_is_invalid_and_not_followed(root: Path, link: str) -> None:
    shutil.move(root / link, "elsewhere")
    (root / link).symlink_to(Path("elsewhere").absolute())
    (reject,) = scan(Path("spool"), ".runs").rejects
    assert (reject.source, reject.line) == (f".runs/{link}", 0)
    assert "a link to a folder of runs, which is not followed" in reject.failure.message
    assert invoke("run", ".runs").exit_code == 3


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.parametrize("source", [".runs", f".runs/{FIRST}"])
def test_what_is_not_a_file_in_place_of_a_summary_is_invalid(
    root: Path, make: Callable[[Path], None], source: str
) -> None:
    summary = root / FIRST / "run-summary.json"
    summary.unlink()
    make(summary)
    (reject,) = scan(Path("spool"), source).rejects
    assert (reject.source, reject.line) == (f".runs/{FIRST}/run-summary.json", 0)
    assert "stands in the place of a run's file" in reject.failure.message


def test_a_link_that_stays_in_its_folder_is_skipped(root: Path) -> None:
    (root / "0101-alpha/cli/latest").symlink_to(FIRST.rpartition("/")[2])
    (root / "alias").symlink_to("0101-alpha")
    assert found(root) == RUN_FILES


def test_runs_of_a_root_are_selected(root: Path) -> None:
    result = invoke("run", ".runs", "--json", "--task", "0102-*")
    counts = summary_of(result)["counts"]
    assert (counts["discovered"], counts["filtered"], counts["persisted"]) == (4, 3, 1)


def test_a_dry_run_and_a_validation_change_nothing(root: Path) -> None:
    before = tree(root)
    dry = summary_of(invoke("run", "--dry-run", "--json"))
    assert (dry["new"], dry["changed"], dry["unchanged"], dry["invalid"]) == (0, 4, 0, 0)
    assert summary_of(invoke("validate", ".runs", "--json"))["selected"] == 4
    assert tree(root) == before
    assert not Path("out").exists()


def test_the_cache_knows_the_files_of_a_root(root: Path) -> None:
    await_tick()
    run_batch([".runs"], options())
    again = run_batch([".runs"], options())
    assert again.metrics.timing.cached_sources == len(FILES)
    assert again.metrics.counts.unchanged == 4
    passed_over = PassedOver(other_events=1, other_manifests=0, ignored_files=0, incomplete=1)
    assert again.metrics.passed_over == passed_over


def test_a_run_that_completes_later_is_persisted_then(root: Path) -> None:
    run_batch([".runs"], options())
    task, _, run_id = UNDER_WAY.split("/")
    put(root / f"{UNDER_WAY}/run-summary.json", text(run(run_id, taskId=task)))
    report = run_batch([".runs"], options())
    assert (report.metrics.counts.persisted, report.metrics.counts.unchanged) == (1, 4)
    assert report.metrics.passed_over.incomplete == 0


def test_an_interrupted_batch_of_a_root_is_resumed(root: Path) -> None:
    for number in range(300):
        put(root / f"0102-beta/cli/r{number}/run-summary.json", text(run(taskId=f"t{number}")))
    watched = options(failure_policy=FailurePolicy(limit=100))  # makes for many small shards
    calls = iter(range(10**9))
    first = run_batch([".runs"], watched, should_stop=lambda: next(calls) > 3)
    assert first.state == "interrupted"
    second = run_batch([".runs"], watched)
    assert (second.state, second.metrics.parts) == ("finished", 2)
    counts = second.metrics.counts
    assert (counts.both_ok, counts.resumed > 0) == (304, True)
    run_batch([".runs"], options("whole"))
    assert snapshots("elsewhere") == snapshots("whole")


def test_shards_of_a_root_do_together_what_one_batch_does(root: Path) -> None:
    for number in (1, 2):
        run_batch([".runs"], options(partition=Partition(number, 2)))
    merged = merge_partitions(
        [read_partition(str(path)) for path in Path("elsewhere/out").glob("metrics*.json")]
    )
    assert (merged.counts.persisted, merged.passed_over.incomplete) == (4, 1)
    run_batch([".runs"], options("whole"))
    assert snapshots("elsewhere") == snapshots("whole")


def snapshots(place: str) -> dict[str, bytes]:
    return {name: data for name, data in tree(Path(place) / "out").items() if name.endswith("runs.json")}


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_walk_of_a_root_may_be_cut_short_and_taken_up_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    for number in range(7):
        put(root / f"0101-alpha/cli/r{number}/run-summary.json", text(run(f"r{number}")))
        put(root / f"0101-alpha/cli/way{number}/.heartbeat", b"")
        put(root / f"0101-alpha/way{number}/manifest.json", text(run(f"way{number}")))
    whole = list(map(name_of, walk([folder_source(str(root), "src")])))
    monkeypatch.setattr(walking, "UNSEEN_FILES", 2)
    left: list[Finding] = [folder_source(str(root), "src")]
    taken: list[object] = []
    while left:
        findings = list(walk(left, limit))  # type: ignore[arg-type]
        taken += map(name_of, findings[:limit])
        left = findings[limit:]
    assert taken == whole


def name_of(finding: Finding) -> object:
    return finding.name if isinstance(finding, Source) else finding


def test_a_repository_is_read_with_the_hidden_root_in_it(root: Path) -> None:
    backup = root.parent / "backup" / "repository"
    shutil.copytree(root, backup / ".runs", symlinks=True)
    shutil.rmtree(backup / ".runs" / "local-mcp")
    (backup / ".git" / "cli" / "x").mkdir(parents=True)
    (backup / ".git" / "config.json").write_text("not a source")
    put(backup / "more.jsonl", lines(run("logged")))
    for source in ("backup", "backup/repository"):
        counts = summary_of(invoke("run", source, "--json", "--out-dir", "o", "--runs-dir", "r"))["counts"]
        assert (counts["selected"], counts["invalid"]) == (len(RUNS) + 1, 0)
