"""The version graph and the content-addressed definitions below it.

A fork writes no versions: a ref reads its parent's up to the watermark, and the parent reads its own parent's.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select
from sqlalchemy import Table as SQLTable

from metasync.model.hms import NO_CONSTRAINTS, PartitionValues, Table, TableName
from metasync.planning.definition import (
    PartitionDefinition,
    content_hash,
    header_from_json,
    header_json,
    partition_from_json,
    partition_json,
)
from metasync.planning.item_tree import Definition, Partial
from metasync.planning.kinds.partitions import partition_key
from metasync.planning.locations import path_on_ref
from metasync.planning.manifest import Chunk, Manifest, Partitions, covering, definition_hash
from metasync.store.database import Database, insert_new, new_id
from metasync.store.refs import RefRow
from metasync.store.schema import chunks, definitions, refs, repositories, versions

_KEPT, _SMALL = 1000, 50
"""Definitions that are kept in memory, of at most as many chunks: one of a million partitions has some 4,000, 2 MB."""


@dataclass(frozen=True)
class Version:
    """A node of the graph. `definition` None: the table is absent."""

    id: int
    ref_id: int
    logical: TableName
    definition: str | None
    parents: tuple[int, ...]
    commit: str
    seen_at: float


@dataclass(frozen=True)
class StoredDefinition:
    """A definition's header and the addresses of its partitions; `header_hash` leaves the constraints out."""

    hash: str
    header_hash: str
    header: Table
    manifest: Manifest
    partitions: int


class VersionStore:
    """Reads and writes of versions, definitions and chunks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[str, StoredDefinition] = {}
        self._lock = threading.Lock()

    # Definitions

    def put_chunk(self, chunk: Chunk, partitions: Partitions) -> None:
        """Keeps a chunk; the same content is kept once."""

        def content() -> str:
            return json.dumps([partition_json(p) for p in partitions], separators=(",", ":"), ensure_ascii=False)

        self._keep(chunks, chunk.hash, lambda: {"content": zlib.compress(content().encode(), level=3)})

    def load_chunk(self, chunk: Chunk) -> tuple[PartitionDefinition, ...]:
        return tuple(partition_from_json(item) for item in json.loads(zlib.decompress(self._content(chunk))))

    def _content(self, chunk: Chunk) -> bytes:
        with self._database.reading() as connection:
            found = connection.execute(select(chunks.c.content).where(chunks.c.hash == chunk.hash)).scalar_one()
        return bytes(found)

    def partitions(self, manifest: Manifest) -> Iterator[PartitionDefinition]:
        """All partitions of a manifest, one chunk in memory at a time."""
        for chunk in manifest:
            yield from self.load_chunk(chunk)

    def put_definition(self, header: Table, manifest: Manifest, known: str | None = None) -> str:
        """Keeps a definition whose chunks are kept already; gives its address. `known` is kept already."""
        header_value = header_json(header)
        address = definition_hash(content_hash(header_value), manifest)
        if address == known:
            return address
        # Headers are compared in bulk, and constraints never come in bulk.
        header_hash = content_hash(header_json(replace(header, constraints=NO_CONSTRAINTS)))
        self._keep(
            definitions,
            address,
            lambda: {
                "header_hash": header_hash,
                "header": json.dumps(header_value, ensure_ascii=False),
                "manifest": json.dumps([[c.hash, c.first, c.last, c.count] for c in manifest]),
                "partitions": sum(chunk.count for chunk in manifest),
            },
        )
        return address

    def _keep(self, table: SQLTable, address: str, content: Callable[[], dict[str, Any]]) -> None:
        """Inserts a content-addressed row where it is new: most are not, and then nobody waits for the disk."""
        with self._database.reading() as connection:
            if connection.execute(select(table.c.hash).where(table.c.hash == address)).one_or_none() is not None:
                return
        with self._database.transaction() as connection:
            connection.execute(insert_new(connection, table).values(hash=address, **content()))

    def definition(self, address: str) -> StoredDefinition:
        """A definition by its address: what was read once is never another, so the last small ones stay in memory."""
        with self._lock:
            found = self._kept.get(address)
        if found is None:
            found = self._read_definition(address)
            if len(found.manifest) <= _SMALL:
                with self._lock:
                    self._kept[address] = found
                    while len(self._kept) > _KEPT:
                        del self._kept[next(iter(self._kept))]
        return found

    def _read_definition(self, address: str) -> StoredDefinition:
        with self._database.reading() as connection:
            row = connection.execute(select(definitions).where(definitions.c.hash == address)).one()
        manifest = tuple(Chunk(h, tuple(first), tuple(last), n) for h, first, last, n in json.loads(row.manifest))
        header = header_from_json(json.loads(row.header))
        return StoredDefinition(row.hash, row.header_hash, header, manifest, row.partitions)

    def header_hashes(self, addresses: Iterable[str]) -> dict[str, str]:
        """Definition -> header hash, to see in bulk which headers changed."""
        wanted = list(addresses)
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for start in range(0, len(wanted), 500):
                rows = connection.execute(
                    select(definitions.c.hash, definitions.c.header_hash).where(
                        definitions.c.hash.in_(wanted[start : start + 500])
                    )
                )
                found |= {row.hash: row.header_hash for row in rows}
        return found

    def partial(self, address: str | None, values: Collection[PartitionValues] | None) -> Definition:
        """A definition with those of its partitions that are asked for, all of them for None."""
        if address is None:
            return None
        stored = self.definition(address)
        chunks = stored.manifest if values is None else covering(stored.manifest, values)
        found = (p for chunk in chunks for p in self.load_chunk(chunk))
        return Partial(
            stored.header, {partition_key(p.values): p for p in found if values is None or p.values in values}
        )

    def lying_at(self, manifest: Manifest, paths: Collection[str]) -> dict[str, list[PartitionDefinition]]:
        """Path on the ref -> the partitions that lie there, of these paths; one chunk in memory at a time.

        Of chunks that do not name a path nothing is decoded, unless more are asked for than a chunk has partitions.
        """
        found: dict[str, list[PartitionDefinition]] = {}
        words = [json.dumps(path, ensure_ascii=False)[1:-1].encode() for path in paths]
        for chunk in manifest if paths else ():
            text = zlib.decompress(self._content(chunk))
            if len(words) > chunk.count or any(word in text for word in words):
                for partition in map(partition_from_json, json.loads(text)):
                    path = path_on_ref(partition.location or "")
                    if path in paths and path is not None:
                        found.setdefault(path, []).append(partition)
        return found

    # Versions

    def in_force(self, ref: RefRow, watermark: int | None = None) -> dict[TableName, Version]:
        """The newest version of every table on a ref, inherited ones included; at most `watermark` if given."""
        found: dict[TableName, Version] = {}
        with self._database.reading() as connection:
            for ref_id, limit in _chain(connection, ref, watermark):
                newest = select(func.max(versions.c.id)).where(versions.c.ref_id == ref_id)
                if limit is not None:
                    newest = newest.where(versions.c.id <= limit)
                rows = connection.execute(
                    select(versions).where(versions.c.id.in_(newest.group_by(versions.c.logical)))
                )
                for row in rows:
                    version = _version(row)
                    found.setdefault(version.logical, version)
        return found

    def newest_id(self) -> int:
        """The watermark of a fork made now."""
        with self._database.reading() as connection:
            return int(connection.execute(select(func.max(versions.c.id))).scalar_one() or 0)

    def get(self, version_id: int) -> Version:
        with self._database.reading() as connection:
            return _version(connection.execute(select(versions).where(versions.c.id == version_id)).one())

    def graph(self, repository_id: int, logical: TableName) -> dict[int, tuple[int, ...]]:
        """Version -> parents, for one table of one repository; none of before its history was severed."""
        severed = select(repositories.c.severed_at).where(repositories.c.id == repository_id).scalar_subquery()
        with self._database.reading() as connection:
            rows = connection.execute(
                select(versions.c.id, versions.c.parent1, versions.c.parent2)
                .join(refs, refs.c.id == versions.c.ref_id)
                .where(
                    refs.c.repository_id == repository_id,
                    versions.c.logical == str(logical),
                    versions.c.id > severed,
                )
            ).all()
        return {row.id: tuple(p for p in (row.parent1, row.parent2) if p is not None) for row in rows}

    def log(self, repository_id: int, logical: TableName, limit: int = 1000) -> tuple[Version, ...]:
        """Every version of a table on any ref of a repository, the newest first."""
        query = (
            select(versions)
            .join(refs, refs.c.id == versions.c.ref_id)
            .where(refs.c.repository_id == repository_id, versions.c.logical == str(logical))
            .order_by(versions.c.id.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return tuple(_version(row) for row in connection.execute(query))

    def own(self, ref_id: int) -> dict[TableName, Version]:
        """The newest version of each table that has one on this very ref."""
        newest = select(func.max(versions.c.id)).where(versions.c.ref_id == ref_id).group_by(versions.c.logical)
        with self._database.reading() as connection:
            rows = connection.execute(select(versions).where(versions.c.id.in_(newest))).all()
        return {version.logical: version for version in map(_version, rows)}

    def add(self, ref_id: int, logical: TableName, definition: str | None, parents: Sequence[int], commit: str) -> int:
        """Adds a version; gives its number, which is larger than its parents'."""
        with self._database.transaction() as connection:
            return add_version(connection, ref_id, logical, definition, parents, commit, self._database.now())


def add_version(
    connection: Connection,
    ref_id: int,
    logical: TableName,
    definition: str | None,
    parents: Sequence[int],
    commit: str,
    now: float,
) -> int:
    """As `VersionStore.add`, inside a transaction."""
    first, second = (*parents, None, None)[:2]
    result = connection.execute(
        insert(versions).values(
            ref_id=ref_id,
            logical=str(logical),
            definition=definition,
            parent1=first,
            parent2=second,
            commit=commit,
            seen_at=now,
        )
    )
    return new_id(result)


def _chain(connection: Connection, ref: RefRow, watermark: int | None) -> Iterator[tuple[int, int | None]]:
    """A ref and its ancestors, each with the newest version number that counts."""
    ref_id: int | None = ref.id
    parent_id, inherited, limit = ref.parent_id, ref.watermark, watermark
    while ref_id is not None:
        yield ref_id, limit
        if parent_id is None:
            return
        limit = inherited if limit is None else min(limit, inherited)
        ref_id = parent_id
        row = connection.execute(select(refs.c.parent_id, refs.c.watermark).where(refs.c.id == parent_id)).one()
        parent_id, inherited = row.parent_id, row.watermark


def _version(row: Row[Any]) -> Version:
    parents = tuple(p for p in (row.parent1, row.parent2) if p is not None)
    return Version(row.id, row.ref_id, TableName.parse(row.logical), row.definition, parents, row.commit, row.seen_at)
