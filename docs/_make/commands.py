"""docs/reference/commands.md: every command and option."""

from __future__ import annotations

from declared import Declared, declared

_HEAD = """# Commands

<!-- Made by docs/make.py from the program itself. -->

Every option may also come from the environment or from a file ([configuration.md](../configuration.md)).
Every command has `--help`; where the package's `bin` folder is on the PATH, `man batchpersist` shows all.
The exit codes are listed in the [README](../../README.md#exit-codes).
"""


def page() -> str:
    return "\n".join([_HEAD, *map(_section, declared())])


def _section(command: Declared) -> str:
    parts = [f"## {command.name}", f"    {command.usage}", *command.paragraphs]
    for heading, options in command.sections.items():
        rows = "\n".join(f"| `{_cell(written)}` | {_cell(words)} |" for written, words in options)
        parts.append(f"| {heading} | |\n| --- | --- |\n{rows}")
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
