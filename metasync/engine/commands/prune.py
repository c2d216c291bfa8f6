"""Pruning: mirrors that no rule wants any more, and those of repositories that are gone, are dropped."""

from __future__ import annotations

from metasync.engine.controller import Controller, Result, Watcher
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.marks import Marks
from metasync.planning.changes import Change, DropDatabase, DropTable
from metasync.planning.observed import Observed
from metasync.planning.plan import Plan
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store.refs import RefRow
from metasync.store.stores import Stores


class Pruner:
    """Finds orphans, and has the controller drop them."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        rules: RuleSet,
        controller: Controller,
        lakefs: LakeFS,
        metastore: Metastore,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._controller = controller
        self._lakefs = lakefs
        self._metastore = metastore
        self._refs = stores.refs
        self._mirrors = stores.mirrors
        self._repositories = stores.repositories

    def orphans(self) -> dict[str, list[Change]]:
        """Repository -> the drops of mirrors that no rule wants any more, and of refs of repositories that are gone."""
        found: dict[str, list[Change]] = {}
        for repository, row in self._refs.with_mirrors():
            changes = self._orphans_of(repository, row)
            if changes:
                found.setdefault(repository, []).extend(changes)
        return found

    def prune(self, watcher: Watcher | None = None) -> list[Result]:
        """Drops the orphans, each checked once more before it goes."""
        results = []
        for repository, changes in self.orphans().items():
            identity = self._lakefs.get_repository(repository) or self._repositories.identities(repository)[-1]
            observed = Observed(identity, self._settings.instance, "")
            results.append(self._controller.execute(observed, Plan(repository, tuple(changes)), watcher))
        return results

    def _orphans_of(self, repository: str, row: RefRow) -> list[Change]:
        changes: list[Change] = []
        identity = self._lakefs.get_repository(repository)
        foreign = identity is not None and self._repositories.id_of(identity) != row.repository_id
        gone = identity is not None and not foreign and self._lakefs.get_ref(repository, row.ref) is None
        databases = set()
        for pin in self._mirrors.pinned(row.id):
            wanted = self._rules.of_table(repository, row.ref, pin.logical) is not None
            ended = row.state == "gone" and not wanted
            if not pin.made or (identity is None and not ended) or (wanted and (gone or not foreign)):
                continue
            table = self._metastore.get_table(pin.physical)
            marks = Marks.from_parameters(table.parameters, str(pin.physical)) if table else None
            if marks is None or marks.instance != self._settings.instance or marks.incarnation != row.incarnation:
                continue
            changes.append(
                DropTable(row.id, row.ref, row.incarnation, pin.logical, pin.physical, ours=True, orphan=True)
            )
            databases.add(pin.physical.database)
        return changes + [DropDatabase(row.id, name) for name in sorted(databases)]
