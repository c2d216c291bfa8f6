"""Telling people and programs: real HTTP and SMTP on loopback, the store beneath; nothing lost, nothing told twice."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from metasync.application.answers import ChangeMade, Notification
from metasync.application.notifications import Notifier
from metasync.application.notifications import test_message as a_test_message
from metasync.channels import sender_of
from metasync.channels.senders import signature
from metasync.errors import ChannelUnavailable, PermanentError
from metasync.planning.plan import Notice
from metasync.settings import Settings, parse_settings
from metasync.store.stores import Stores, open_stores
from metasync.telemetry.metrics import Metrics

RULES = '\nrules: [{name: dev, repository: lake, branches: ["dev-*"], tables: ["sales.*"]}]\n'


class Listener:
    """An HTTP server that keeps what it gets; `status` is what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((dict(self.headers), body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/T0/SECRET"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.got]


class Mailbox:
    """As much of an SMTP server as a letter needs."""

    def __init__(self, answer: str = "250 taken") -> None:
        self.letters: list[str] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                while line := self.rfile.readline().decode().strip():
                    if line.upper() == "DATA":
                        self.wfile.write(b"354 go on\r\n")
                        lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                        outer.letters.append("".join(lines))
                        self.wfile.write(f"{answer}\r\n".encode())
                    elif line.upper() == "QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    else:
                        self.wfile.write(b"250 ok\r\n")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listener() -> Iterator[Listener]:
    running = Listener()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    with open_stores(parse_settings(f"store: {{url: 'sqlite:///{tmp_path / 's.db'}'}}{RULES}").store) as opened:
        yield opened


def settings(text: str) -> Settings:
    return parse_settings(text + RULES)


def look(stores: Stores, made: Settings, metrics: Metrics | None = None) -> None:
    """One look of each task, as the thread takes it."""
    notifier = Notifier(made, stores, metrics or Metrics(), lambda: True)
    for task in notifier.tasks:
        task.run(stores.database.now())


def test_a_need_is_told_once_and_again_when_it_comes_back(stores: Stores, listener: Listener) -> None:
    made = settings(f"notifications: [{{name: ops, type: webhook, url: '{listener.url}', secret: s, digest: 0s}}]")
    look(stores, made)
    assert listener.got == []
    stores.notices.replace("lake", [Notice("foreign-table", "branch/dev-1 t", "stands there", "move it away")])
    for _ in range(3):
        look(stores, made)  # a notifier of its own each time: a restart tells nothing again
    ((headers, body),) = listener.got
    assert headers["X-Metasync-Signature"] == signature("s", body)
    told = Notification.model_validate_json(body)
    assert [(need.kind, need.help) for need in told.began] == [("foreign-table", "move it away")]
    # While something else stands, too.
    other = Notice("orphan", "t", "no rule wants it")
    stores.notices.replace("lake", [other])
    look(stores, made)
    stores.notices.replace("lake", [other, Notice("foreign-table", "branch/dev-1 t", "stands there again", "move it")])
    look(stores, made)
    assert [[need["kind"] for need in body["began"]] for body in listener.bodies()[1:]] == [
        ["orphan"],
        ["foreign-table"],
    ]


def test_needs_of_one_key_and_of_long_names_are_told_once(stores: Stores, listener: Listener) -> None:
    made = settings(f"notifications: [{{name: ops, type: webhook, url: '{listener.url}', digest: 0s}}]")
    long = "x" * 390
    stores.notices.replace(
        "lake",
        [Notice("failed", "t", "one reason"), Notice("failed", "t", "another")]
        + [Notice("foreign-table", f"branch/{long} sales.{name}", "stands there") for name in "ab"],
    )
    for _ in range(3):
        look(stores, made)
    (body,) = listener.bodies()
    assert sorted(need["kind"] for need in body["began"]) == ["failed", "foreign-table", "foreign-table"]


def test_a_channel_hears_of_its_kinds_only_and_notes_wake_nobody(stores: Stores, listener: Listener) -> None:
    made = settings(
        f"notifications: [{{name: chat, type: slack, url: '{listener.url}', kinds: [dead-event], digest: 0s}}]"
    )
    stores.notices.replace("lake", [Notice("foreign-table", "t", "x"), Notice("paused", "t", "x")])
    look(stores, made)
    assert listener.got == []
    event = stores.queue.get(stores.queue.put("lake", "webhook", {"type": "post-commit", "ref": "branch/dev-1"}))
    assert event is not None
    stores.queue.dead(event, "its SerDe is missing")
    look(stores, made)
    (body,) = listener.bodies()
    assert "1 thing needs attention" in body["text"] and "metasync events replay 1" in body["text"]


def test_what_begins_within_a_digest_is_one_message(stores: Stores, listener: Listener) -> None:
    made = settings(f"notifications: [{{name: ops, type: webhook, url: '{listener.url}', digest: 1h}}]")
    notifier = Notifier(made, stores, Metrics(), lambda: True)
    (task,) = notifier.tasks
    now = stores.database.now()
    for number in range(3):
        stores.notices.replace("lake", [Notice("orphan", f"t{n}", "x") for n in range(number + 1)])
        task.send_pending(now + number)
    assert listener.got == []
    task.send_pending(now + 3601)
    (body,) = listener.bodies()
    assert len(body["began"]) == 3


def test_a_channel_that_does_not_answer_is_tried_again(stores: Stores, listener: Listener) -> None:
    made = settings(f"notifications: [{{name: ops, type: webhook, url: '{listener.url}', digest: 0s}}]")
    stores.notices.replace("lake", [Notice("orphan", "t", "x")])
    metrics, listener.status = Metrics(), 503
    look(stores, made, metrics)
    listener.status = 200
    look(stores, made, metrics)
    look(stores, made, metrics)
    assert len(listener.got) == 2
    sent = {name: metrics.registry.get_sample_value("metasync_notifications_total", {"channel": "ops", "result": name})
            for name in ("sent", "failed")}  # fmt: skip
    assert sent == {"sent": 1.0, "failed": 1.0}


def test_changes_are_told_in_order_each_once_and_a_refused_one_stops_nobody(stores: Stores, listener: Listener) -> None:
    stores.history.note("lake", "branch/dev-1", "sales.t", "sales__dev_1.t", "created", "", "before anybody listened")
    made = settings(
        f"after_apply: [{{name: grants, url: '{listener.url}', secret: s, actions: [created, dropped], "
        "repositories: ['lake*']}]"
    )
    look(stores, made)
    assert listener.got == []
    for action, repository in (("created", "lake"), ("merged", "lake"), ("created", "other"), ("dropped", "lake")):
        stores.history.note(repository, "branch/dev-1", "sales.t", "sales__dev_1.t", action, "", "a cause")
    listener.status = 500
    look(stores, made)
    listener.status = 200
    look(stores, made)
    look(stores, made)
    told = [ChangeMade.model_validate_json(body).change for _, body in listener.got]
    assert [change.action for change in told] == ["created", "created", "dropped"]
    assert listener.got[0][0]["Idempotency-Key"] == listener.got[1][0]["Idempotency-Key"] == str(told[0].id)
    listener.status = 400
    stores.history.note("lake", "branch/dev-1", "sales.t", "sales__dev_1.t", "created", "", "refused")
    look(stores, made)
    listener.status = 200
    stores.history.note("lake", "branch/dev-1", "sales.u", "sales__dev_1.u", "created", "", "after it")
    look(stores, made)
    assert [ChangeMade.model_validate_json(body).change.cause for _, body in listener.got[3:]] == [
        "refused",
        "after it",
    ]


def test_a_letter() -> None:
    mailbox = Mailbox()
    made = settings(
        "notifications: [{name: post, type: email, mail: {host: 127.0.0.1, port: "
        f"{mailbox.port}, starttls: false, sender: m@example.com, to: [a@example.com, b@example.com]}}}}]"
    )
    sender_of(made.notifications[0])(a_test_message(made))
    (letter,) = mailbox.letters
    assert (
        "Subject: metasync (metasync): 1 thing needs attention" in letter
        and "To: a@example.com, b@example.com" in letter
    )
    refusing = Mailbox("554 no")
    mail = made.notifications[0].mail
    assert mail is not None
    refused = made.notifications[0].model_copy(update={"mail": mail.model_copy(update={"port": refusing.port})})
    with pytest.raises(PermanentError, match="says 554"):
        sender_of(refused)(a_test_message(made))


def test_no_address_and_no_secret_is_in_an_error(listener: Listener) -> None:
    made = settings(f"notifications: [{{name: chat, type: slack, url: '{listener.url}', secret: hush}}]")
    listener.status = 404
    for url, kind in ((listener.url, ChannelUnavailable), ("http://127.0.0.1:9/T0/SECRET", ChannelUnavailable)):
        channel = made.notifications[0].model_copy(update={"url": type(made.notifications[0].url)(url)})  # type: ignore[misc]
        with pytest.raises(kind) as caught:
            sender_of(channel)(a_test_message(made))
        assert "SECRET" not in str(caught.value) and "chat" in str(caught.value)
    assert "SECRET" not in made.model_dump_json() and "hush" not in made.model_dump_json()
