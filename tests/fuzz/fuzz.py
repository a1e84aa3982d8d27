"""Coverage-guided fuzzing of a target (needs atheris): ``python tests/fuzz/fuzz.py TARGET SECONDS [FOLDER]``.

Begins with the seeds and the shipped corpus. FOLDER takes what is found (a temporary one by default): inputs
that made the code go another way, for the corpus, and as ``crash-*`` one that broke the target's rule.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["batchpersist"]):
    from targets import TARGETS

from seeds import SEEDS, WORDS

CORPUS = Path(__file__).with_name("corpus")
LONGEST = 2048
"""Bytes of an input."""


def main(name: str, seconds: str, folder: str | None = None) -> None:
    target = next(target for target in TARGETS if target.__name__ == name)
    shipped = CORPUS / name
    shipped.mkdir(parents=True, exist_ok=True)
    words = Path(tempfile.mkdtemp()) / "words"
    words.write_text("".join(map(_quoted, WORDS)))
    found = Path(folder or tempfile.mkdtemp())
    found.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (found / f"seed-{number}").write_bytes(seed)
    arguments = ["fuzz", f"-max_len={LONGEST}", f"-dict={words}", "-print_final_stats=1", "-timeout=20"]
    arguments += [f"-max_total_time={seconds}", f"-artifact_prefix={found}/", str(found), str(shipped)]
    atheris.Setup(arguments, target)
    atheris.Fuzz()


def _quoted(word: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


if __name__ == "__main__":
    main(*sys.argv[1:])
