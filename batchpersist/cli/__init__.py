"""The command line: the only package that prints, exits, reads the environment, or imports click and tqdm.

``main`` finds the subcommand; each command is a module. Nothing else imports this package.
"""

import os
import sys

from ..errors import NEEDS_WSL
from ..exit_codes import ExitCode

if os.name == "nt":  # the modules of the command import what Windows does not have
    print(f"Error: {NEEDS_WSL}", file=sys.stderr)
    sys.exit(ExitCode.USAGE)

__all__ = ["main"]
