"""Reading the partitions of a table into the store: all of them, or those that the metastore's log names."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

from metasync.errors import NotFound, ObservationMoved
from metasync.metastore import Metastore
from metasync.metastore.notification_log import LogPosition
from metasync.model.hms import Partition, PartitionValues
from metasync.model.marks import MAKING
from metasync.planning.changes import PartitionChange
from metasync.planning.definition import VOLATILE, Home, PartitionDefinition, PartitionReader, content_hash
from metasync.planning.kinds.partitions import partition_key
from metasync.planning.locations import is_relative
from metasync.planning.manifest import Chunk, Manifest, cut, patch
from metasync.planning.observed import TableView
from metasync.planning.partition_names import partition_name
from metasync.planning.table_type import TYPE_PARAMETERS
from metasync.store.readings import Readings, WholeReading
from metasync.store.versions import VersionStore

_SHAPE = 2
"""Counted up when what a partition is read as changes: readings of before are none then."""
_LARGE = 100_000
"""Partitions from which on tables are read one at a time: a million's names, which HMS gives at once, take 60 MB."""


class ManifestReader:
    """Reads manifests, a chunk in memory at a time. With `use_log`, only what changed since the last whole reading.

    `servers` are the metastore's addresses: another one's log says nothing about what was read from this.
    """

    def __init__(
        self,
        metastore: Metastore,
        versions: VersionStore,
        readings: Readings,
        *,
        use_log: bool,
        servers: Sequence[str],
    ) -> None:
        self._metastore = metastore
        self._versions = versions
        self._readings = readings
        self._use_log = use_log
        self._servers = list(servers)
        self._large = threading.Lock()

    def position(self) -> LogPosition | None:
        """The log's newest entry, to be asked for before a table's header is read; None where the log is not used."""
        return self._metastore.log_position() if self._use_log else None

    def read(
        self,
        ref_id: int,
        view: TableView,
        home: Home,
        ignored: tuple[str, ...],
        known: str | None,
        position: LogPosition | None,
    ) -> tuple[Manifest, tuple[PartitionChange, ...], str]:
        """A table's partitions, those that are stranded, and a location of one that is not on the ref.

        `known` is the definition in force. Raises ObservationMoved where the table is dropped meanwhile.
        """
        settling = _Settling(self._versions, PartitionReader(view.table, home, ignored), known)
        manifest = self._patched(ref_id, view, ignored, position, settling) if position is not None else None
        if manifest is None:
            settling.stranded.clear()
            count = sum(chunk.count for chunk in self._versions.definition(known).manifest) if known else 0
            with self._large if count >= _LARGE else nullcontext():
                manifest = self._whole(view, settling)
        return manifest, tuple(settling.stranded), settling.outside

    def note(
        self, ref_id: int, view: TableView, ignored: tuple[str, ...], definition: str, position: LogPosition
    ) -> None:
        """The table, and all of its partitions, was as this definition says when the log was there at the least."""
        seen = WholeReading(definition, position.number, position.at, self._fingerprint(view, ignored))
        self._readings.note(ref_id, view.logical, seen)

    def _fingerprint(self, view: TableView, ignored: tuple[str, ...]) -> str:
        """What a reading depends on beside the metastore's content."""
        return content_hash(
            [_SHAPE, str(view.physical), list(ignored), list(VOLATILE), list(TYPE_PARAMETERS), self._servers]
        )

    def _whole(self, view: TableView, settling: _Settling) -> Manifest:
        chunks: list[Chunk] = []

        def settled() -> Iterator[PartitionDefinition]:
            for partition in self._metastore.iter_partitions(view.physical, view.table.partition_keys):
                definition = settling.of(partition)
                if definition is not None:
                    yield definition

        try:
            for chunk, content in cut(settled()):
                self._versions.put_chunk(chunk, content)
                chunks.append(chunk)
        except NotFound as error:
            raise ObservationMoved(f"{view.physical}: the table was dropped while it was read") from error
        return tuple(chunks)

    def _patched(
        self,
        ref_id: int,
        view: TableView,
        ignored: tuple[str, ...],
        position: LogPosition,
        settling: _Settling,
    ) -> Manifest | None:
        """The last reading with what the log names read anew; None where the log does not say."""
        last = self._readings.last(ref_id, view.logical)
        if last is None or last.fingerprint != self._fingerprint(view, ignored):
            return None
        name, keys = view.physical, view.table.partition_keys
        since = LogPosition(last.position, last.logged_at)
        values = self._metastore.changed_partitions(name, keys, since, position) if keys else None
        if values is None:
            return None
        names = [partition_name(keys, one) for one in sorted(values)]
        changes: dict[PartitionValues, PartitionDefinition | None] = dict.fromkeys(values)
        try:
            for partition in self._metastore.get_partitions(name, names) if names else ():
                changes[partition.values] = settling.of(partition)
        except NotFound:
            return None
        chunks: list[Chunk] = []
        for chunk, content in patch(
            self._versions.definition(last.definition).manifest, changes, self._versions.load_chunk
        ):
            if content is not None:
                self._versions.put_chunk(chunk, content)
            chunks.append(chunk)
        return tuple(chunks)


class _Settling:
    """Partitions as they count, and those found where a merge had them for a moment only.

    One with the mark of being made lies at the ref's root: a merge is adding it, or somebody's ALTER of the table wrote
    it back as it was then. It counts as where the store has it, and where the store has none it is not there yet.
    `outside` is a location that is not on the ref.
    """

    def __init__(self, versions: VersionStore, read: PartitionReader, known: str | None) -> None:
        self._read = read
        self.stranded: list[PartitionChange] = []
        self.outside = ""
        self._versions = versions
        self._known = known

    def of(self, found: Partition) -> PartitionDefinition | None:
        partition = self._read(found)
        if partition.location and not is_relative(partition.location):
            self.outside = self.outside or partition.location
        if MAKING not in found.parameters:
            return partition
        before = self._versions.partial(self._known, {partition.values})
        was = before.partitions.get(partition_key(partition.values)) if before is not None else None
        if was is None:
            return None
        placed = replace(partition, location=was.location)
        self.stranded.append(PartitionChange(partition.values, partition, placed))
        return placed
