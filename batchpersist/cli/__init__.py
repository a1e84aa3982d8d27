"""The command line: the only package that prints, exits, reads the environment, or imports click and tqdm.

``main`` finds the subcommand; each command is a module. Nothing else imports this package.
"""

__all__ = ["main"]
