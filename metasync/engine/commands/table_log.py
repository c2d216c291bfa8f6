"""A table's log over all refs: who changed what, where, and from where it was merged. Only the store is read."""

from __future__ import annotations

from dataclasses import dataclass

from metasync.errors import UsageError
from metasync.model.hms import TableName
from metasync.planning.manifest import differing
from metasync.planning.merge import diff
from metasync.planning.three_way import ItemChange
from metasync.store.stores import Stores
from metasync.store.versions import Version


@dataclass(frozen=True)
class LogEntry:
    """One version of a table: when and on which ref it was seen, what it changed, and what it was merged from, by whom.

    `seen_at` is in Unix seconds; `by` is the committer of the merge, empty for DDL, whose author no server shows.
    """

    version: int
    seen_at: float
    ref: str
    commit: str
    items: tuple[ItemChange, ...]
    merged_from: str = ""
    by: str = ""


class TableLog:
    """Reads versions and says what each changed."""

    def __init__(self, stores: Stores) -> None:
        self._refs = stores.refs
        self._repositories = stores.repositories
        self._versions = stores.versions
        self._ledger = stores.ledger

    def log(self, repository: str, logical: TableName, limit: int) -> tuple[LogEntry, ...]:
        """Who changed a table, where and from where, the newest first; only the store is read."""
        known = self._repositories.identities(repository)
        if not known:
            raise UsageError(f"metasync has never seen a repository {repository!r}")
        repository_id = self._repositories.id_of(known[-1])
        found = {version.id: version for version in self._versions.log(repository_id, logical)}
        entries: list[LogEntry] = []
        for version in found.values():
            if len(entries) == limit:
                break
            before = found.get(version.parents[0]) if version.parents else None
            ref = self._refs.get(version.ref_id).ref
            other = found.get(version.parents[1]) if len(version.parents) > 1 else None
            merges = self._ledger.find_merges(version.commit, repository_id) if other and version.commit else ()
            merge = next((m for m in merges if m.destination_ref_id == version.ref_id), None)
            if other is not None and other.ref_id == version.ref_id:
                # The source once more, after what was withheld of it: nobody changed anything.
                continue
            if not version.commit and version.parents:
                continue
            items = self.items(before, version)
            if not items and other is None:
                continue
            source = str(self._refs.get(other.ref_id).ref) if other is not None else ""
            by = merge.committer if merge else ""
            entries.append(LogEntry(version.id, version.seen_at, str(ref), version.commit, items, source, by))
        return tuple(entries)

    def items(self, old: Version | None, new: Version | None) -> tuple[ItemChange, ...]:
        """What leads from one version to another; None stands for absent."""
        addresses = [version.definition if version else None for version in (old, new)]
        manifests = [self._versions.definition(a).manifest if a else () for a in addresses]
        wanted = {p.values for chunk in differing(manifests) for p in self._versions.load_chunk(chunk)}
        before, after = (self._versions.partial(address, wanted) for address in addresses)
        return diff(before, after)
