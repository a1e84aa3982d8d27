"""Each case in fixtures/ is a test; CONTRIBUTING.md explains how to add one."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from support.javascript import JavaScript, needs_node

from batchpersist.cli.main import cli

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
CASES = sorted(path.parent.name for path in FIXTURES.glob("*/case.json"))
MEMBERS = {"description", "sources", "args", "exit_code", "counts", "errors"}


def read_case(case: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((FIXTURES / case / "case.json").read_bytes())
    assert described.keys() <= MEMBERS, "case.json has a member that no test checks"
    return described


def output_files(root: Path) -> dict[str, Path]:
    """Snapshots, manifests and the files beside them, by relative path."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    own = ("out/metrics.json", "runs/.batchpersist/")
    return {name: path for name, path in sorted(files.items()) if not name.startswith(own)}


def contents(root: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in output_files(root).items()}


def file_versions(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each file: they change whenever a file is rewritten."""
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in output_files(root).items()}


def command_line(case: str, root: Path, workers: int) -> list[str]:
    described = read_case(case)
    sources = [str(FIXTURES / case / name) for name in described.get("sources", ["source"])]
    roots = ["--out-dir", str(root / "out"), "--runs-dir", str(root / "runs")]
    how = ["--quiet", "--pool-threshold", "0", "-j", str(workers)]
    return ["run", *sources, *roots, *how, *described.get("args", [])]


def run_in_process(case: str, root: Path) -> int:
    """Run a case in this process with one worker; returns the exit code."""
    command = [*command_line(case, root, workers=1), "--durability", "none"]
    return CliRunner().invoke(cli, command, catch_exceptions=False).exit_code


def run_pool(case: str, root: Path) -> int:
    """Run a case as a command with a pool of two workers; returns the exit code."""
    command = [sys.executable, "-m", "batchpersist", *command_line(case, root, workers=2)]
    return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode


def counts_of(root: Path) -> dict[str, int]:
    metrics = json.loads((root / "out" / "metrics.json").read_bytes())
    return {**metrics["counts"], **metrics["passed_over"]}


def causes_of(root: Path) -> list[dict[str, str]]:
    errors = json.loads((root / "out" / "metrics.json").read_bytes())["errors"]
    return [{name: error[name] for name in ("stage", "type", "message")} for error in errors]


@pytest.mark.parametrize("run", [run_in_process, run_pool])
@pytest.mark.parametrize("case", CASES)
def test_case_writes_its_expected_trees(case: str, run: Any, tmp_path: Path) -> None:
    before, described = FIXTURES / case / "before", read_case(case)
    if before.exists():
        shutil.copytree(before, tmp_path, dirs_exist_ok=True, copy_function=shutil.copyfile)

    assert run(case, tmp_path) == described["exit_code"]
    assert contents(tmp_path) == contents(FIXTURES / case / "expected")
    first, causes = counts_of(tmp_path), causes_of(tmp_path)
    assert {name: first[name] for name in described["counts"]} == described["counts"]
    assert [cause for cause in described.get("errors", []) if cause not in causes] == []

    before_rerun = file_versions(tmp_path)
    assert run_in_process(case, tmp_path) == described["exit_code"]
    again = counts_of(tmp_path)
    assert again == {**first, "persisted": 0, "unchanged": first["persisted"] + first["unchanged"]}
    assert file_versions(tmp_path) == before_rerun, "the second run wrote something"


def test_fixtures_equal_their_declarations(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(FIXTURES / "make.py"), "--into", str(tmp_path)], check=True)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert set(made) <= set(CASES)
    for case in made:
        assert unpack_case(FIXTURES / case) == unpack_case(tmp_path / case)


def unpack_case(case: Path) -> dict[str, Any]:
    """The files of a case, unpacked: the bytes of a container depend on the version of its library."""
    files = {path.relative_to(case).as_posix(): path for path in case.rglob("*") if path.is_file()}
    return {name: unpack(path) for name, path in sorted(files.items())}


def unpack(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            return stream.read()
    return pq.read_table(path).to_pydict() if path.suffix == ".parquet" else path.read_bytes()


UNLIKE_JAVASCRIPT = """(paths) => paths.filter((path) => {
  const text = require("node:fs").readFileSync(path, "utf8");
  return JSON.stringify(JSON.parse(text), null, 2) !== text;
})"""


@needs_node
def test_expected_texts_equal_those_of_javascript() -> None:
    """Except tasks named beyond-javascript, and files that a batch must not change."""
    unchanged = {path.read_bytes() for path in FIXTURES.glob("*/before/**/*") if path.is_file()}
    paths = [
        str(path)
        for path in FIXTURES.glob("*/expected/**/*.json")
        if "beyond-javascript" not in path.parts and path.read_bytes() not in unchanged
    ]
    assert len(paths) > 100
    with JavaScript(UNLIKE_JAVASCRIPT) as unlike:
        assert unlike(paths) == []
