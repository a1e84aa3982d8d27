"""The help of a command with many options shows them by section, each of them once."""

from __future__ import annotations

import re

from click.testing import CliRunner

from batchpersist.cli.main import cli


def test_the_help_lists_each_option_once_below_its_heading() -> None:
    result = CliRunner().invoke(cli, ["run", "--help"])
    headings = re.findall(r"^(\w.*):$", result.stdout, re.MULTILINE)
    assert headings == [
        "Where it goes",
        "What is read",
        "How it is done",
        "The batch",
        "As a nightly job",
        "What is shown",
        "Options",
    ]
    listed = re.findall(r"^  (?:-\w, )?(--[\w-]+)", result.stdout, re.MULTILINE)
    command = cli.get_command(cli.make_context("batchpersist", ["run", "x"]), "run")  # type: ignore[attr-defined]
    declared = [max(param.opts, key=len) for param in command.params if param.param_type_name == "option"]
    assert sorted(listed) == sorted({*declared, "--help"} - {"--pool-threshold"})
