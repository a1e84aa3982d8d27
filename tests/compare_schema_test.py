"""compare.json: its schema, the example of the docs, and the page that explains it."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

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
