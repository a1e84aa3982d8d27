"""The pictures of docs/images, made anew: a batch that met all kinds of trouble, reported, seen in a browser.

    python docs/screenshots.py [--into FOLDER] [--all]

Needs batchpersist[report,browser] and Debian's packages chromium and chromium-driver.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browsers import browser, open_page, screenshot  # noqa: E402

LOOKS = {
    "report": ("batch.html", 1120, "light", "screen"),
    "report-dark": ("batch.html", 1120, "dark", "screen"),
    "report-narrow": ("batch.html", 390, "light", "screen"),
    "report-print": ("batch.html", 800, "light", "print"),
    "comparison": ("comparison.html", 1120, "light", "screen"),
    "comparison-dark": ("comparison.html", 1120, "dark", "screen"),
    "comparison-narrow": ("comparison.html", 390, "dark", "screen"),
}


def command(folder: Path, *words: str | Path) -> None:
    """``batchpersist``, which may end with 3: that some runs fail is what is to be seen."""
    done = subprocess.run([sys.executable, "-m", "batchpersist", *words], cwd=folder, check=False)
    assert done.returncode in (0, 3), words


def make_trouble(folder: Path) -> None:
    """A task that somebody else has locked, a snapshot that is none, a file in the place of a folder."""
    runs = folder / ".runs"
    (runs / "task-00012").mkdir(parents=True)
    lines = (folder / "runs.jsonl").read_bytes().split(b"\n")
    some = next(line for line in lines if b'"taskId":"task-00012"' in line and line.endswith(b"}"))
    (runs / "task-00012" / json.loads(some)["runId"]).touch()
    held = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    owner = {"schema_version": 1, "kind": "codex-lock-owner", "token": "0", "task_id": "task-00031", "pid": 1}
    owner |= {"host": "another-host", "acquired_at": held, "stale_ms": 300000}
    (runs / "task-00031.lock").write_text(json.dumps(owner) + "\n")
    (folder / "out" / "task-00024").mkdir(parents=True)
    (folder / "out" / "task-00024" / "runs.json").write_text("no snapshot")


def make_pages(folder: Path) -> None:
    words = ("--runs", "8000", "--tasks", "60", "--skew", "2", "--invalid", "0.004", "-o", "runs.jsonl")
    command(folder, "generate", *words)
    make_trouble(folder)
    command(folder, "run", "runs.jsonl", "-j", "2", "--progress", "none", "-q")
    command(folder, "report", "-o", "batch.html")
    command(folder, "report", ROOT / "docs" / "examples" / "compare.json", "-o", "comparison.html")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--all", action="store_true", help="tall windows, in all looks")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch, browser() as driver:
        make_pages(Path(scratch))
        for name, (page, width, scheme, media) in (
            LOOKS.items() if options.all else [("report", LOOKS["report"])]
        ):
            open_page(
                driver,
                Path(scratch) / page,
                width=width,
                height=4200 if options.all else 1440,
                scheme=scheme,
                media=media,
            )
            screenshot(driver, options.into / f"{name}.png")


if __name__ == "__main__":
    main()
