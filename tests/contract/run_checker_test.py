"""The texts of one run: which of several entries counts, and which text has more members."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpersist.contract.json_text import encode
from batchpersist.contract.run_parser import (
    OtherEventError,
    RunChecker,
    WrongIdError,
    choose_entry,
    has_same_content,
    order_by_growth,
)
from batchpersist.models import Keys

MEMBERS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 2)), unique_by=lambda member: member[0])
KEYS = Keys("taskId", "runId", "timestamp")


def is_beginning(one: list[tuple[str, int]], other: list[tuple[str, int]]) -> bool:
    return other[: len(one)] == one


@given(st.lists(MEMBERS.filter(bool), min_size=1, max_size=4))
def test_texts_have_grown_if_each_begins_with_the_shorter_ones(
    texts: list[list[tuple[str, int]]],
) -> None:
    by_size = sorted(texts, key=len)
    has_grown = all(is_beginning(one, other) for one, other in pairwise(by_size))
    ordered = order_by_growth([encode(dict(members)) for members in texts])
    distinct = [encode(dict(members)) for n, members in enumerate(by_size) if members not in by_size[:n]]
    assert ordered == (distinct if has_grown else None)


def test_last_entry_with_the_manifest_s_content_counts_else_the_last() -> None:
    texts = [encode({"n": n}) for n in (1, 2, 1, 3)]
    assert choose_entry(texts, b'{"n":1.0}') == 2
    assert choose_entry(texts, b'{"n":4}') == 3
    assert choose_entry(texts, b"{") == 3
    assert choose_entry(texts, None) == 3


def test_invalid_json_has_other_content() -> None:
    assert has_same_content(b'{"n": 1}', b'{"n":1.0}')
    assert not has_same_content(b'{"n": 1}', b'{"n"')


def test_text_with_other_ids_is_refused() -> None:
    run = {"taskId": "mail", "runId": "one", "timestamp": "2026"}
    checker, data = RunChecker(KEYS), json.dumps(run).encode()
    assert checker.canonical(data, "mail", "one") == encode(run)
    for ids in (("mail", "two"), ("search", "one")):
        with pytest.raises(WrongIdError, match="is not that of its place"):
            checker.canonical(data, *ids)
    with pytest.raises(OtherEventError):
        checker.read(json.dumps({"type": "run:started", "payload": run}).encode())


def test_task_of_a_text_is_its_last_task_key() -> None:
    checker, text = RunChecker(KEYS), {"taskId": "mail", "runId": "r", "timestamp": "t"}
    assert checker.is_of_task(encode(text), "mail")
    assert not checker.is_of_task(encode(text), "mai")
    assert checker.is_of_task(encode({"a": {"taskId": "search"}, **text}), "mail")
    assert not checker.is_of_task(encode({"a": {"taskId": "mail"}, **text, "taskId": "search"}), "mail")
