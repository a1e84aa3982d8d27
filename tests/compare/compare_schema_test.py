"""compare.json: its schema, the example of the docs, and the page that explains it."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator
from support.schema_fields import fields_of

from batchpersist.compare.document import Comparison
from batchpersist.compare.statistics import answer_question, recommend
from batchpersist.report.terminal import render_comparison

SCHEMA = json.loads((resources.files("batchpersist") / "compare.schema.json").read_text())
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "compare.json"


def example():
    return json.loads(EXAMPLE.read_text())


def test_example_is_valid_by_the_schema():
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(example())
    assert list(example()) == SCHEMA["$defs"]["Comparison"]["required"]


@pytest.mark.parametrize("part", ["host", "history", "recommendation"])
def test_schema_refuses_unknown_fields(part):
    document = example()
    document[part]["surprise"] = 1
    assert not Draft202012Validator(SCHEMA).is_valid(document)
    del document[part]["surprise"]
    document["questions"][0]["variants"][0]["surprise"] = 1
    assert not Draft202012Validator(SCHEMA).is_valid(document)


PAGE = (Path(__file__).parents[2] / "docs" / "compare.md").read_text()


def test_page_shows_the_text_of_the_example():
    assert f"```text\n{render_comparison(msgspec.convert(example(), Comparison))}```" in PAGE


def test_the_answers_of_the_example_follow_from_its_figures():
    found = msgspec.convert(example(), Comparison)
    for asked in found.questions:
        assert asked.answer == answer_question(asked.question, asked.variants, found.host.cpus)
    one_by_one = found.recommendation.one_by_one_seconds
    assert found.recommendation == recommend(found.questions, found.runs, one_by_one)


def leaves(fields: set[str]) -> set[str]:
    """The fields that contain no others."""
    return {field for field in fields if not any(_is_in(other, field) for other in fields)}


def _is_in(field: str, other: str) -> bool:
    return field.startswith((f"{other}.", f"{other}[]"))


def test_page_explains_exactly_the_fields_of_the_schema():
    elsewhere = ("config.", "questions[].variants[].counts.")
    fields = {field for field in fields_of(SCHEMA) if not field.startswith(elsewhere)}
    rows = re.findall(r"^\| (`.*?) \|", PAGE.partition("## compare.json")[2], re.MULTILINE)
    named = {name for row in rows for name in re.findall("`(.+?)`", row)}
    assert named - fields == set()
    assert leaves(fields) - named == set()
