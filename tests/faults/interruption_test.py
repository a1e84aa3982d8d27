"""Signals to a command that waits: it stops at once, and leaves no temporary files."""

from __future__ import annotations

import array
import fcntl
import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from support.engine import run

from batchpersist.locks.batch_lock import BatchLock
from batchpersist.paths import Layout

LONG = 60.0
"""Seconds after which a command has ignored the signal."""

Command = subprocess.Popen[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("tmp", "out", ".runs"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs.jsonl").write_text(lines(20))
    return tmp_path


def lines(count: int) -> str:
    return "".join(json.dumps(run(f"task-{n % 3}", n)) + "\n" for n in range(count))


@contextmanager
def started(words: str, **more: object) -> Iterator[Command]:
    """The command, in a process group of its own; it is killed at the end if it still runs."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    command = [sys.executable, "-m", "batchpersist", *words.split()]
    with subprocess.Popen(command, text=True, start_new_session=True, **streams) as process:  # type: ignore[call-overload]
        timer = threading.Timer(2 * LONG, process.kill)  # reading its output must end, too
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def feed(process: Command, text: str) -> None:
    """Write to standard input, which stays open, and wait until all of it was read."""
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()
    left = array.array("i", [1])

    def is_read() -> bool:
        fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, left)  # type: ignore[union-attr]
        return left[0] == 0

    wait_until(is_read)


def end(process: Command) -> tuple[int, str]:
    """Wait for the end without closing standard input; the exit code and standard error."""
    assert process.stderr is not None
    return process.wait(LONG), process.stderr.read()


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
@pytest.mark.parametrize("words", ["run -", "run - --dry-run", "validate -", "audit -", "compare -"])
def test_signal_stops_a_command_with_idle_standard_input(words: str, name: str) -> None:
    with started(words) as process:
        feed(process, lines(2))
        process.send_signal(signal.Signals[f"SIG{name}"])
        code, stderr = end(process)
    assert code == (130 if name == "INT" else 143), stderr
    assert "Traceback" not in stderr


def test_interrupted_standard_input_can_be_sent_again(folder: Path) -> None:
    with started("run runs.jsonl -") as process:
        feed(process, lines(30))
        process.send_signal(signal.SIGTERM)
        assert end(process)[0] == 143
    assert json.loads((folder / "out" / "metrics.json").read_bytes())["state"] == "interrupted"
    with started("run -") as process:
        assert process.communicate(lines(30), LONG)[1] is not None
        assert process.returncode == 0
    assert len(list((folder / ".runs").glob("*/*/manifest.json"))) == 30


@pytest.mark.parametrize("words", ["run", "run --dry-run", "validate", "audit"])
def test_signal_stops_the_decompression_of_a_large_file(folder: Path, words: str) -> None:
    """4 GB of it, of which nothing is used then."""
    (folder / "runs.jsonl.gz").write_bytes(gzip.compress(b"\n" * (64 << 20)) * 64)
    with started(f"{words} runs.jsonl.gz -j 1") as process:
        wait_until(lambda: [*folder.rglob("spool-*")])
        process.send_signal(signal.SIGTERM)
        code, stderr = end(process)
        sizes = [path.stat().st_size for path in folder.rglob("spool-*")]
    assert (code, sizes) == (143, []), stderr
    assert "Traceback" not in stderr
    if words == "run":
        metrics = json.loads((folder / "out" / "metrics.json").read_bytes())
        assert (metrics["state"], metrics["bytes"]["read"]) == ("interrupted", 0)


def test_hangup_of_the_process_group_prints_no_traceback(folder: Path) -> None:
    with started("run runs.jsonl - -j 2 --pool-threshold 0") as process:
        feed(process, lines(2))
        # The fork server, its helper and a worker.
        wait_until(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 3)
        os.killpg(process.pid, signal.SIGHUP)
        code, stderr = end(process)
    assert code == 143
    assert stderr.splitlines() == ["SIGHUP: settling what has begun; once more to stop at once"]


@pytest.mark.parametrize("words", ["run -", "run - --dry-run", "validate -", "audit -", "compare -"])
def test_reading_from_a_terminal_is_announced(words: str) -> None:
    ours, theirs = pty.openpty()
    with started(words, stdin=theirs) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Reading runs from this terminal")
        process.kill()
    os.close(ours)
    os.close(theirs)


def hears_signals(process: Command) -> bool:
    """Whether it has handlers of its own for them; that of SIGHUP is the last."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGHUP - 1) & 1)


NO_READER = "[ECANCELED] interrupted while it waited for a reader: pipe"


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
@pytest.mark.parametrize("words", ["run runs.jsonl --log-file pipe", "audit --combined pipe"])
def test_signal_stops_a_command_whose_pipe_has_no_reader(folder: Path, words: str, name: str) -> None:
    os.mkfifo("pipe")
    with started(words) as process:
        wait_until(lambda: hears_signals(process))
        process.send_signal(signal.Signals[f"SIG{name}"])
        code, stderr = end(process)
    assert code == (130 if name == "INT" else 143), stderr
    assert stderr.splitlines()[1:] == [f"Error: {NO_READER}"]
    assert os.listdir(".runs") == []


@pytest.mark.parametrize("option", ["--metrics pipe", "--outcomes pipe", "--prometheus-textfile pipe"])
def test_unread_report_is_named_after_a_signal(folder: Path, option: str) -> None:
    os.mkfifo("pipe")
    with started(f"run runs.jsonl --progress none {option}") as process:
        wait_until(lambda: len(list((folder / ".runs").glob("*/*/manifest.json"))) == 20)
        process.send_signal(signal.SIGTERM)
        code, stderr = end(process)
    assert (code, stderr.splitlines()[1:]) == (143, [f"Error: the report could not be written: {NO_READER}"])
    with started("status latest") as process:
        assert "exit code" not in process.communicate()[0]


def test_signal_stops_a_comparison_that_waits_for_a_reader(folder: Path) -> None:
    os.mkfifo("pipe")
    with started("compare runs.jsonl --modes paired,grouped -j1 --rounds 1 --warmup 0 -o pipe") as process:
        wait_until(lambda: len(os.listdir()) > EMPTY)
        wait_until(lambda: len(os.listdir()) == EMPTY)
        process.send_signal(signal.SIGTERM)
        code, stderr = end(process)
    assert (code, stderr.splitlines()[-1]) == (143, "Interrupted while it waited for a reader of pipe.")


EMPTY = len(["tmp", "out", ".runs", "runs.jsonl", "pipe"])
"""Without the scratch folder of a comparison."""


class HangingStorage(ThreadingHTTPServer):
    """An object storage that answers no request of one method; ``asked`` once there is one."""

    daemon_threads = True

    def __init__(self, method: str) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.method, self.asked, self.ended = method, threading.Event(), threading.Event()


class Answers(BaseHTTPRequestHandler):
    server: HangingStorage

    def do_GET(self) -> None:
        if self.command == self.server.method:
            self.server.asked.set()
            self.server.ended.wait()
            self.close_connection = True
            return
        self.send_response(200)
        for name, value in {"Content-Length": "100", "ETag": '"x"', "Last-Modified": EPOCH}.items():
            self.send_header(name, value)
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"


@contextmanager
def hanging(method: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HangingStorage, str]]:
    """Such a storage, and an object there."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED")
    for name in names:
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with HangingStorage(method) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server, f"s3://b/a.jsonl?endpoint_override=127.0.0.1:{server.server_port}&scheme=http"
        server.ended.set()
        server.shutdown()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(
    "words",
    ["run", "run -j 2 --pool-threshold 0", "run --dry-run", "validate", "audit", "compare"],
)
def test_signal_stops_a_request_to_a_silent_object_storage(
    words: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hanging(method, monkeypatch) as (server, source), started(f"{words} {source}") as process:
        assert server.asked.wait(LONG)
        process.send_signal(signal.SIGTERM)
        code, stderr = end(process)
    assert code == 143, stderr
    assert "Traceback" not in stderr
    assert os.listdir("tmp") == []


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_signal_stops_the_command_for_failures(folder: Path, name: str) -> None:
    (folder / "on_failure.sh").write_text("touch started\nexec sleep 60 >&- 2>&-\n")
    (folder / "runs.jsonl").write_text("{}\n")
    words = "run runs.jsonl --progress none --on-failure"
    command = [*words.split(), f"sh {folder}/on_failure.sh"]
    with subprocess.Popen(
        [sys.executable, "-m", "batchpersist", *command], stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until((folder / "started").exists)
        process.send_signal(signal.Signals[f"SIG{name}"])
        code, stderr = end(process)
    assert code == (3 if name == "INT" else -signal.Signals[f"SIG{name}"]), stderr
    assert "Traceback" not in stderr


def test_signal_stops_a_batch_that_waits_for_another(folder: Path) -> None:
    with BatchLock(Layout("out", ".runs"), "another"), started("run runs.jsonl --wait 1000") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Waiting for another batch")
        process.send_signal(signal.SIGTERM)
        assert end(process)[0] == 143


def test_signal_stops_a_watching_status(folder: Path) -> None:
    with started("run -") as batch:
        feed(batch, lines(2))
        with started("status --watch 1000") as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert end(process) == (130, "")
