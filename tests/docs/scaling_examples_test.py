"""The examples of docs/scaling.md for schedulers: each runs as its scheduler would run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.engine import run, tree
from support.model import persist
from support.pages import Example, examples

RUNS = [run(f"task-{n % 20}", n % 60, note=n) for n in range(60)]
BLOCKS = [example for example in examples("docs/scaling.md") if example.language in ("bash", "yaml")]


def block(word: str) -> Example:
    (found,) = [example for example in BLOCKS if word in example.text]
    return found


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder in the role of the file system that all machines share."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "runs.jsonl").write_text("".join(json.dumps(item) + "\n" for item in RUNS))
    return tmp_path


def execute(script: str, shared: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a shell, with the path of the shared file system replaced."""
    bin_folder = os.path.dirname(sys.executable)
    return subprocess.run(
        ["bash", "-euc", script.replace("/shared", str(shared))],
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def check_persisted(shared: Path) -> None:
    persist(RUNS, shared / "model" / "out", shared / "model" / "runs")
    found = {name: data for name, data in tree(shared).items() if not name.startswith("out/metrics")}
    expected = {name: data for name, data in found.items() if name.startswith("model/")}
    assert {
        f"model/{name}": data for name, data in found.items() if name.startswith(("out/", "runs/"))
    } == expected
    merged = execute(block("merge-metrics").text.replace("-of-8", "-of-2"), shared)
    assert merged.returncode == 0, merged.stderr
    counts = json.loads((shared / "out" / "metrics.json").read_text())["counts"]
    assert (counts["discovered"], counts["persisted"], counts["other_shards"]) == (60, 60, 0)


def test_slurm_array_persists_all_partitions(shared: Path) -> None:
    script = block("#SBATCH").text
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", script, re.MULTILINE))
    assert script.startswith("#!/bin/bash\n#SBATCH"), "directives come first"
    assert directives["array"].startswith("1-"), "partitions count from 1"
    for number in ("1", "2"):  # an array of two: eight would take too long
        result = execute(
            script,
            shared,
            SLURM_ARRAY_TASK_ID=number,
            SLURM_ARRAY_TASK_COUNT="2",
            SLURM_CPUS_PER_TASK="1",
        )
        assert result.returncode == 0, result.stderr
    check_persisted(shared)


def test_kubernetes_job_persists_all_partitions(shared: Path) -> None:
    job: dict[str, Any] = yaml.safe_load(block("kind: Job").text)
    spec = job["spec"]
    assert (job["apiVersion"], spec["completionMode"]) == ("batch/v1", "Indexed")
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c"]
    (script,) = container["args"]
    assert f'/{spec["completions"]}"' in script, "as many partitions as indices"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"]: "/shared" for volume in spec["template"]["spec"]["volumes"]}
    small = script.replace(f'/{spec["completions"]}"', '/2"').replace("--workers 4", "--workers 1")
    for index in ("0", "1"):
        result = execute(small, shared, JOB_COMPLETION_INDEX=index)
        assert result.returncode == 0, result.stderr
    check_persisted(shared)


def test_permanent_exit_codes_are_not_retried() -> None:
    """All codes of the README except those of an interruption or of another running batch."""
    (rule,) = yaml.safe_load(block("kind: Job").text)["spec"]["podFailurePolicy"]["rules"]
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    codes = {int(code): words for code, words in re.findall(r"^\| (\d+) \| (.+) \|$", readme, re.MULTILINE)}
    temporary = {1, 11, 12, 130, 143}
    of_other_commands = {0, 5}
    assert set(rule["onExitCodes"]["values"]) == codes.keys() - temporary - of_other_commands
