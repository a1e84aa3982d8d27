"""The canonical text against the real JSON.stringify."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess

import pytest
from support.json_spelling import spell_string

from batchpersist.contract.json_text import canonical

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None, reason="node is NOT on the PATH: nothing is compared with the real JSON.stringify"
)

STRINGIFY = """
const lines = require("fs").readFileSync(0, "utf8").split("\\n").filter(Boolean);
const texts = lines.map((line) => JSON.stringify(JSON.parse(JSON.parse(line)), null, 2));
process.stdout.write(texts.join("\\0"));
"""


def stringify(documents: list[str]) -> list[bytes]:
    """JSON.stringify(JSON.parse(text), null, 2) of each text, by one process."""
    assert NODE is not None
    lines = "\n".join(json.dumps(text) for text in documents)
    done = subprocess.run([NODE, "-e", STRINGIFY], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.split(b"\0")


def test_every_code_unit_in_every_spelling():
    units = [f'"\\u{unit:04x}"' for unit in range(0x10000)] + [f'"\\u{unit:04X}"' for unit in range(0x10000)]
    raw = [spell_string(chr(unit), random.Random(unit)) for unit in range(0x10000)]
    document = f"[{','.join(units + raw)}]"
    assert [canonical(document.encode())] == stringify([document])


def test_every_sequence_of_three_kinds_of_characters():
    kinds = ["a", "u", "é", "😀", "\\\\", '\\"', "\\n", "\\/", "\\u0000", "\\u00E9"]
    kinds += ["\\ud800", "\\uDBFF", "\\udc00", "\\uDFFF"]
    document = "[" + ",".join(f'"{"".join(three)}"' for three in itertools.product(kinds, repeat=3)) + "]"
    assert [canonical(document.encode())] == stringify([document])


def random_value(rng: random.Random, depth: int) -> object:
    kind = rng.choice(
        ("list", "object", "number", "fraction", "string", "constant") if depth else ("string", "number")
    )
    if kind == "list":
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(5))]
    if kind == "object":  # no key that looks like an integer: JavaScript puts those first
        return {random_string(rng) + "_": random_value(rng, depth - 1) for _ in range(rng.randrange(5))}
    if kind == "number":
        return rng.randrange(-(2**53), 2**53)
    if kind == "fraction":
        return rng.randrange(-999, 999) / 4 + 0.125
    return random_string(rng) if kind == "string" else rng.choice((None, True, False))


def random_string(rng: random.Random) -> str:
    alphabets = [
        'abc "\\/',
        "\b\t\n\f\r\x00\x1f\x7f\x80",
        "éß任\u2028\u2029\ufeff\uffff",
        "\ud800\udbff\udc00\udfff",
        "😀\U0010ffff",
    ]
    return "".join(rng.choice(rng.choice(alphabets)) for _ in range(rng.randrange(8)))


def test_random_documents_in_random_spellings():
    rng = random.Random(7)
    values = [random_value(rng, 4) for _ in range(3000)]
    documents = [respelled(value, rng) for value in values]
    written = stringify(documents)
    assert [canonical(document.encode()) for document in documents] == written
    assert [canonical(text) for text in written] == written


def respelled(value: object, rng: random.Random) -> str:
    space = rng.choice(["", " ", "\n\t"])
    if isinstance(value, str):
        return spell_string(value, rng)
    if isinstance(value, list):
        return f"[{space}" + f",{space}".join(respelled(item, rng) for item in value) + f"{space}]"
    if isinstance(value, dict):
        pairs = (f"{spell_string(key, rng)}{space}:{respelled(item, rng)}" for key, item in value.items())
        return f"{{{space}" + f",{space}".join(pairs) + f"{space}}}"
    return json.dumps(value)
