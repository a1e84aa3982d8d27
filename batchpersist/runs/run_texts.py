"""Whether a text is the run that belongs at its place."""

from __future__ import annotations

from ..errors import InvalidRunError, MissingKeyError, UnsafeIdentifierError
from ..models import Keys, RunKeys
from .jsontext import string
from .runreader import RunReader


class WrongIdError(InvalidRunError):
    """A completed run, but not the one that belongs at its place."""


class OtherEventError(InvalidRunError):
    """An event, but not that of a completed run."""


class RunCheck:
    """Looks at texts whose identity stands under the given keys."""

    def __init__(self, keys: Keys) -> None:
        self._names = keys.task, keys.run
        self._read = RunReader(keys).read_canonical
        self._task_mark = b"\n  %b: " % string(keys.task)

    def belongs(self, text: bytes, task_id: str) -> bool:
        """Whether a run's canonical text says that it is of this task. Raises MissingKeyError."""
        mark = self._task_mark
        if text.startswith(b"{%b%b," % (mark, string(task_id))) and text.count(mark) == 1:
            return True  # as nearly all begin, and for less than to decode it
        try:
            return self.read(text)[0].task_id == task_id
        except MissingKeyError:
            raise
        except InvalidRunError:
            return False

    def read(self, data: bytes) -> tuple[RunKeys, bytes]:
        """Keys and canonical text. Raises WrongIdError for an unsafe id, InvalidRunError for other text."""
        try:
            found = self._read(data)
        except UnsafeIdentifierError as error:
            raise WrongIdError(error.message, error.detail) from error
        if found is None:
            raise OtherEventError("an event of another type than run:completed")
        return found

    def canonical(self, data: bytes, task_id: str, run_id: str) -> bytes:
        """The canonical text of a certain run. Raises WrongIdError where it is another, and as ``read``."""
        keys, text = self.read(data)
        for name, says, ought in zip(self._names, keys, (task_id, run_id), strict=False):
            if says != ought:
                raise WrongIdError(f"its {name} is not that of its place", ascii(says))
        return text
