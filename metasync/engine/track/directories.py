"""Finding the directories below a table that commits added to or emptied, by lakeFS's diff and never by a listing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metasync.engine.isolation import one_table
from metasync.engine.threads import parallel
from metasync.engine.track.changed_paths import ChangedPaths
from metasync.engine.track.lineage import Lineage
from metasync.engine.track.sync_pass import SyncPass
from metasync.lakefs import LakeFS
from metasync.model.hms import TableName
from metasync.planning.discovery import Directory, discovered, places, wanted_values
from metasync.planning.locations import is_relative, path_on_ref
from metasync.planning.observed import DiscoveredTable
from metasync.planning.rules import RuleSet, takes_table
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

_AT_ONCE = 8
_LONGEST_WALK = 10_000


class Discoverer:
    """Looks at what moved a ref since its partitions were last discovered.

    On a branch of mirrors every commit counts. On a canonical branch only merges do: metasync never owns its tables.
    """

    def __init__(
        self,
        stores: Stores,
        lakefs: LakeFS,
        lineage: Lineage,
        rules: RuleSet,
    ) -> None:
        self._lakefs = lakefs
        self._refs = stores.refs
        self._versions = stores.versions
        self._lineage = lineage
        self._rules = rules

    def discover(self, sync_pass: SyncPass, row: RefRow) -> tuple[DiscoveredTable, ...]:
        """The partitions that directories of this ref make or end; a ref without any is noted as done."""
        head = sync_pass.refs.heads[row.ref]
        if row.discovered_head == head:
            return ()
        repository = sync_pass.repository.name
        tables = self._tables(sync_pass, row)
        found: list[DiscoveredTable] = []
        failed: dict[TableName, str] = {}
        ranges = self._ranges(sync_pass, row, head) if tables else []
        for logical, rule in tables if ranges else ():
            with one_table(logical, failed, f"discovering partitions of {logical}"):
                table = self._table(repository, row, head, logical, rule, ranges)
                if table is not None:
                    found.append(table)
        if found:
            # Only now it is worth reading every partition: what somebody did to them by hand comes first.
            reading = self._lineage.read(sync_pass, row, partitions=True)
            found = [
                table
                for old in found
                if old.logical not in reading.failed and (table := self._again(row, old)) is not None
            ]
            failed |= {old: why for old, why in reading.failed.items() if old in dict(tables)}
        if not found and not failed:
            self._refs.update(row.id, discovered_head=head)
        sync_pass.failed.setdefault(row.id, {}).update(failed)
        return tuple(found)

    def _tables(self, sync_pass: SyncPass, row: RefRow) -> list[tuple[TableName, str]]:
        """The partitioned tables of the ref whose rule discovers, each with that rule's name."""
        name = sync_pass.repository.name
        rules = [rule for rule in self._rules.of_repository(name) if rule.partitions == "discover"]
        if not rules:
            return []
        reading = self._lineage.read(sync_pass, row, partitions=False)
        canonical = row.ref.name in self._rules.canonical_branches(sync_pass.repository)
        found = []
        for view in reading.tables:
            if not view.table.partition_keys or view.kind == "making":
                continue
            rule = self._rules.of_table(name, row.ref, view.logical)
            if rule is None and canonical:
                rule = next((one for one in rules if takes_table(one, view.logical)), None)
            if rule is not None and rule.partitions == "discover" and rule.merge != "ignore":
                found.append((view.logical, rule.name))
        return found

    def _ranges(self, sync_pass: SyncPass, row: RefRow, head: str) -> list[ChangedPaths]:
        """What differs between the commits whose data counts."""
        name = sync_pass.repository.name
        if row.discovered_head is None:
            return []
        if row.ref.name not in self._rules.canonical_branches(sync_pass.repository):
            return [ChangedPaths(self._lakefs, name, row.discovered_head, head)]
        merges: list[ChangedPaths] = []
        for commit in self._lakefs.first_parents(name, head, _LONGEST_WALK):
            if commit.id == row.discovered_head:
                return merges
            if len(commit.parents) > 1 or commit.merge_strategy is not None:
                merges.append(ChangedPaths(self._lakefs, name, commit.parents[0], commit.id))
        # The old head is not in the history any more: a reset brings no data of its own.
        return []

    def _table(
        self,
        repository: str,
        row: RefRow,
        head: str,
        logical: TableName,
        rule: str,
        ranges: Sequence[ChangedPaths],
    ) -> DiscoveredTable | None:
        version = self._versions.in_force(row).get(logical)
        if version is None or version.definition is None:
            return None
        header = self._versions.definition(version.definition).header
        root = path_on_ref(header.sd.location or "") if is_relative(header.sd.location) else None
        if not root:
            return None
        depth = len(header.partition_keys)
        changed = sorted({path for one in ranges for path in one.partitions(root, depth)})

        def directory(path: str) -> Directory:
            where = f"{root}/{path}"
            filled = self._lakefs.has_data(repository, head, where)
            return Directory(path, filled, not filled and not self._lakefs.has_objects(repository, head, where))

        directories = tuple(parallel(_AT_ONCE, directory, changed))
        return self._again(row, DiscoveredTable(logical, rule, (), directories))

    def _again(self, row: RefRow, table: DiscoveredTable) -> DiscoveredTable | None:
        """What the directories make of the table's newest version; None where that is nothing."""
        version = self._versions.in_force(row).get(table.logical)
        if version is None or version.definition is None:
            return None
        header = self._versions.definition(version.definition).header
        partial = self._versions.partial(version.definition, wanted_values(header, table.directories))
        known = {p.values: p for p in partial.partitions.values()} if partial else {}
        manifest = self._versions.definition(version.definition).manifest
        there = self._versions.lying_at(manifest, places(header, table.directories))
        at = {path: partitions[0] for path, partitions in there.items()}
        changes = discovered(header, known, at, table.directories)
        return replace(table, partitions=changes) if changes else None
