"""What is released installs and works where nothing else is: ``python .ci/package.py DIST``.

DIST holds one wheel and one source distribution. The wheel goes into a fresh environment and is used from an
empty folder; in the unpacked source distribution the README's main command is run as it stands.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".ci", "batchpersist", "benchmarks", "docs", "fixtures", "tests")


def main(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    (source,) = dist.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        use_wheel(wheel, Path(folder))
        use_source(source, Path(folder))


def use_wheel(wheel: Path, folder: Path) -> None:
    environment = folder / "environment"
    empty = folder / "empty"
    empty.mkdir()
    venv.create(environment, with_pip=True)
    binaries = environment / "bin"
    run([binaries / "pip", "install", "-q", wheel], empty)
    run([binaries / "batchpersist", "generate", "--runs", "20", "-o", "runs.jsonl"], empty)
    run([binaries / "python", "-m", "batchpersist", "run", "runs.jsonl"], empty)
    made = sorted(path.name for path in empty.iterdir())
    assert made == [".runs", "out", "runs.jsonl"], made
    assert len(list(empty.glob(".runs/*/*/manifest.json"))) == 20
    assert (environment / "share" / "man" / "man1" / "batchpersist.1").exists()
    consumer = ["--strict", "--python-executable", binaries / "python", ROOT / "tests" / "consumer.py"]
    run([sys.executable, "-m", "mypy", "--config-file=", *consumer], empty)


def use_source(source: Path, folder: Path) -> None:
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.glob("batchpersist-*")
    missing = files(ROOT) - files(tree)
    assert not missing, f"not in the source distribution (MANIFEST.in): {sorted(missing)}"
    readme = (tree / "README.md").read_text("utf-8")
    (command,) = re.findall(r"^<!-- main command -->\n```sh\n(.*)\n```$", readme, re.MULTILINE)
    run(["bash", "-euo", "pipefail", "-c", command], tree)
    assert (tree / "out" / "metrics.json").exists()


def files(tree: Path) -> set[str]:
    """All in the folders of the sources, but what tools leave behind."""
    found = (
        path.relative_to(tree) for folder in FOLDERS for path in (tree / folder).rglob("*") if path.is_file()
    )
    return {
        path.as_posix()
        for path in found
        if not any(part == "__pycache__" or part.endswith("_cache") for part in path.parts)
    }


def run(words: list[str | Path], folder: Path) -> None:
    print("+", *words, flush=True)
    subprocess.run(words, cwd=folder, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
