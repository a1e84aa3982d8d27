"""The examples of docs/nightly: their readers accept them, and their commands work."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cronsim import CronSim, CronSimError
from support.engine import tree

from batchpersist.cli.config import tomllib
from batchpersist.cli.logfile import log_to

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "nightly"
SOURCE = ROOT / "fixtures" / "many-tasks" / "source"
PROGRAM = "/usr/local/bin/batchpersist"


def read(name: str) -> str:
    return (EXAMPLES / name).read_text("utf-8")


def needs(program: str) -> Any:
    return pytest.mark.skipif(
        shutil.which(program) is None,
        reason=f"NO {program.upper()}: an example of docs/nightly is NOT CHECKED",
    )


# The files, as systemd, cron, Kubernetes and GitHub read them


def test_page_shows_the_files() -> None:
    page = (ROOT / "docs" / "nightly.md").read_text("utf-8")
    shown = dict(re.findall(r"<!-- file: docs/nightly/(\S+) -->\n```\w+\n(.*?)```\n", page, re.DOTALL))
    assert sorted(shown) == sorted(path.name for path in EXAMPLES.iterdir())
    for name, text in shown.items():
        assert text == read(name), name


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units as installed, with the path of an existing program."""
    paths = []
    for name in ("batchpersist.service", "batchpersist.timer"):
        paths.append(tmp_path / name)
        paths[-1].write_text(read(name).replace(PROGRAM, sys.executable))
    return paths


def verify(units: list[Path]) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs("systemd-analyze")
def test_systemd_accepts_the_units(units: list[Path]) -> None:
    result = verify(units)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@needs("systemd-analyze")
def test_control_systemd_rejects_unknown_settings(units: list[Path]) -> None:
    units[0].write_text(units[0].read_text().replace("KillMode=mixed", "KillMood=mixed"))
    units[1].write_text(units[1].read_text().replace("01:30:00", "25:30:00"))
    complaints = verify(units).stderr
    assert "KillMood" in complaints
    assert "25:30:00" in complaints


def cron_entries() -> Iterator[tuple[str, str, str]]:
    """Time, user and command of each line of a file in /etc/cron.d (crontab(5))."""
    for line in read("batchpersist.cron").splitlines():
        if line and not line.startswith("#") and not re.match(r"\w+=", line):
            fields = line.split(maxsplit=6)
            yield " ".join(fields[:5]), fields[5], fields[6]


def test_cron_starts_the_batch_once_a_night() -> None:
    ((when, user, command),) = cron_entries()
    times = CronSim(when, datetime(2026, 1, 31))
    assert [next(times) for _ in range(2)] == [datetime(2026, 1, 31, 1, 30), datetime(2026, 2, 1, 1, 30)]
    assert (user, shlex.split(command)[:4]) == ("batchpersist", ["nice", "-n", "10", PROGRAM])
    assert "%" not in command  # cron treats it as the end of the line
    with pytest.raises(CronSimError):
        CronSim("30 25 * * *", datetime(2026, 1, 31))


def manifests() -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all(read("cronjob.yaml"))}


def pod() -> dict[str, Any]:
    template: dict[str, Any] = manifests()["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return template


def test_kubernetes_accepts_the_manifests() -> None:
    for document in manifests().values():
        kubernetes_validate.validate(document, "1.30", strict=True)
    next(CronSim(manifests()["CronJob"]["spec"]["schedule"], datetime(2026, 1, 31)))
    mounted = {mount["name"] for mount in pod()["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod()["volumes"]}


def test_control_kubernetes_rejects_an_unknown_field() -> None:
    document = manifests()["CronJob"]
    document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["hostnames"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.30", strict=True)


def check_workflow(path: Path) -> int:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        str(path),
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_github_accepts_the_workflow(tmp_path: Path) -> None:
    assert check_workflow(EXAMPLES / "github-actions.yml") == 0
    broken = tmp_path / "broken.yml"
    broken.write_text(read("github-actions.yml").replace("runs-on:", "runs-where:"))
    assert check_workflow(broken) != 0


# The commands

Prepare = Callable[[str], str]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """A folder like the machine of the examples; ``machine(text)`` replaces their paths by paths in it."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "batchpersist"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m batchpersist "$@"\n')
    program.chmod(0o755)
    (tmp_path / "log").mkdir()
    shutil.copy(EXAMPLES / "batchpersist-failed", tmp_path / "failed")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SENDMAIL", f"tee {tmp_path / 'mail'}")
    monkeypatch.chdir(tmp_path)
    places = {
        "/etc/batchpersist/batchpersist.toml": "pod.toml",
        "/etc/batchpersist.toml": "batchpersist.toml",
        "/usr/local/libexec/batchpersist-failed": "failed",
        PROGRAM: "bin/batchpersist",
        "/var/log/batchpersist": "log",
        "/var/lib/batchpersist": "lib",
        "/var/log/agents": str(SOURCE),
        '"/logs"': f'"{SOURCE}"',
        "/store": "store",
        "/data": "data",
    }

    def prepared(text: str) -> str:
        for place, here in places.items():
            quoted = place.startswith('"') or here.startswith("/")
            text = text.replace(place, here if quoted else str(tmp_path / here))
        return text

    (tmp_path / "batchpersist.toml").write_text(prepared(read("batchpersist.toml")))
    (tmp_path / "pod.toml").write_text(prepared(manifests()["ConfigMap"]["data"]["batchpersist.toml"]))
    return prepared


def unit_command() -> str:
    (command,) = re.findall(r"^ExecStart=(.*)$", read("batchpersist.service"), re.MULTILINE)
    return str(command)


def workflow_script() -> str:
    script: str = yaml.safe_load(read("github-actions.yml"))["jobs"]["persist"]["steps"][0]["run"]
    return script


COMMANDS = {
    "systemd": unit_command(),
    "cron": next(cron_entries())[2],
    "kubernetes": shlex.join(pod()["containers"][0]["command"]),
    "github": workflow_script(),
}


def shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-e", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", COMMANDS)
def test_example_command_persists_after_a_dry_run(kind: str, machine: Prepare, tmp_path: Path) -> None:
    command = machine(COMMANDS[kind])
    dry = re.sub(r"\brun\b", "run --dry-run", command)
    before = tree(tmp_path)
    result = shell(dry)
    assert result.returncode == 0, result.stderr
    assert kind == "cron" or "Dry run: 27 new, 0 changed, 0 unchanged." in result.stdout
    assert tree(tmp_path) == before
    result = shell(command)
    assert result.returncode == 0, result.stderr
    assert kind != "cron" or result.stdout == result.stderr == ""
    (manifest,) = tmp_path.rglob("billing-001/manifest.json")
    assert json.loads(manifest.read_bytes())["taskId"] == "billing"
    assert not (tmp_path / "mail").exists()


@pytest.mark.parametrize("kind", COMMANDS)
def test_empty_night_fails(kind: str, machine: Prepare, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in tmp_path.glob("*.toml"):
        path.write_text(path.read_text().replace(str(SOURCE), str(tmp_path / "empty")))
    command = machine(COMMANDS[kind]).replace(str(SOURCE), str(tmp_path / "empty"))
    result = shell(command)
    assert result.returncode == 3, result.stderr
    assert "No runs were found in the sources." in result.stdout + result.stderr


def test_error_in_the_options_file_is_mailed(machine: Prepare, tmp_path: Path) -> None:
    path = tmp_path / "batchpersist.toml"
    path.write_text(path.read_text().replace('"10%"', "10%"))
    assert shell(machine(COMMANDS["cron"])).returncode == 2
    assert (tmp_path / "mail").read_text().startswith("batchpersist ended with exit code 2 on ")


def test_batch_gets_the_values_of_the_options_file(machine: Prepare, tmp_path: Path) -> None:
    options = tomllib.loads(read("batchpersist.toml"))["profile"]["nightly"]["run"]
    assert shell(machine(unit_command())).returncode == 0
    config = json.loads((tmp_path / "lib/out/metrics.json").read_bytes())["config"]
    assert (config["max_duration"], config["wait"], config["max_failures"]) == (10_800, 600, "10%")
    assert options["max-duration"] == "3h"
    assert (tmp_path / "log/nightly.log").read_text().splitlines()[-1].endswith("INFO exit code 0")


def test_failures_are_mailed_but_not_a_time_out(machine: Prepare, tmp_path: Path) -> None:
    path = tmp_path / "batchpersist.toml"
    path.write_text(path.read_text().replace(str(SOURCE), str(ROOT / "fixtures/invalid-lines/source")))
    assert shell(machine(COMMANDS["cron"])).returncode == 4
    mail = (tmp_path / "mail").read_text()
    assert mail.startswith("batchpersist ended with exit code 4 on ")
    assert f"what failed under errors: {tmp_path / 'lib/out/metrics.json'}" in mail
    (tmp_path / "mail").unlink()
    path.write_text(path.read_text().replace("invalid-lines", "no-such-folder"))
    assert shell(machine(COMMANDS["cron"])).returncode == 10
    assert len((tmp_path / "mail").read_text().splitlines()) == 1
    (tmp_path / "mail").unlink()
    variables = {"BATCHPERSIST_EXIT_CODE": "12", "BATCHPERSIST_BATCH": "b"}
    subprocess.run([tmp_path / "failed", "metrics.json"], env={**os.environ, **variables}, check=True)
    assert not (tmp_path / "mail").exists()


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (12, 0), (3, 3), (10, 10)])
def test_workflow_fails_with_the_batch_except_for_a_time_out(
    code: int, expected: int, machine: Prepare, tmp_path: Path
) -> None:
    (tmp_path / "bin" / "batchpersist").write_text(f"#!/bin/sh\nexit {code}\n")
    result = shell(machine(workflow_script()))
    assert result.returncode == expected
    assert ("::notice::" in result.stdout) == (code == 12)


@needs("logrotate")
def test_logrotate_rotates_the_log_of_a_running_batch(machine: Prepare, tmp_path: Path) -> None:
    config = tmp_path / "logrotate.conf"
    config.write_text(machine(read("batchpersist.logrotate")))
    config.chmod(0o644)
    (tmp_path / "log").chmod(0o755)  # logrotate refuses a folder that others may write to
    with log_to(str(tmp_path / "log/nightly.log")) as log:
        log.info("before")
        subprocess.run(["logrotate", "--force", "--state", tmp_path / "state", config], check=True)
        log.info("after")
    before, after = ((tmp_path / "log" / name).read_text() for name in ("nightly.log.1", "nightly.log"))
    assert before.endswith("INFO before\n")
    assert after.endswith("INFO after\n")


def test_other_commands_find_the_roots_by_the_same_options(machine: Prepare, tmp_path: Path) -> None:
    night = machine(COMMANDS["cron"])
    assert shell(night).returncode == 0
    for command in ("status", "retry", "report", "audit"):
        result = shell(re.sub(r" run( --quiet)?$", f" {command}", night.strip()))
        assert result.returncode == 0, (command, result.stderr)
