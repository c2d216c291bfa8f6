"""A table's history as a graph: a lane for each ref, a dot for each version, lines to what it came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from metasync.application.answers import Lane, TablePage, VersionNode, moment
from metasync.engine.commands.table_log import TableLog
from metasync.model.hms import TableName
from metasync.planning.descriptions import describe_item
from metasync.store.refs import RefRow
from metasync.store.stores import Stores
from metasync.store.versions import Version

_MOST_ITEMS = 12


def table_page(
    stores: Stores, log: TableLog, repository: str, repository_id: int, logical: TableName, most: int
) -> TablePage:
    """The newest `most` versions of a table on all refs, and the refs that have it without one of their own."""
    known = {version.id: version for version in stores.versions.log(repository_id, logical)}
    shown = list(known.values())[:most]
    names = stores.overview.mirrors_of(repository_id, logical)
    living = {row.id for row in stores.refs.living(repository_id)}
    wanted = {version.ref_id for version in shown} | {ref_id for ref_id in names if ref_id in living}
    rows = {row.id: row for _, row in stores.overview.incarnations(wanted)}
    forks = {row.id: fork_of(row, _with_parents(stores, row), tuple(known.values())) for row in rows.values()}
    order = {row.id: number for number, row in enumerate(lanes(tuple(rows.values()), names))}
    return TablePage(
        repository=repository,
        table=str(logical),
        lanes=tuple(
            Lane(
                ref=str(rows[ref_id].ref), incarnation=rows[ref_id].incarnation, life=rows[ref_id].state,
                physical=str(names.get(ref_id, logical)), fork=forks[ref_id],
            )
            for ref_id in order
        ),
        versions=tuple(_node(stores, log, repository_id, version, known, order) for version in shown),
        more=len(known) > len(shown),
    )  # fmt: skip


def lanes(rows: Sequence[RefRow], names: Mapping[int, TableName]) -> list[RefRow]:
    """Refs that people register tables on first, then mirrored ones in the order in which they were created."""
    return sorted(rows, key=lambda row: (row.id in names, row.id))


def fork_of(row: RefRow, parents: Mapping[int, RefRow], versions: Collection[Version]) -> int | None:
    """The version that a ref began with: its nearest ancestor's newest one up to the watermark."""
    limit, ref = row.watermark, row
    while ref.parent_id is not None:
        own = [v.id for v in versions if v.ref_id == ref.parent_id and v.id <= limit]
        if own:
            return max(own)
        ref = parents[ref.parent_id]
        limit = min(limit, ref.watermark)
    return None


def _with_parents(stores: Stores, row: RefRow) -> dict[int, RefRow]:
    found: dict[int, RefRow] = {}
    while row.parent_id is not None:
        row = found[row.parent_id] = stores.refs.get(row.parent_id)
    return found


def _node(
    stores: Stores,
    log: TableLog,
    repository_id: int,
    version: Version,
    known: Mapping[int, Version],
    order: Mapping[int, int],
) -> VersionNode:
    before = known.get(version.parents[0]) if version.parents else None
    other = known.get(version.parents[1]) if len(version.parents) > 1 else None
    items = log.items(before, version) if before is not None else ()
    words = [describe_item(item) for item in items[:_MOST_ITEMS]]
    if not version.parents:
        words = ["first seen"] if version.definition else ["absent"]
    if len(items) > _MOST_ITEMS:
        words.append(f"and {len(items) - _MOST_ITEMS} more")
    again = other is not None and other.ref_id == version.ref_id
    note = ""
    if again:
        note = "all of it again: what was withheld is offered at the next merge"
    elif version.parents and not version.commit:
        note = "what a merge carried of it; the rest was withheld"
    merges = stores.ledger.find_merges(version.commit, repository_id) if other and version.commit else ()
    return VersionNode(
        id=version.id,
        lane=order[version.ref_id],
        parents=version.parents,
        commit=version.commit,
        seen=moment(version.seen_at),
        absent=version.definition is None,
        changes=tuple(words),
        merged_from=str(stores.refs.get(other.ref_id).ref) if other and not again else "",
        by=next((m.committer for m in merges if m.destination_ref_id == version.ref_id), ""),
        note=note,
    )
