"""The corpus that fuzzing has found, replayed: every input of it once made the code go another way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import targets
from seeds import SEEDS
from targets import TARGETS

from batchpersist.sources import documents

CORPUS = Path(__file__).with_name("corpus")


def replay(target: Callable[[bytes], None]) -> None:
    for data in inputs(target.__name__):
        target(data)


def inputs(name: str) -> list[bytes]:
    return [*SEEDS[name], *(path.read_bytes() for path in sorted((CORPUS / name).iterdir()))]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_inputs_found_by_fuzzing_hold(target: Callable[[bytes], None]) -> None:
    replay(target)


def test_short_entry_without_a_key_is_refused() -> None:
    targets.snapshot(b'{"taskId":"t","lastRunAt":"2","runs":[{"x":[]}]}')


def test_each_corpus_folder_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {target.__name__ for target in TARGETS} == SEEDS.keys()


CONTROLS = {
    "canonical_text": ("canonical", lambda data: data),
    "run_reader": ("canonical", lambda data: b'{"taskId":"","runId":"","timestamp":""}'),
    "snapshot": ("nest", lambda text, levels: text),
    "lock_owner": ("parse", lambda data: None),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_control_wrong_result_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    attribute, wrong = CONTROLS[name]
    monkeypatch.setattr(targets, attribute, wrong)
    target = next(target for target in TARGETS if target.__name__ == name)
    with pytest.raises(AssertionError):
        replay(target)


@pytest.mark.parametrize(("name", "reader"), [("lines", "line_documents"), ("json_list", "json_documents")])
def test_control_omitted_document_is_found(monkeypatch: pytest.MonkeyPatch, name: str, reader: str) -> None:
    read = getattr(documents, reader)
    monkeypatch.setattr(documents, reader, lambda *place: iter(list(read(*place))[1:]))
    target = next(target for target in TARGETS if target.__name__ == name)
    with pytest.raises(AssertionError):
        replay(target)
