"""``batchpersist completion``: the script with which a shell completes this command's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .output import write_document

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> None:
    """Print the completion script of SHELL, for its start-up file or completions folder.

    bash: `eval "$(batchpersist completion bash)"` in ~/.bashrc (bash 4.4 or newer);
    zsh: the same with zsh in ~/.zshrc; fish: `batchpersist completion fish >
    ~/.config/fish/completions/batchpersist.fish`.
    """
    root = click.get_current_context().find_root().command
    completion = get_completion_class(shell)
    assert completion is not None  # click knows these three
    script = completion(root, {}, "batchpersist", "_BATCHPERSIST_COMPLETE").source()
    write_document((f"{script}\n".encode(),))
