"""File names that are not UTF-8: each has one form, which can be written everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine import run

from batchpersist.foreign_text import encodable, encodable_document, printable, to_file_name


@given(st.binary())
def test_byte_outside_utf_8_has_one_form(name: bytes) -> None:
    text = os.fsdecode(name)
    assert encodable(text).encode() == name.decode(errors="backslashreplace").encode()
    if b"\\" not in name:
        assert os.fsencode(to_file_name(encodable(text))) == name
    assert printable(text) == printable(encodable(text))


@given(st.text(st.characters()))
def test_any_python_text_can_be_encoded(text: str) -> None:
    printable(text).encode()
    document = encodable_document({text: [text, (text, 1, None)]})
    assert json.loads(json.dumps(document, ensure_ascii=False).encode()) == {
        encodable(text): [encodable(text), [encodable(text), 1, None]]
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größer 検証 🚀", "größer 検証 🚀"),
        ("a\tb\nc\x1b[2J\x00", r"a\tb\nc\x1b[2J\x00"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("\ud800\ufffe\U000e0041", r"\ud800\ufffe\U000e0041"),
        ("\u200d \u200c", "\u200d \u200c"),  # joiners: words and emoji are spelt with them
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_all_controls_are_escaped_and_plain_text_is_unchanged(text: str) -> None:
    shown = printable(text)
    assert [letter for letter in shown if unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"}] == []
    assert unicodedata.bidirectional(shown[:1] or "a") not in {
        "RLO",
        "LRO",
        "RLE",
        "LRE",
        "RLI",
        "LRI",
        "FSI",
    }
    if text.isascii() and text.isprintable():
        assert shown == text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Valid and damaged sources, and outputs that cannot be written, with names that are not UTF-8."""
    monkeypatch.chdir(tmp_path)
    source = tmp_path / os.fsdecode(b"s\xff")
    source.mkdir()
    lines = ["no json", *(json.dumps(run(f"task-{n % 2}", n)) for n in range(6))]
    (source / os.fsdecode(b"a\xfe.jsonl")).write_text("\n".join(lines))
    (source / os.fsdecode(b"dangling\xfe.jsonl")).symlink_to("nowhere")
    for name in (b"a\xfe.parquet", b"a\xfe.jsonl.gz", b"a\xfe.lo\xfeg"):
        (source / os.fsdecode(name)).write_bytes(b"damaged")
    blocked = json.loads(lines[-1])
    task = tmp_path / os.fsdecode(b"r\xff") / blocked["taskId"]
    task.mkdir(parents=True)
    (task / blocked["runId"]).touch()
    (tmp_path / os.fsdecode(b"o\xff") / "task-0" / "runs.json").mkdir(parents=True)
    return tmp_path


def test_commands_accept_file_names_outside_utf_8(folder: Path) -> None:
    source, out, runs = (os.fsdecode(name) for name in (b"s\xff", b"o\xff", b"r\xff"))
    roots = ["--out-dir", out, "--runs-dir", runs]
    assert "s\\xff/a\\xfe.jsonl:1: input: not valid JSON" in output_of("run", source, *roots, "-v")
    events = output_of("run", source, *roots, "--force", "--json", "-j", "2", "--pool-threshold", "0")
    sources = {json.loads(line).get("source", "") for line in events.splitlines()}
    assert {"s\\xff/a\\xfe.jsonl", "s\\xff/dangling\\xfe.jsonl"} <= sources
    output_of("retry", "--runs-dir", runs, "--only", "invalid", "--json")
    output_of("status", "--runs-dir", runs, "--json")
    output_of("report", os.path.join(out, "metrics.json"), "--format", "json")
    output_of("validate", source, "--json")
    output_of("audit", source, *roots, "--json")
    assert "no\\xffthing" in output_of("run", os.fsdecode(b"no\xffthing"), *roots)


def output_of(*words: str) -> str:
    """Run a command; returns its standard output and standard error."""
    command = [sys.executable, "-m", "batchpersist", *words]
    found = subprocess.run(command, capture_output=True, check=False, timeout=300)
    text = (found.stdout + found.stderr).decode()
    assert "Traceback" not in text
    assert "\\udc" not in text
    return text
