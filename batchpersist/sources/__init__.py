"""Sources: finds what there is to read, and reads each format (docs/sources.md).

``discover`` finds the sources and cuts them into scan tasks. In the process that runs one, a ``SourceReader``
reads its sources as JSON documents. A ``SourceFile`` is what the index keeps of a source, to read a run's
bytes again.
"""

from .discovery import absolute, discover, expand, is_read_from, paths_of, source_exists
from .object_store import is_remote
from .scan_tasks import SCAN_TASK_BYTES, ScanTask
from .source import PackedSources, Source, SourceFile, source_names
from .source_reader import SourceReader, StagedSource
from .streams import STANDARD_INPUT, standard_input_blocks

__all__ = [
    "PackedSources",
    "SCAN_TASK_BYTES",
    "STANDARD_INPUT",
    "ScanTask",
    "Source",
    "SourceFile",
    "SourceReader",
    "StagedSource",
    "absolute",
    "discover",
    "expand",
    "is_read_from",
    "is_remote",
    "paths_of",
    "source_exists",
    "source_names",
    "standard_input_blocks",
]
