"""Texts of one run from several places: whose they are, whether they agree, which has more members."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidRunError, MissingKeyError, UnsafeIdentifierError
from ..models import Keys, RunKeys
from .json_text import reads_alike, string
from .run_parser import RunReader


class WrongIdError(InvalidRunError):
    """A completed run, but not the one that belongs at its place."""


class OtherEventError(InvalidRunError):
    """An event, but not that of a completed run."""


class RunChecker:
    """Checks whether a text is a certain run, by the ids that it has under the given keys."""

    def __init__(self, keys: Keys) -> None:
        self._names = keys.task, keys.run
        self._read = RunReader(keys).read_canonical
        self._task_mark = b"\n  %b: " % string(keys.task)

    def is_of_task(self, text: bytes, task_id: str) -> bool:
        """Whether a run's canonical text names this task. Raises MissingKeyError."""
        mark = self._task_mark
        if text.startswith(b"{%b%b," % (mark, string(task_id))) and text.count(mark) == 1:
            return True  # nearly all texts begin like this, and decoding one costs more
        try:
            return self.read(text)[0].task_id == task_id
        except MissingKeyError:
            raise
        except InvalidRunError:
            return False

    def read(self, data: bytes) -> tuple[RunKeys, bytes]:
        """The keys and the canonical text of any run.

        Who makes a path of the ids checks them first: not each unsafe one is noticed here. Raises
        WrongIdError for one that is, InvalidRunError for other text.
        """
        try:
            found = self._read(data)
        except UnsafeIdentifierError as error:
            raise WrongIdError(error.message, error.detail) from error
        if found is None:
            raise OtherEventError("an event of another type than run:completed")
        return found

    def canonical(self, data: bytes, task_id: str, run_id: str) -> bytes:
        """The canonical text of a certain run. Raises WrongIdError for another run, else as ``read``."""
        keys, text = self.read(data)
        for name, actual, expected in zip(self._names, keys, (task_id, run_id), strict=False):
            if actual != expected:
                raise WrongIdError(f"its {name} is not that of its place", ascii(actual))
        return text


def has_same_content(text: bytes, other: bytes) -> bool:
    """Whether JavaScript reads the same from a run's text and from other bytes, valid JSON or not."""
    try:
        return reads_alike(text, other)
    except InvalidRunError:
        return False


def choose_entry(texts: Sequence[bytes], manifest: bytes | None) -> int:
    """Which of a run's entries in a snapshot counts: the last with the manifest's content, else the last."""
    if manifest is not None:
        for number in reversed(range(len(texts))):
            if has_same_content(texts[number], manifest):
                return number
    return len(texts) - 1


def order_by_growth(texts: Sequence[bytes]) -> list[bytes] | None:
    """The distinct texts, each with further members behind those of the one before it.

    ``texts``: canonical, as ``jsontext.reading`` gives them. None where they differ otherwise. The
    orchestrator writes the texts of a run at three moments, while it adds members to one object.
    """
    ordered = sorted(set(texts), key=len)
    return ordered if all(map(_has_grown, ordered, ordered[1:])) else None


def _has_grown(shorter: bytes, longer: bytes) -> bool:
    # Canonical text: where the members of the one end, a comma follows in the other.
    return longer.startswith(shorter.removesuffix(b"\n}") + b",\n")
