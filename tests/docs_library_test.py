"""The examples of docs/library.md run as they stand, and print what their comments say."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "library.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"^ *print\(.*\)  *# (.*)$", re.MULTILINE)


def test_the_examples_run_and_print_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text("utf-8")
    names = {"__name__": "docs"}
    blocks = list(BLOCK.finditer(page))
    assert len(blocks) == page.count("```python")
    for block in blocks:
        lines_before = page.count("\n", 0, block.start(1))
        exec(compile("\n" * lines_before + block[1], PAGE, "exec"), names)  # errors name the page's line
        printed = iter(capsys.readouterr().out.splitlines())
        for promised in PRINTS.findall(block[1]):
            assert promised in printed  # in this order; others may stand between
