"""Waiting for a ref's tables: asks the service to sync it, and reads from the store alone how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metasync.errors import UsageError
from metasync.model.lakefs import Ref, RefType
from metasync.planning.rules import RuleSet
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

State = Literal["looking", "making", "merging", "ready", "refused", "unknown", "failed"]
_OF_ALL = ("other-store", "older-store", "refused", "unknown-repository")
"""Notices that stop everything in a repository."""
_PASSING = ("paused", "delayed")
"""Notices of what goes on by itself, or when somebody resumes."""


@dataclass(frozen=True)
class Readiness:
    """How far a ref's tables are.

    looking: it was not read since it was asked for. making: its mirrors are built. merging: a merge into it is not
    done. ready: all is done that is to be done. refused: a problem must be fixed first. unknown:
    lakeFS has no such ref. failed: reading it failed for good. `reasons` are sentences for a person.
    """

    repository: str
    ref: str
    state: State
    made: int = 0
    planned: int = 0
    reasons: tuple[str, ...] = ()
    not_mirrored: tuple[str, ...] = ()


class Waiter:
    """Queues an event that asks for a sync, and reads what became of it."""

    def __init__(self, rules: RuleSet, stores: Stores) -> None:
        self._rules = rules
        self._queue = stores.queue
        self._refs = stores.refs
        self._mirrors = stores.mirrors
        self._ledger = stores.ledger
        self._notices = stores.notices
        self._leases = stores.leases

    def queue_sync(self, repository: str, ref: str) -> int:
        """Asks for a sync; gives the event's number. Raises UsageError for a ref that no rule names and nobody saw."""
        known = any(row.ref in meant_refs(ref) for name, row in self._refs.every(repository) if name == repository)
        ruled = any(self._rules.of_ref(repository, wanted) for wanted in meant_refs(ref))
        if not ruled and not (known and self._rules.of_repository(repository)):
            raise UsageError(
                f"no rule mirrors {ref!r} of {repository!r}; see: metasync explain {repository} {ref} TABLE"
            )
        return self._queue.put(repository, "wait", {"ref": ref})

    def is_served(self) -> bool:
        """Whether any service works on this store."""
        return any(row.name in ("leader", "serve") for row in self._leases.rows())

    def state(self, repository: str, ref: str, event_id: int) -> Readiness:
        """How far the ref is, as seen after `ask` gave the event."""
        event = self._queue.get(event_id)
        if event is None or event.state in ("dead", "discarded"):
            reason = event.error if event is not None and event.error else "the event is gone"
            return Readiness(repository, ref, "failed", reasons=(reason,))
        if event.state != "done":
            return Readiness(repository, ref, "looking", reasons=(event.error,) if event.error else ())
        known = [row for name, row in self._refs.every(repository) if name == repository and row.ref in meant_refs(ref)]
        if not known:
            return Readiness(repository, ref, "unknown", reasons=self._standing(repository, 0))
        return self._far(repository, known[-1])

    def _far(self, repository: str, row: RefRow) -> Readiness:
        pins = self._mirrors.pinned(row.id)
        made, planned = sum(pin.made for pin in pins), len(pins)
        reasons = self._standing(repository, row.id)
        merges = [m for m in self._ledger.open_merges(row.repository_id) if m.destination_ref_id == row.id]
        state: State = "ready"
        if row.state != "live":
            state = "refused" if self._is_stuck(repository, row.id) else "making"
        elif any(merge.state != "source-unknown" for merge in merges):
            state = "merging"
        missing = self._mirrors.not_mirrored(row.id)
        without = tuple(f"{logical}: {reason}" for logical, reason in missing.items())
        return Readiness(repository, str(row.ref), state, made, planned, reasons, without)

    def _standing(self, repository: str, ref_id: int) -> tuple[str, ...]:
        """What stands in the way of the ref, or of the whole repository, with what to do."""
        found = [
            row.notice
            for row in self._notices.standing(repository)
            if row.notice.kind in _OF_ALL or (ref_id and row.notice.ref_id == ref_id)
        ]
        return tuple(f"{n.subject}: {n.message}" + (f"; {n.help}" if n.help else "") for n in found)

    def _is_stuck(self, repository: str, ref_id: int) -> bool:
        notices = [row.notice for row in self._notices.standing(repository)]
        return any(n.kind in _OF_ALL or (n.ref_id == ref_id and n.kind not in _PASSING) for n in notices)


def meant_refs(ref: str) -> tuple[Ref, ...]:
    """The refs that a person may mean: `branch/x`, `tag/x`, or a name of either."""
    kind, _, name = ref.partition("/")
    if name and kind in ("branch", "tag"):
        return (Ref(RefType(kind), name),)
    return (Ref(RefType.BRANCH, ref), Ref(RefType.TAG, ref))
