"""``batchpersist audit`` as a command: its output, its files, its exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.drift import Tree, make_run

from batchpersist.audit import FindingKind
from batchpersist.cli.audit import MEANINGS
from batchpersist.cli.main import cli
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.paths import Layout


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.chdir(tmp_path)
    return Tree(tmp_path).fill()


def command(*words: str) -> Result:
    roots = ["--runs-dir", "runs", "--pause", "0", "--progress", "none"]
    return CliRunner().invoke(cli, ["audit", *roots, *words], catch_exceptions=False)


def test_a_root_without_differences_is_exit_code_0(tree: Tree) -> None:
    result = command()
    assert result.stdout == "12 runs of 3 tasks compared: no difference.\n"
    assert (result.exit_code, result.stderr) == (0, "")
    assert command("-q").output == ""


def test_differences_by_kind_with_a_few_of_each(tree: Tree) -> None:
    tree.snapshot("mail").unlink()
    for number in range(4, 8):
        tree.fill([number], ["mail"])
    for number in range(8):
        tree.manifest("mail", f"mail-{number}").unlink(missing_ok=number < 4)
    tree.manifest("search", "search-0").write_text("{")
    result = command()
    assert result.stdout.splitlines() == [
        "4 x missing-manifest: an entry in the snapshot or a run summary, but no manifest",
        *(f"    mail/mail-{n} (runs/mail/mail-{n}/manifest.json)" for n in range(4, 8)),
        "1 x invalid-manifest: cannot be read as a completed run",
        "    search/search-0 (runs/search/search-0/manifest.json): incomplete JSON: ends at byte 1",
        "12 runs of 3 tasks compared: 5 differences. `batchpersist repair` says what it would do about it.",
    ]
    assert result.exit_code == 5
    tree.fill(range(20, 28), ["mail"])
    for number in range(20, 28):
        tree.manifest("mail", f"mail-{number}").unlink()
    assert "    ... and 7 more" in command().stdout.splitlines()


def test_quiet_prints_differences_alone_and_on_standard_error(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    result = command("-q")
    assert (result.stdout, result.exit_code) == ("", 5)
    assert "missing-manifest" in result.stderr


def test_verbose_prints_each_finding_as_it_is_confirmed(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    assert command("-v").stderr == "missing-manifest: mail/mail-0 (runs/mail/mail-0/manifest.json)\n"


def test_json_has_a_line_a_finding_and_a_summary(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    *others, finding, summary = map(json.loads, command("--json").stdout.splitlines())
    assert finding == {
        "message_type": "finding",
        "kind": "missing-manifest",
        "severity": "difference",
        "task_id": "mail",
        "run_id": "mail-0",
        "path": str(tree.manifest("mail", "mail-0")),
        "detail": "",
    }
    assert summary == {
        "message_type": "summary",
        "tasks": 3,
        "runs": 12,
        "counts": {"missing-manifest": 1},
        "unknown_suffixes": {},
        "exit_code": 5,
    }
    assert {each["message_type"] for each in others} <= {"status"}


def test_combined_has_a_sign_for_each_run(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    tree.manifest("mail", "mail-1").write_text("{")
    tree.manifest("mail", "mail-2").write_bytes(
        tree.manifest("mail", "mail-2").read_bytes().replace(b"2", b"3", 3)
    )
    snapshot = tree.read("search")
    snapshot["runs"][0]["runId"] = "a\nb"
    tree.write("search", snapshot)
    Path("more.jsonl").write_text(json.dumps(make_run("new", 1)) + "\n")
    assert command("more.jsonl", "--combined", "signs").exit_code == 5
    assert sorted(Path("signs").read_text().splitlines()) == sorted(
        [
            *(f"= billing/billing-{number}" for number in range(4)),
            *(f"= search/search-{number}" for number in range(1, 4)),
            "- search/search-0",
            "! search/a\\nb",
            "- mail/mail-0",
            "! mail/mail-1",
            "! mail/mail-2",
            "= mail/mail-3",
            "+ new/new-1",
        ]
    )


def test_combined_is_opened_before_the_audit_starts(tree: Tree) -> None:
    Path("file").touch()
    result = CliRunner().invoke(cli, ["audit", "--combined", "file/signs"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: [ENOTDIR] Not a directory: file/signs")


def test_an_older_file_of_signs_is_kept_until_the_new_one_is_complete(tree: Tree) -> None:
    Path("signs").write_text("older")
    assert command("nowhere", "--combined", "signs").exit_code == 10
    assert Path("signs").read_text() == "older"
    before = sorted(path.name for path in Path().iterdir())
    assert command("--combined", "signs").exit_code == 0
    assert Path("signs").read_text().startswith("= ")
    assert sorted(path.name for path in Path().iterdir()) == before


def test_a_missing_source_is_exit_code_10(tree: Tree) -> None:
    result = command("nowhere")
    assert (result.exit_code, result.stderr) == (10, "Error: source not found: nowhere\n")


def test_each_kind_is_described_here_and_in_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8")
    assert set(MEANINGS) == set(FindingKind)
    assert [kind.value for kind in FindingKind if f"| `{kind.value}` |" not in page] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_audit_reports_what_is_confirmed(
    tree: Tree, number: signal.Signals, code: int
) -> None:
    tree.manifest("mail", "mail-0").unlink()
    words = [sys.executable, "-m", "batchpersist", "audit", "--runs-dir", "runs", "--json", "--pause", "3"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # a status: it waits for its second check
        process.send_signal(number)
        rest, stderr = process.communicate()
    assert stderr == f"{number.name}: ending with what was looked at so far; once more to stop at once\n"
    summary = json.loads(rest.splitlines()[-1])
    assert (process.returncode, summary["exit_code"], summary["counts"]) == (code, code, {})


def test_a_second_signal_stops_at_once(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    words = [sys.executable, "-m", "batchpersist", "audit", "--runs-dir", "runs", "--json", "--pause", "30"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()  # a status: it waits for its second check
        process.send_signal(signal.SIGTERM)
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate()
    assert (process.returncode, stderr) == (143, "Stopped at once. Nothing was changed.\n")


def test_a_running_batch_is_named(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    with BatchLock(Layout("out", "runs"), "batch 7"):
        assert command().stderr.startswith("Note: batch 7 (")
        assert command("--json", "-q").stderr == ""
    assert command().stderr == ""


def test_files_in_the_sources_that_are_skipped_are_named(tree: Tree) -> None:
    source = tree.root / "sources"
    source.mkdir()
    (source / "agent.log").write_text("{}")
    words = ["audit", str(source), "--out-dir", str(tree.root / "out"), "--runs-dir", str(tree.root / "runs")]
    plain = CliRunner().invoke(cli, [*words, "--pause", "0"], catch_exceptions=False)
    assert "Skipped 1 file with an unknown suffix: .log (1)." in plain.stdout
    events = CliRunner().invoke(cli, [*words, "--pause", "0", "--json"], catch_exceptions=False)
    assert json.loads(events.stdout.splitlines()[-1])["unknown_suffixes"] == {".log": 1}
