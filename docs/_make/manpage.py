"""docs/reference/batchpersist.1: the man page, in the man macros that man-db and mandoc read."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from declared import Declared, declared

import batchpersist

README = Path(__file__).resolve().parents[2] / "README.md"

_ENVIRONMENT = (
    ("BATCHPERSIST_CONFIG, BATCHPERSIST_PROFILE", "As --config and --profile."),
    ("BATCHPERSIST_OUT_DIR ...", "Any option of any command, in capitals and with _ for -."),
    (
        "BATCHPERSIST_RUN_OUT_DIR ...",
        "The same for one command alone (here `run`), and stronger.",
    ),
)
_FILES = (
    (
        "batchpersist.toml",
        "Options; else those of [tool.batchpersist] in pyproject.toml.",
    ),
    ("out/TASK/runs.json", "A task's snapshot: its whole history."),
    (".runs/TASK/RUN/manifest.json", "A run's manifest."),
    (".runs/TASK.lock", "A task's lock, shared with the orchestrator."),
    ("out/metrics.json", "What became of every run of the last batch."),
    (".runs/.batchpersist/", "What is batchpersist's alone: the folders of past batches, and caches."),
)


def page() -> str:
    whole, *commands = declared()
    lines = [
        f'.TH BATCHPERSIST 1 "" "batchpersist {batchpersist.__version__}" "User Commands"',
        ".SH NAME",
        "batchpersist \\- persist the completed runs of an agent orchestrator",
        ".SH SYNOPSIS",
        *_synopsis(whole),
        ".SH DESCRIPTION",
        *_description(whole),
        ".SH OPTIONS",
        *_options(whole),
        ".SH COMMANDS",
    ]
    for each in commands:
        lines += [f".SS {_escaped(each.name)}", *_synopsis(each), ".PP", *_description(each)]
        lines += _options(each)
    for title, terms in (("EXIT STATUS", _exit_codes()), ("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        lines += [f".SH {title}", *_terms(terms)]
    return "\n".join(lines) + "\n"


def _synopsis(command: Declared) -> list[str]:
    rest = command.usage.removeprefix(command.name)
    return [f".B {_escaped(command.name)}", _escaped(rest.strip())]


def _description(command: Declared) -> list[str]:
    return "\n.PP\n".join(map(_filled, command.paragraphs)).splitlines()


def _options(command: Declared) -> list[str]:
    several = len(command.sections) > 1
    lines = []
    for heading, options in command.sections.items():
        lines += [*([".PP", f".I {_escaped(heading)}"] if several else []), *_terms(options)]
    return lines


def _terms(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [line for term, words in pairs for line in (".TP", f".B {_escaped(term)}", _filled(words))]


def _filled(words: str) -> str:
    """Lines of text; what stands in backquotes is bold."""
    lines = textwrap.wrap(words, 70, break_long_words=False, break_on_hyphens=False)
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fP", "\n".join(map(_escaped, lines)))


def _escaped(line: str) -> str:
    """Dashes are those of options, to be copied; a line of text must not look like a macro."""
    text = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _exit_codes() -> list[tuple[str, str]]:
    return re.findall(r"^\| (\d+) \| (.*) \|$", README.read_text("utf-8"), re.MULTILINE)
