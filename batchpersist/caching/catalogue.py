"""The catalogue: what the last batch learnt of its sources and outputs, so that the next need not read them.

It is only a cache (docs/decisions/0005-catalogue.md). For each source file it holds the file's
stamp and its rows of the index, and for each row two more stamps: of the manifest that holds
the run's text, and of the snapshot that holds its entry. Each of them says "a file of this
stamp has this content", which stays true whatever happens to the files; and a file that has
the stamp now has the content still.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..files.versions import boot_id
from ..layout import Layout
from ..models import Keys
from .cataloguefile import CatalogueError, read_file
from .knownsources import KnownSources

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 3

_ROW_BYTES = 150
"""Of a row with its stamps, about."""


@dataclass(frozen=True)
class Catalogue:
    """A catalogue that was read."""

    sources: KnownSources
    rows: pa.Table
    """Of the index."""
    stamps: pa.Table
    """Of the same rows: ``manifest_stamp`` and ``snapshot_stamp``."""
    synced: bool
    """Whether the outputs that the stamps are of are known to be on the disk."""


def likely_rows(layout: Layout) -> int:
    """Of the catalogue of these roots, about, without reading it."""
    try:
        return os.path.getsize(layout.catalogue) // _ROW_BYTES
    except OSError:
        return 0


def load_catalogue(layout: Layout, keys: Keys) -> Catalogue | None:
    """The catalogue of these roots; None where there is none, or none that can be believed."""
    try:
        header, (sources, rows, stamps) = read_file(layout.catalogue, tables=3)
        found = json.loads(header)
        boot = found.pop("boot")
        known = KnownSources(sources)
    except (OSError, CatalogueError, ValueError, KeyError, AttributeError):
        return None
    if found != _scope(layout, keys) or (boot is not None and not boot == boot_id() != ""):
        return None
    return Catalogue(known, rows.combine_chunks(), stamps.combine_chunks(), synced=boot is None)


def header(layout: Layout, keys: Keys, *, synced: bool) -> bytes:
    """What a new catalogue of these roots begins with; tables of a ``SourceLog`` and of the index follow.

    ``synced``: whether all outputs that there are stamps of will have been. One that was not may be torn
    after a power cut although its times are those of before: then the catalogue ends with this boot.
    """
    return json.dumps({**_scope(layout, keys), "boot": None if synced else boot_id()}).encode()


def _scope(layout: Layout, keys: Keys) -> dict[str, Any]:
    """What a catalogue holds good for. Other versions may word the rows of a table otherwise.

    Names of files are kept as text, which another encoding would take for others.
    """
    import msgspec
    import pyarrow as pa

    roots = {"out_dir": os.fsencode(layout.out_dir).hex(), "runs_dir": os.fsencode(layout.runs_dir).hex()}
    makers = {"batchpersist": __version__, "pyarrow": pa.__version__, "msgspec": msgspec.__version__}
    makers["encoding"] = sys.getfilesystemencoding()
    return {"format": FORMAT, **makers, **roots, **asdict(keys)}
