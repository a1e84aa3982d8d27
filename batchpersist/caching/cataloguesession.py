"""What one batch has to do with the catalogue, from its scan to its end."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ..batches.preparation import keeps_cache, reads_cache
from ..columns import compact, whole
from ..figures.outcomes import OutcomeBuilder
from ..layout import Layout
from ..models import Durability
from ..options import BatchOptions
from ..planning.plan import Plan
from .catalogue import Catalogue, header, load_catalogue
from .cataloguefile import CatalogueWriter
from .catalogueoutputs import new_stamps, with_known_stamps
from .sourcelog import SourceLog

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


class CatalogueSession:
    """Does nothing where the options do without. ``spool``: a folder of the batch. To be closed."""

    def __init__(self, layout: Layout, options: BatchOptions, spool: str) -> None:
        self._layout = layout
        self._options = options
        self._catalogue = load_catalogue(layout, options.keys) if reads_cache(options) else None
        self._durable = options.durability is not Durability.NONE
        self._stamps = self._known_stamps(self._catalogue)
        self._known: pa.Array | None = None
        self._rows = 0
        self.log = SourceLog(lambda batch: self._write([batch]))
        self._writer: CatalogueWriter | None = None
        if keeps_cache(options):
            with self._giving_up():
                begin = header(layout, options.keys, synced=self._durable)
                self._writer = CatalogueWriter(os.path.join(spool, "catalogue"), begin)

    def _known_stamps(self, catalogue: Catalogue | None) -> pa.Table | None:
        """What was not synced is to be looked at, and synced, by a batch that promises so."""
        if catalogue is None or (self._durable and not catalogue.synced):
            return None
        return catalogue.stamps

    def take_catalogue(self) -> Catalogue | None:
        """For the scan alone: its rows are not kept any longer."""
        catalogue, self._catalogue = self._catalogue, None
        return catalogue

    def indexed(self, index: pa.Table) -> None:
        """The scan has ended. The rows are put aside: memory is for the plan from now on."""
        self._rows = index.num_rows
        if not self._rows or not self.log:
            self.close()
        self.log.flush()
        self._end_table()
        if self._writer is not None:
            if "known" in index.column_names:
                self._known = whole(index["known"])
                index = index.drop_columns("known")
            self._write(_pruned(index).to_batches())
            self._end_table()

    def informed(self, plan: Plan) -> Plan:
        """The plan with what is known of its outputs, which the workers need not read then."""
        if self._stamps is None or self._options.force:
            return plan
        return replace(plan, rows=with_known_stamps(plan.rows, self._stamps))

    def save(self, plan: Plan, outcomes: OutcomeBuilder) -> None:
        """All that could be has settled: leave what was learnt to the next batch.

        What an earlier one left stays true, and of a run that was not attempted nothing was learnt.
        """
        if self._writer is not None:
            self._write(new_stamps(plan.rows, outcomes, self._known, self._stamps, self._rows))
            self._end_table()
        if self._writer is not None:
            with self._giving_up():
                self._writer.publish(self._layout.catalogue)
        self._stamps = self._known = None

    def close(self) -> None:
        """What has not been saved by now is let go of."""
        if self._writer is not None:
            self._writer.discard()
        self._writer = None

    def _write(self, batches: Iterable[pa.RecordBatch]) -> None:
        if self._writer is not None:
            with self._giving_up():
                for batch in batches:
                    self._writer.write(batch)

    def _end_table(self) -> None:
        if self._writer is not None:
            with self._giving_up():
                self._writer.end_table()

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """A cache that cannot be kept is no reason for a batch to fail."""
        try:
            yield
        except OSError as error:
            self.close()
            _log.warning("what was learnt of unchanged files cannot be kept: %s", error)


def _pruned(index: pa.Table) -> pa.Table:
    """Without the dictionaries' values that no row has: they would add up from night to night."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for number, field in enumerate(index.schema):
        if pa.types.is_dictionary(field.type) and index.num_rows:
            column = whole(index[number])
            if pc.count_distinct(column.indices).as_py() < len(column.dictionary):
                index = index.set_column(number, field, compact(column))
    return index
