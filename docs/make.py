"""Makes what the program itself knows best: ``python docs/make.py [--into FOLDER]``.

The reference of the commands and the man page come from Click's declarations (and the README's exit codes),
the JSON Schemas of metrics.json and compare.json from their declarations, the list of public names from the
library.
tests/public_test.py compares all of them with what is checked in.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_make"))

import api  # noqa: E402
import commands  # noqa: E402
import fields  # noqa: E402
import manpage  # noqa: E402
import schemas  # noqa: E402

PAGES = {
    "docs/reference/commands.md": commands.page,
    "docs/reference/batchpersist.1": manpage.page,
    "docs/reference/metrics.md": fields.page,
    "batchpersist/metrics.schema.json": schemas.metrics,
    "batchpersist/compare.schema.json": schemas.comparison,
    "tests/public_api.txt": api.page,
}


def make_all(root: Path) -> None:
    """Write all of them anew below ``root``."""
    for name, page in PAGES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(), "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=HERE.parent, help="instead of this repository")
    make_all(parser.parse_args().into)
