"""What bash, zsh and fish complete, run by these shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchpersist.cli.main import cli

BIN = Path(sys.executable).parent
CLEAR_LINE = b"\x15"
BATCH = "20260131T040506789Z-3f9a1c"

CASES = [
    ("batchpersist complet", "completion"),
    ("batchpersist completion z", "zsh"),
    ("batchpersist run --durab", "--durability"),
    ("batchpersist run --durability ba", "batch"),
    ("batchpersist run ni", "nights.jsonl"),
    ("batchpersist run --out-dir ni", "nights.jsonl"),
    ("batchpersist config sh", "show"),
    ("batchpersist status 2026", BATCH),
    ("batchpersist retry lat", "latest"),
    ("batchpersist locks unlock bil", "billing"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nights.jsonl").touch()
    batch = tmp_path / ".runs/.batchpersist/batches" / BATCH
    batch.mkdir(parents=True)
    (batch / "batch.json").touch()
    (tmp_path / ".runs/billing.lock").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))


def need(shell: str) -> None:
    if not shutil.which(shell) or not (BIN / "batchpersist").exists():
        pytest.skip(f"NO {shell}, or the command is not installed: its completion is not tried")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_printed(shell: str) -> None:
    script = CliRunner().invoke(cli, ["completion", shell], catch_exceptions=False).stdout
    assert "_BATCHPERSIST_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("shell", "options", "before"),
    [
        ("bash", ["--norc", "--noprofile", "-i"], ""),
        ("zsh", ["--no-rcs", "--interactive"], "autoload -Uz compinit && compinit -D -u"),
    ],
)
def test_bash_and_zsh_complete_at_the_prompt(shell: str, options: list[str], before: str) -> None:
    """With the tabulator, for they complete nowhere else."""
    need(shell)
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "dumb"}
    process = subprocess.Popen(
        [shell, *options], stdin=end, stdout=end, stderr=end, env=environment, start_new_session=True
    )
    os.close(end)
    try:
        os.write(terminal, f'{before}\neval "$(batchpersist completion {shell})"; echo rea""dy\n'.encode())
        read_until("ready\r\n", terminal)
        for line, word in CASES:
            os.write(terminal, f"{line}\t".encode())
            read_until(f"{line.rpartition(' ')[0]} {word} ", terminal)
            os.write(terminal, CLEAR_LINE)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def read_until(awaited: str, terminal: int) -> None:
    """Fails, with what has been read, if it does not come."""
    text = ""
    while awaited not in text:
        readable, _, _ = select.select([terminal], [], [], 60)
        assert readable, f"{awaited!r} does not come after {text!r}"
        text += os.read(terminal, 4096).decode()


@pytest.mark.parametrize(("line", "word"), CASES)
def test_fish_completes(line: str, word: str) -> None:
    need("fish")
    script = f'batchpersist completion fish | source; complete --do-complete "{line}"'
    result = subprocess.run(["fish", "-c", script], capture_output=True, text=True, check=True)
    assert [each.split("\t")[0] for each in result.stdout.splitlines()] == [word], result.stderr
