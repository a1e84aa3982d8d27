"""Every case in fixtures/ is a test; CONTRIBUTING.md tells how to add one."""

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

from batchpersist.cli.main import cli

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
CASES = sorted(path.parent.name for path in FIXTURES.glob("*/case.json"))
MEMBERS = {"description", "sources", "args", "exit_code", "counts", "errors"}


def describe(case: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((FIXTURES / case / "case.json").read_bytes())
    assert described.keys() <= MEMBERS, "an unknown member in case.json would check nothing"
    return described


def found(root: Path) -> dict[str, Path]:
    """Snapshots, manifests, and what lies beside them, by relative path."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    own = ("out/metrics.json", "runs/.batchpersist/")
    return {name: path for name, path in sorted(files.items()) if not name.startswith(own)}


def contents(root: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in found(root).items()}


def versions(root: Path) -> dict[str, tuple[int, int]]:
    """What changes whenever a file is written anew."""
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in found(root).items()}


def command_line(case: str, root: Path, workers: int) -> list[str]:
    described = describe(case)
    sources = [str(FIXTURES / case / name) for name in described.get("sources", ["source"])]
    roots = ["--out-dir", str(root / "out"), "--runs-dir", str(root / "runs")]
    how = ["--quiet", "--pool-threshold", "0", "-j", str(workers)]
    return ["run", *sources, *roots, *how, *described.get("args", [])]


def run_here(case: str, root: Path) -> int:
    """One worker, in this process."""
    command = [*command_line(case, root, workers=1), "--durability", "none"]
    return CliRunner().invoke(cli, command, catch_exceptions=False).exit_code


def run_beside(case: str, root: Path) -> int:
    """A program of its own with a pool of two workers."""
    command = [sys.executable, "-m", "batchpersist", *command_line(case, root, workers=2)]
    return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode


def counts_of(root: Path) -> dict[str, int]:
    metrics = json.loads((root / "out" / "metrics.json").read_bytes())
    return {**metrics["counts"], **metrics["passed_over"]}


def causes_of(root: Path) -> list[dict[str, str]]:
    errors = json.loads((root / "out" / "metrics.json").read_bytes())["errors"]
    return [{name: error[name] for name in ("stage", "type", "message")} for error in errors]


@pytest.mark.parametrize("run", [run_here, run_beside])
@pytest.mark.parametrize("case", CASES)
def test_case(case: str, run: Any, tmp_path: Path) -> None:
    before, described = FIXTURES / case / "before", describe(case)
    if before.exists():
        shutil.copytree(before, tmp_path, dirs_exist_ok=True, copy_function=shutil.copyfile)

    assert run(case, tmp_path) == described["exit_code"]
    assert contents(tmp_path) == contents(FIXTURES / case / "expected")
    first, causes = counts_of(tmp_path), causes_of(tmp_path)
    assert {name: first[name] for name in described["counts"]} == described["counts"]
    assert [cause for cause in described.get("errors", []) if cause not in causes] == []

    stood = versions(tmp_path)
    assert run_here(case, tmp_path) == described["exit_code"]
    again = counts_of(tmp_path)
    assert again == {**first, "persisted": 0, "unchanged": first["persisted"] + first["unchanged"]}
    assert versions(tmp_path) == stood, "the second run wrote something"


def test_the_cases_are_what_their_declarations_make(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(FIXTURES / "make.py"), "--into", str(tmp_path)], check=True)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert set(made) <= set(CASES)
    for case in made:
        assert unpacked(FIXTURES / case) == unpacked(tmp_path / case)


def unpacked(case: Path) -> dict[str, Any]:
    """All files of a case; of containers what they hold, as their bytes differ from library to library."""
    files = {path.relative_to(case).as_posix(): path for path in case.rglob("*") if path.is_file()}
    return {name: unpack(path) for name, path in sorted(files.items())}


def unpack(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            return stream.read()
    return pq.read_table(path).to_pydict() if path.suffix == ".parquet" else path.read_bytes()


STRINGIFIED = """
const fs = require("node:fs");
for (const path of JSON.parse(fs.readFileSync(0, "utf8"))) {
  const text = fs.readFileSync(path, "utf8");
  if (JSON.stringify(JSON.parse(text), null, 2) !== text) console.log(path);
}
"""


@pytest.mark.skipif(
    shutil.which("node") is None, reason="NODE IS MISSING: expected trees are NOT CHECKED by it"
)
def test_what_is_expected_is_what_javascript_writes() -> None:
    """But for the tasks that are named beyond-javascript, and files that are to be left as they are."""
    left_alone = {path.read_bytes() for path in FIXTURES.glob("*/before/**/*") if path.is_file()}
    paths = [
        str(path)
        for path in FIXTURES.glob("*/expected/**/*.json")
        if "beyond-javascript" not in path.parts and path.read_bytes() not in left_alone
    ]
    assert len(paths) > 100
    result = subprocess.run(
        ["node", "-e", STRINGIFIED], input=json.dumps(paths), capture_output=True, text=True, check=True
    )
    assert result.stdout == ""
