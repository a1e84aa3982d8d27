"""The rows of an index as a scan finds them, and their columns."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from ..columns import adopt, index_schema

if TYPE_CHECKING:
    import pyarrow as pa


class RowColumns:
    """The rows of a part as they are found, in source order."""

    def __init__(self) -> None:
        self._tasks: dict[str, int] = {}
        self._task = array("i")
        self._run_ids: list[str] = []
        self._timestamps: list[str] = []
        self._origins: dict[bytes, int] = {}
        self._origin = array("i")
        self._begun = 0
        """The origin of what comes next."""
        self._files: list[str] = []
        self._file = array("i")
        self._offsets, self._lengths, self._lines = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._run_ids)

    def begin(self, origin: bytes, file: str) -> None:
        """The rows from here on are of this file (``sources.SourceFile``)."""
        self._begun = self._origins.setdefault(origin, len(self._origins))
        self._files.append(file)

    def add(self, keys: tuple[str, str, str], offset: int, length: int, line: int) -> None:
        """A run; ``keys`` as in ``RunKeys``."""
        task_id, run_id, timestamp = keys
        self._task.append(self._tasks.setdefault(task_id, len(self._tasks)))
        self._run_ids.append(run_id)
        self._timestamps.append(timestamp)
        self._origin.append(self._begun)
        self._file.append(len(self._files) - 1)
        self._offsets.append(offset)
        self._lengths.append(length)
        self._lines.append(line)

    def batch(self) -> pa.RecordBatch | None:
        """All rows; add nothing after it."""
        if not self._run_ids:
            return None
        import pyarrow as pa

        tasks = pa.array(list(self._tasks), pa.string())
        origins = pa.array(list(self._origins), pa.binary())
        files = pa.array(self._files, pa.string())
        return pa.RecordBatch.from_arrays(
            [
                pa.DictionaryArray.from_arrays(adopt(self._task, pa.int32()), tasks),
                pa.array(self._run_ids, pa.string()),
                pa.array(self._timestamps, pa.string()),
                pa.DictionaryArray.from_arrays(adopt(self._origin, pa.int32()), origins),
                pa.DictionaryArray.from_arrays(adopt(self._file, pa.int32()), files),
                *(adopt(column, pa.int64()) for column in (self._offsets, self._lengths, self._lines)),
            ],
            schema=index_schema(),
        )
