"""Notifies people of what needs attention, and programs of every change. Both from the store: a restart loses nothing.

What needs attention is a level: a channel gets what began since its last message, and what is over. Changes are the
history from a cursor on, each once in effect and in order, at least once where an answer was lost. The leader sends.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import structlog

from metasync.application import attention
from metasync.application.answers import Attention, ChangeMade, HistoryEntry, Notification
from metasync.application.queries import history_entry
from metasync.channels import Message, Sender, sender_of
from metasync.errors import MetasyncError, PermanentError
from metasync.planning.patterns import matches
from metasync.settings.models import Settings
from metasync.settings.notifications import AfterApply, Channel
from metasync.store.leases import uptime
from metasync.store.stores import Stores
from metasync.telemetry.metrics import Metrics

_EVERY = 3.0
_LONGEST_WAIT = 300.0
_AT_ONCE = 100
_MOST_LINES = 30
_KINDS = {
    "conflict": "conflict", "withheld": "plan", "unsafe": "refusal", "refused": "refusal", "dead-event": "dead-event",
    "source-unknown": "source-unknown", "stale": "stale",
}  # fmt: skip
"""Kind of what needs attention -> the word in `notifications[].kinds`; all others are `other`."""
log = structlog.get_logger()


class Notifier:
    """A thread for each channel that checks every few seconds, while this replica leads: none waits for another."""

    def __init__(self, settings: Settings, stores: Stores, metrics: Metrics, leads: Callable[[], bool]) -> None:
        self._leads = leads
        self._stopping = threading.Event()
        over = self._stopping.is_set
        self.tasks: list[_Task] = [_Needs(settings, stores, metrics, one, over) for one in settings.notifications]
        self.tasks += [_Changes(settings, stores, metrics, hook, over) for hook in settings.after_apply]
        self._threads = [threading.Thread(target=self._run, args=(task,), name=task.name) for task in self.tasks]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Asks the threads to end after the message in hand."""
        self._stopping.set()

    def join(self) -> None:
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def _run(self, task: _Task) -> None:
        while not self._stopping.wait(_EVERY):
            if self._leads():
                task.run(uptime())


class _Task(ABC):
    """One channel, with backoff of its own where it does not take messages."""

    def __init__(
        self, stores: Stores, metrics: Metrics, name: str, sender: Sender, stopping: Callable[[], bool]
    ) -> None:
        self.name = name
        self._stores = stores
        self._metrics = metrics
        self._sender = sender
        self._stopping = stopping
        self._wait = 0.0
        self._due = 0.0

    def run(self, now: float) -> None:
        """Sends what is to be sent; where that fails, waits longer each time. `now` is on the clock of `uptime`."""
        if now < self._due:
            return
        try:
            self.send_pending(now)
            self._wait = 0.0
        except MetasyncError as error:
            self._put_off(now, str(error))
        except Exception as error:  # a bug must not silence everybody
            log.exception("unexpected error", channel=self.name)
            self._put_off(now, type(error).__name__)

    @abstractmethod
    def send_pending(self, now: float) -> None:
        """Sends what is to be sent at a time, on the clock of `uptime`. Raises MetasyncError where it is not taken."""

    def send(self, message: Message) -> None:
        try:
            self._sender(message)
        except MetasyncError:
            self._metrics.notified(self.name, ok=False)
            raise
        self._metrics.notified(self.name, ok=True)

    def _put_off(self, now: float, reason: str) -> None:
        self._wait = min(max(self._wait * 2, _EVERY), _LONGEST_WAIT)
        self._due = now + self._wait
        log.warning("a channel was not notified", channel=self.name, again_in=self._wait, reason=reason)


class _Needs(_Task):
    def __init__(
        self, settings: Settings, stores: Stores, metrics: Metrics, channel: Channel, stopping: Callable[[], bool]
    ) -> None:
        super().__init__(stores, metrics, channel.name, sender_of(channel), stopping)
        self._over: list[str] = []
        self._settings = settings
        self._channel = channel
        self._first: float | None = None

    def send_pending(self, now: float) -> None:
        kinds = self._channel.kinds
        wanted = [
            item for item in attention.collect(self._stores, self._settings) if _KINDS.get(item.kind, "other") in kinds
        ]
        sent = self._stores.sent.keys(self.name)
        began = [item for item in wanted if item.key not in sent]
        over = sorted(sent.keys() - {item.key for item in wanted})
        if over:
            # Forgotten at once, so that it is sent when it comes back; that it was over is no reason to call anybody,
            # and goes with the next message.
            self._stores.sent.note(self.name, (), over)
            self._over += over
        if not began:
            self._first = None
            return
        self._first = self._first if self._first is not None else now
        if now - self._first < self._channel.digest:
            return
        self.send(attention_message(self._settings, began, self._over))
        self._stores.sent.note(self.name, [item.key for item in began], ())
        self._first, self._over = None, []


class _Changes(_Task):
    def __init__(
        self, settings: Settings, stores: Stores, metrics: Metrics, hook: AfterApply, stopping: Callable[[], bool]
    ) -> None:
        super().__init__(stores, metrics, f"after-apply/{hook.name}", sender_of(hook), stopping)
        self._settings = settings
        self._hook = hook

    def send_pending(self, now: float) -> None:
        start = self._stores.sent.cursor(self.name, self._stores.history.newest())
        for row in self._stores.history.after(start, _AT_ONCE):
            if self._stopping():
                return
            if row.action in self._hook.actions and matches(row.repository, self._hook.repositories):
                try:
                    self.send(change_message(self._settings, history_entry(row)))
                except PermanentError as error:
                    # It will not take this one, however often it is sent; the others must not wait for it.
                    log.error("a change was refused by its webhook", hook=self._hook.name, id=row.id, reason=str(error))
            self._stores.sent.advance(self.name, row.id)


def attention_message(settings: Settings, began: Sequence[Attention], over: Sequence[str] = ()) -> Message:
    """One message for all that began."""
    lines = [f"[{item.kind}] {item.repository} {item.subject}: {item.message}\n    {item.help}" for item in began]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"and {len(began) - _MOST_LINES} more"]
    if over:
        lines.append(f"{len(over)} earlier ones are over")
    if settings.server.public_url:
        lines.append(settings.server.public_url)
    number = len(began)
    what = "1 thing needs" if number == 1 else f"{number} things need"
    subject = f"metasync ({settings.instance}): {what} attention"
    body = Notification(instance=settings.instance, began=tuple(began), over=tuple(over))
    return Message(subject, "\n".join(lines), body.model_dump(mode="json"))


def change_message(settings: Settings, change: HistoryEntry) -> Message:
    """One change."""
    body = ChangeMade(instance=settings.instance, change=change)
    text = f"{change.action} {change.table} {change.detail} ({change.cause})"
    return Message(f"metasync ({settings.instance}): {text}", text, body.model_dump(mode="json"), key=str(change.id))


def test_message(settings: Settings) -> Message:
    """What `metasync notify test` sends."""
    item = Attention(
        key="test", kind="test", repository="", subject="test", message="this is a test; nothing is wrong",
        help="metasync status", since=None,
    )  # fmt: skip
    return attention_message(settings, [item])
