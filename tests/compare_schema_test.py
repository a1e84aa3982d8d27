"""compare.json: its schema, the example of the docs, and the page that explains it."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator
from schemafields import fields_of, leaves

from batchpersist.compare.advice import advise
from batchpersist.report.comparison import Comparison
from batchpersist.report.comparisontext import render_comparison

SCHEMA = json.loads((resources.files("batchpersist") / "compare.schema.json").read_text())
EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "compare.json"


def example():
    return json.loads(EXAMPLE.read_text())


def test_the_schema_is_a_schema_and_the_example_is_as_it_says():
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(example())
    assert list(example()) == SCHEMA["required"]


@pytest.mark.parametrize("part", ["host", "sample", "rounds", "proof"])
def test_it_refuses_what_it_does_not_know(part):
    document = example()
    document[part]["surprise"] = 1
    assert not Draft202012Validator(SCHEMA).is_valid(document)
    del document[part]["surprise"]
    document["variants"][0]["surprise"] = 1
    assert not Draft202012Validator(SCHEMA).is_valid(document)


PAGE = (Path(__file__).parents[1] / "docs" / "compare.md").read_text()


def test_the_page_shows_what_is_printed_of_the_example():
    assert f"```text\n{render_comparison(msgspec.convert(example(), Comparison))}```" in PAGE


def test_the_advice_of_the_example_follows_from_its_figures():
    document = example()
    assert document["advice"] == advise(document["variants"], cpus=document["host"]["cpus"], seed=0)


def test_the_page_explains_every_field_and_no_other():
    fields = {field for field in fields_of(SCHEMA) if not field.startswith("config.")}
    rows = re.findall(r"^\| (`.*?) \|", PAGE.partition("## compare.json")[2], re.MULTILINE)
    named = {name for row in rows for name in re.findall("`(.+?)`", row)}
    assert named - fields == set()
    assert leaves(fields) - named == set()
