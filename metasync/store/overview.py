"""What people ask of the store: counts and searches over all repositories, each in one query."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select

from metasync.model.hms import TableName
from metasync.planning.changes import MergeTable
from metasync.planning.definition import header_from_json
from metasync.planning.plan import Plan
from metasync.store.database import Database
from metasync.store.ledger import MergeRow, merge_row, merged_table
from metasync.store.refs import RefRow, ref_row
from metasync.store.schema import (
    definitions,
    events,
    merge_tables,
    merges,
    mirrors,
    not_mirrored,
    refs,
    repositories,
    versions,
)

_AT_ONCE = 500


@dataclass(frozen=True)
class MirrorName:
    """A mirror by its two names."""

    repository: str
    ref_id: int
    logical: TableName
    physical: TableName


class Overview:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Refs

    def mirror_counts(self) -> dict[int, tuple[int, int]]:
        """Ref -> how many of its mirrors are made, and how many are planned in all."""
        query = select(mirrors.c.ref_id, func.count(mirrors.c.made_at), func.count()).group_by(mirrors.c.ref_id)
        return {row[0]: (int(row[1]), int(row[2])) for row in self._rows(query)}

    def not_mirrored_counts(self) -> dict[int, int]:
        """Ref -> how many tables it has no mirror of."""
        query = select(not_mirrored.c.ref_id, func.count()).group_by(not_mirrored.c.ref_id)
        return {row[0]: int(row[1]) for row in self._rows(query)}

    def not_mirrored(self) -> tuple[tuple[str, str, str, int, float], ...]:
        """(repository, logical name, reason, on how many living refs, since when) of tables without mirrors."""
        query = (
            select(
                repositories.c.name, not_mirrored.c.logical, not_mirrored.c.reason, func.count(),
                func.min(refs.c.first_seen),
            )
            .join(refs, refs.c.id == not_mirrored.c.ref_id)
            .join(repositories, repositories.c.id == refs.c.repository_id)
            .where(refs.c.state != "gone")
            .group_by(repositories.c.name, not_mirrored.c.logical, not_mirrored.c.reason)
            .order_by(repositories.c.name, not_mirrored.c.logical)
        )  # fmt: skip
        return tuple((row[0], row[1], row[2], int(row[3]), float(row[4] or 0)) for row in self._rows(query))

    def incarnations(self, ref_ids: Collection[int]) -> tuple[tuple[str, RefRow], ...]:
        """Incarnations of refs, over or not, by their numbers, with their repository's name."""
        return self._refs(_with_repository(refs).where(refs.c.id.in_(ref_ids)).order_by(refs.c.id))

    def incarnations_of(self, repository: str, type_: str, name: str) -> tuple[tuple[str, RefRow], ...]:
        """Every incarnation of a ref, the newest first."""
        named = (repositories.c.name == repository, refs.c.type == type_, refs.c.name == name)
        return self._refs(_with_repository(refs).where(*named).order_by(refs.c.id.desc()))

    def find_refs(self, text: str, limit: int) -> tuple[tuple[str, RefRow], ...]:
        """Incarnations of refs whose name holds a text, or whose head begins with it, the newest first."""
        holds = refs.c.name.icontains(text, autoescape=True) | refs.c.head.startswith(text.lower(), autoescape=True)
        return self._refs(_with_repository(refs).where(holds).order_by(refs.c.id.desc()).limit(limit))

    # Tables

    def find_mirrors(self, text: str, limit: int) -> tuple[MirrorName, ...]:
        """Mirrors whose logical or physical name holds a text."""
        holds = mirrors.c.physical.icontains(text, autoescape=True) | mirrors.c.logical.icontains(text, autoescape=True)
        query = (
            select(mirrors.c.ref_id, mirrors.c.logical, mirrors.c.physical, repositories.c.name.label("repository"))
            .join(refs, refs.c.id == mirrors.c.ref_id)
            .join(repositories, repositories.c.id == refs.c.repository_id)
            .where(holds)
            .order_by(mirrors.c.logical, mirrors.c.ref_id.desc())
            .limit(limit)
        )
        return tuple(
            MirrorName(row.repository, row.ref_id, TableName.parse(row.logical), TableName.parse(row.physical))
            for row in self._rows(query)
        )

    def find_tables(self, text: str, limit: int) -> tuple[tuple[str, str], ...]:
        """(repository, logical name) of the tables that are known and whose name holds a text."""
        query = (
            select(repositories.c.name, versions.c.logical)
            .join(refs, refs.c.id == versions.c.ref_id)
            .join(repositories, repositories.c.id == refs.c.repository_id)
            .where(versions.c.logical.icontains(text, autoescape=True))
            .distinct()
            .order_by(versions.c.logical, repositories.c.name)
            .limit(limit)
        )
        return tuple((row[0], row[1]) for row in self._rows(query))

    def mirrors_of(self, repository_id: int, logical: TableName) -> dict[int, TableName]:
        """Ref -> the physical name that its mirror of a table has, or had."""
        query = (
            select(mirrors.c.ref_id, mirrors.c.physical)
            .join(refs, refs.c.id == mirrors.c.ref_id)
            .where(refs.c.repository_id == repository_id, mirrors.c.logical == str(logical))
        )
        return {row.ref_id: TableName.parse(row.physical) for row in self._rows(query)}

    def sizes(self, addresses: Collection[str]) -> dict[str, tuple[int, int]]:
        """Definition -> how many columns and partitions it has."""
        found: dict[str, tuple[int, int]] = {}
        for some in batched(addresses, _AT_ONCE):
            query = select(definitions.c.hash, definitions.c.header, definitions.c.partitions)
            for row in self._rows(query.where(definitions.c.hash.in_(some))):
                header = header_from_json(json.loads(row.header))
                found[row.hash] = (len(header.sd.cols), int(row.partitions))
        return found

    # Merges

    def merges(
        self, *, ref_id: int | None = None, number: int | None = None, commit: str = "", limit: int = 50
    ) -> tuple[tuple[str, str, MergeRow], ...]:
        """(repository, destination, merge), the newest first: into a ref, of a number, or of a commit's beginning."""
        query = (
            select(merges, refs.c.type, refs.c.name.label("ref_name"), repositories.c.name.label("repository"))
            .join(refs, refs.c.id == merges.c.destination_ref_id)
            .join(repositories, repositories.c.id == merges.c.repository_id)
            .order_by(merges.c.id.desc())
            .limit(limit)
        )
        if ref_id is not None:
            query = query.where(merges.c.destination_ref_id == ref_id)
        if number is not None:
            query = query.where(merges.c.id == number)
        if commit:
            query = query.where(merges.c.commit.startswith(commit.lower(), autoescape=True))
        return tuple((row.repository, f"{row.type}/{row.ref_name}", merge_row(row)) for row in self._rows(query))

    def plan_of(self, repository: str, merge_id: int) -> Plan:
        """What a merge planned, table by table, done or not."""
        query = select(merge_tables.c.change).where(merge_tables.c.merge_id == merge_id)
        found: list[MergeTable] = [merged_table(row) for row in self._rows(query.order_by(merge_tables.c.logical))]
        return Plan(repository, tuple(found))

    # Events

    def finished(self) -> dict[str, float]:
        """Kind of event -> when one was last worked off."""
        query = select(events.c.kind, func.max(events.c.finished_at)).where(events.c.state == "done")
        return {row[0]: float(row[1]) for row in self._rows(query.group_by(events.c.kind))}

    def dead_events(self) -> int:
        """How many events failed for good."""
        return int(self._rows(select(func.count()).select_from(events).where(events.c.state == "dead"))[0][0])

    # Parts

    def _rows(self, query: Select[Any]) -> list[Any]:
        with self._database.reading() as connection:
            return list(connection.execute(query).all())

    def _refs(self, query: Select[Any]) -> tuple[tuple[str, RefRow], ...]:
        return tuple((row.repository, ref_row(row)) for row in self._rows(query))


def _with_repository(table: Any) -> Select[Any]:
    return select(table, repositories.c.name.label("repository")).join(
        repositories, repositories.c.id == table.c.repository_id
    )


def batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of at most `size` of them: databases bound what one statement names."""
    rest = list(items)
    for start in range(0, len(rest), size):
        yield rest[start : start + size]
