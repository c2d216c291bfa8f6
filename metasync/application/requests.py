"""Requests: what is asked of running services, through their store."""

from __future__ import annotations

from collections.abc import Sequence

from metasync.application import answers
from metasync.application.interface import TakesRequests
from metasync.application.queries import Queries, described_pauses
from metasync.application.readiness import Waiter
from metasync.errors import UsageError
from metasync.planning.pauses import Pause
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store.stores import Stores

_LONGEST_PAUSE = 10 * 365 * 86400.0


class Requests(TakesRequests):
    """Needs the store alone: pauses, replays, and events that ask for a sync."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._settings = settings
        self._stores = stores
        self._queries = Queries(settings, stores)
        self._waiter = Waiter(RuleSet.of(settings), stores)

    def pause(self, rule: str | None, reason: str, by: str, seconds: float | None) -> answers.Pauses:
        """Nothing is written for a rule, or at all, for some seconds or until resumed. Raises UsageError."""
        names = [one.name for one in self._settings.rules]
        if rule is not None and rule not in names:
            raise UsageError(f"there is no rule {rule!r}; the rules are: {', '.join(names)}")
        if not reason.strip():
            raise UsageError("say why: the reason is shown wherever something waits for the pause")
        if seconds is not None and not 0 < seconds <= _LONGEST_PAUSE:
            raise UsageError("a pause lasts ten years at most; without --for it lasts until resumed")
        self._stores.pauses.begin(rule, reason, by, seconds)
        return self._queries.pauses()

    def resume(self, rule: str | None = None) -> answers.Pauses:
        """Ends the pause of a rule, or every pause; gives those that held, and has their repositories synced."""
        names = {one.name for one in self._settings.rules} | {p.rule for p in self._stores.pauses.in_force()}
        if rule is not None and rule not in names:
            raise UsageError(f"there is no rule {rule!r}, and none of that name is paused")
        return self._resumed(self._stores.pauses.end(rule))

    def resume_one(self, number: int) -> answers.Pauses:
        """Ends one pause and no other."""
        return self._resumed(self._stores.pauses.end_one(number))

    def _resumed(self, ended: Sequence[Pause]) -> answers.Pauses:
        for repository in self._stores.repositories.names() if ended else ():
            self._stores.queue.put_once(repository, "resume", {})
        return described_pauses(ended)

    def replay(self, number: int) -> answers.Queued:
        """Queues a dead, discarded or done event again. Raises UsageError where it is none of these."""
        if not self._stores.queue.replay(number):
            raise UsageError(f"there is no event {number} that is dead, discarded or done; see: metasync events list")
        return answers.Queued(events=(number,), number=1)

    def replay_dead(self) -> answers.Queued:
        return answers.Queued(number=self._stores.queue.replay_dead())

    def discard(self, number: int) -> answers.Events:
        """Takes a dead event off the list of what needs somebody. Raises UsageError where there is none."""
        if not self._stores.queue.discard(number):
            raise UsageError(f"there is no dead event {number}; see: metasync events list --state dead")
        return self._queries.event(number)

    def queue_full_sync(self, repository: str) -> answers.Queued:
        """Asks a running service for a full reconcile. Raises UsageError where no rule names the repository."""
        if not RuleSet.of(self._settings).of_repository(repository):
            raise UsageError(f"no rule names the repository {repository!r}")
        return answers.Queued(events=(self._stores.queue.put(repository, "command", {}),), number=1)

    def queue_sync(self, repository: str, ref: str) -> int:
        """Has a ref synced; gives the event's number, for `readiness`. Raises UsageError."""
        return self._waiter.queue_sync(repository, ref)

    def readiness(self, repository: str, ref: str, event: int) -> answers.Readiness:
        """How far a ref's tables are, as seen after `ask`."""
        found = self._waiter.state(repository, ref, event)
        return answers.Readiness(
            repository=found.repository, ref=found.ref, state=found.state, made=found.made, planned=found.planned,
            reasons=found.reasons, not_mirrored=found.not_mirrored,
        )  # fmt: skip

    def is_served(self) -> bool:
        """Whether any service works on this store."""
        return self._waiter.is_served()
