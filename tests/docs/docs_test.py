"""The pages are true: each example runs, each output is compared, each link has a target.

The blocks of a page run in its order, in one empty folder with the fixtures. CONTRIBUTING.md explains how a
block says that it cannot be run, or what it needs.
"""

from __future__ import annotations

import ast
import difflib
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from support.pages import PAGES, ROOT, Example, examples, prose

from batchpersist.cli.main import cli

SHELLS = {"sh": "bash", "bash": "bash", "console": "bash", "zsh": "zsh", "fish": "fish"}
ALL = [example for page in PAGES for example in examples(page)]
RUN = [example for example in ALL if example.language in {*SHELLS, "python"}]

# Patterns that vary from run to run, in pages as in outputs.
VARYING = (
    (r"\d{8}T\d{9}Z-[0-9a-f]{6}", "BATCH"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
    (r"\b[\d,]*\d(\.\d+)? s\b", "N s"),
    (r"\b[\d,]+ runs/s", "N runs/s"),
    (r"\bpid \d+", "pid N"),
    (r"[ \t]+", " "),
)


@dataclass
class Sandbox:
    """The folder in which a page's examples run one after the other, and the names of its Python blocks."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "docs"})

    def run(self, shell: str, script: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if "BATCHPERSIST" not in name}
        bin_folder = os.path.dirname(sys.executable)
        environment |= {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(
            [shell, "-c", script],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[Callable[[str], Sandbox]]:
    """``sandboxes(page)``: a folder for each page, in memory if it has space: a sync is faster there."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as root:

        @functools.cache
        def sandbox(page: str) -> Sandbox:
            folder = Path(root) / page.replace("/", "-")
            folder.mkdir()
            (folder / "fixtures").symlink_to(ROOT / "fixtures")
            return Sandbox(folder)

        yield sandbox


@pytest.mark.parametrize("example", RUN, ids=str)
def test_example_does_what_the_page_shows(
    sandboxes: Callable[[str], Sandbox],
    example: Example,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if example.not_run:
        pytest.skip(f"not run: {example.not_run}")
    shell = SHELLS.get(example.language, "bash")
    missing = [program for program in (shell, *example.needs) if not shutil.which(program)]
    if missing:
        pytest.skip(f"{' '.join(missing).upper()} IS MISSING: some commands of the docs are NOT CHECKED")
    sandbox = sandboxes(example.page)
    if example.setup:
        prepared = sandbox.run("bash", f"set -eu\n{example.setup}")
        assert prepared.returncode == 0, prepared.stdout
    if example.language == "python":
        monkeypatch.chdir(sandbox.folder)
        run_python(example, sandbox.names, capsys)
    elif example.language == "console":
        run_session(example, sandbox)
    else:
        strict = "set -euo pipefail\n" if shell == "bash" else ""
        result = sandbox.run(shell, strict + example.text)
        assert result.returncode == 0, result.stdout


def run_python(example: Example, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Check that ``print(...)  # words`` prints these words; other output may come in between."""
    place = ROOT / example.page
    exec(compile("\n" * example.line + example.text, place, "exec"), names)  # errors name the page's line
    printed = iter(capsys.readouterr().out.splitlines())
    for promised in re.findall(r"^ *print\(.*\)  *# (.*)$", example.text, re.MULTILINE):
        assert promised in printed


def run_session(example: Example, sandbox: Sandbox) -> None:
    """Check that each ``$ command`` prints the lines below it; it may fail only before ``$ echo $?``."""
    steps = parse_session(example.text)
    status = "__status=$?; printf '\\0%s\\0' $__status; (exit $__status)"
    result = sandbox.run("bash", "\n".join(f"{command}\n{status}" for command, _ in steps))
    *answers, rest = result.stdout.split("\0")
    printed = list(zip(answers[::2], answers[1::2], strict=True))
    assert len(printed) == len(steps), rest
    following = [command for command, _ in steps[1:]] + [""]
    for (command, shown), (output, code), after in zip(steps, printed, following, strict=True):
        assert is_same(shown, output), f"$ {command}\n{difference(shown, output)}"
        assert code == "0" or after == "echo $?", f"$ {command}\n{output}exit code {code}"


def parse_session(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with its output."""
    steps: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], ""))
            continue
        assert steps, "a console block begins with a command"
        command, shown = steps[-1]
        steps[-1] = (f"{command}\n{line}", "") if command.endswith("\\") else (command, f"{shown}{line}\n")
    return steps


def is_same(shown: str, printed: str) -> bool:
    """Whether both are equal except for what varies; ``...`` matches any words, alone on a line any lines."""
    pattern = "".join(
        r"(.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n"
        for line in without_varying(shown).splitlines()
    )
    return re.fullmatch(pattern, without_varying(printed)) is not None


def without_varying(text: str) -> str:
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def difference(shown: str, printed: str) -> str:
    lines = (without_varying(text).splitlines() for text in (shown, printed))
    return "\n".join(difflib.unified_diff(*lines, "shown", "printed", lineterm=""))


def test_commands_are_in_blocks_that_are_run() -> None:
    others = [example for example in ALL if example not in RUN]
    assert [str(each) for each in others if re.search(r"^(\$ |batchpersist )", each.text, re.MULTILINE)] == []
    assert len([example for example in RUN if not example.not_run]) > 15


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_exist(page: str) -> None:
    for words in re.findall(r"`batchpersist ([^`]+)`", prose(page)):
        command: click.Command = cli
        known = options(cli)
        for word in re.split(r"[\s=]+", words):
            if word.startswith("--"):
                assert word in known, f"`batchpersist {words}`: {word}"
            elif isinstance(command, click.Group) and re.fullmatch("[a-z-]+", word):
                inner = command.get_command(click.Context(command), word)
                assert inner, f"`batchpersist {words}`: {word}"
                command, known = inner, known | options(inner)


def options(command: click.Command) -> set[str]:
    return {"--help", *(name for param in command.params for name in (*param.opts, *param.secondary_opts))}


@pytest.mark.parametrize("page", PAGES)
def test_links_have_a_target(page: str) -> None:
    text = re.sub(r"`[^`\n]+`", "", prose(page))
    for link in set(re.findall(r"\]\((?!https?:)([^)]+)\)", text)):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.resolve().relative_to(ROOT).as_posix()), link


def test_decisions_are_numbered_and_listed() -> None:
    notes = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    titles = [note.read_text().split("\n", 1)[0].removeprefix("# ") for note in notes]
    assert [note.name[:4] for note in notes] == [f"{number:04}" for number in range(1, len(notes) + 1)]
    listed = re.findall(r"^(\d+\.) \[(.*)\]\((.*)\)$", prose("docs/decisions/README.md"), re.MULTILINE)
    assert [(f"{number} {title}", name) for number, title, name in listed] == [
        (title, note.name) for title, note in zip(titles, notes, strict=True)
    ]


def test_troubleshooting_page_quotes_messages_of_the_program() -> None:
    program = "\n".join(
        node.value
        for path in (ROOT / "batchpersist").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    messages = re.findall(r"^### `(.*)`$", prose("docs/troubleshooting.md"), re.MULTILINE)
    assert len(messages) > 20
    words = [word for message in messages for word in re.split(r"\.\.\.|\[E\w+\] [\w ]+|: |; ", message)]
    assert [word for word in words if word.strip() not in program] == []


def anchors(page: str) -> set[str]:
    """The anchors that forges and the site make from the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("shown", "printed", "equal"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\nb\n", "a\n", False),
        ("", "a\n", False),
        ("27 runs in 0.2 s (135 runs/s)\n", "27 runs in 12.0 s (1,135 runs/s)\n", True),
        ("27 runs in 0.2 s\n", "28 runs in 0.2 s\n", False),
        ("x  y\n", "x     y  \n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nd\n", True),
        ("a\n...\nd\n", "a\nb\nc\n", False),
        ("of ... runs\n", "of 1 or 2 runs\n", True),
        ("of ...\n", "of 1\n2\n", False),
        ("a.c [x]\n", "abc x\n", False),
    ],
)
def test_output_is_compared_without_what_varies(shown: str, printed: str, equal: bool) -> None:
    assert is_same(shown, printed) == equal


def test_session_is_split_at_its_prompts() -> None:
    text = "$ one \\\n    --more\nprinted\n$ two\n$ three\na\nb\n"
    assert parse_session(text) == [("one \\\n    --more", "printed\n"), ("two", ""), ("three", "a\nb\n")]
