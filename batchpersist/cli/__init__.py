"""The command line: the only place that prints, exits, or imports click and tqdm."""

import os
import sys

from ..errors import NEEDS_WSL
from ..exit_codes import ExitCode

if os.name == "nt":  # before anything is imported that Windows has not
    print(f"Error: {NEEDS_WSL}", file=sys.stderr)
    sys.exit(ExitCode.USAGE)
