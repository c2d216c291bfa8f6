"""How a service begins and ends: all of it or nothing, and within its grace whatever it does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from typing import Any

import pytest

from metasync.daemon import serve
from metasync.engine.worker import Worker
from metasync.errors import MetasyncError
from metasync.wiring import parts
from tests.commands import COMMAND, serving
from tests.conftest import World, until
from tests.faults.thrift import ThriftProxy


def test_sigterm_ends_a_pass_that_reads_many_refs(world: World) -> None:
    for name in range(3):
        world.create_table(f"t{name}")
    proxy = ThriftProxy(world.sandbox.metastore.port)
    world.metastore = proxy.uri
    world.extra = "events: {poll: {interval: 1h}}\n"
    for number in range(40):
        world.branch(f"dev-{number}")
    # Each call takes its time, as on a metastore far away.
    proxy.before = lambda call: time.sleep(0.05)
    log = world.folder / "serve.log"
    with serving(world.config(), log) as (process, _):
        until("it reads", lambda: len(proxy.calls) > 20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=25) == 0
    assert b'"stopped"' in log.read_bytes()
    proxy.before = lambda call: None
    assert not world.sync().failures and world.tables.exists(world.name("t0", "dev-39"))
    proxy.close()


def test_a_call_that_does_not_come_back_is_left_after_the_grace(world: World) -> None:
    world.create_table("t")
    proxy = ThriftProxy(world.sandbox.metastore.port)
    world.metastore = proxy.uri
    text = world.text
    world.text = lambda: text().replace("server: {", "server: {shutdown_grace: 2s, ")  # type: ignore[method-assign]
    assert "shutdown_grace" in world.text()
    world.branch("dev-1")
    hanging = []

    def hang(call: Any) -> None:
        hanging.append(call)
        time.sleep(60)

    proxy.before = hang
    log = world.folder / "serve.log"
    with serving(world.config(), log) as (process, _):
        until("it hangs", lambda: bool(hanging))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 1
    assert b"after the grace" in log.read_bytes()
    proxy.close()


def test_sighup_is_refused_with_a_line_and_kills_nobody(world: World) -> None:
    log = world.folder / "serve.log"
    with serving(world.config(), log) as (process, url):
        process.send_signal(signal.SIGHUP)
        until("it says so", lambda: b"SIGHUP" in log.read_bytes())
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_schedule_that_means_nothing_is_found_before_anything_starts(world: World) -> None:
    world.extra = "reconcile: {schedule: '99 * * * *'}\n"
    for command in (["config", "check"], ["serve"]):
        done = subprocess.run(
            [COMMAND, "-c", str(world.config()), *command], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2 and "schedule" in done.stderr, done.stderr


def test_what_cannot_start_ends_what_has_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Worker] = []
    real = Worker.start

    def start(self: Worker, *arguments: Any) -> None:
        started.append(self)
        real(self, *arguments)

    def refuse(*_: object) -> None:
        raise MetasyncError("the scheduler does not start")

    monkeypatch.setattr(Worker, "start", start)
    monkeypatch.setattr("metasync.engine.scheduler.Scheduler.start", refuse)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(MetasyncError, match="does not start"):
        serve(world.settings())
    (worker,) = started
    assert not worker.alive()


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError(), RuntimeError("odd")])
def test_a_worker_survives_whatever_it_meets(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    world.create_table("t")
    world.branch("dev-1")
    with parts(world.settings()) as built:
        real, failing = built.queue.claim, [True]

        def claim(leases: Any) -> Any:
            if failing[0]:
                raise error
            return real(leases)

        monkeypatch.setattr(built.queue, "claim", claim)
        worker = Worker(built.queue, built.leases, built.controller, built.settings.events, built.metrics)
        worker.start()
        built.queue.put(world.repository, "poll", {})
        worker.wake()
        until("it met it", worker.alive)
        failing[0] = False
        until("it works all the same", lambda: built.queue.depth()[0] == 0)
        assert worker.alive()
        worker.stop()
        worker.join()
    assert world.tables.exists(world.name("t", "dev-1"))


def test_a_lock_file_that_cannot_be_opened_is_an_outage(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with parts(world.settings()) as built:
        real = os.open

        def full(path: Any, *rest: Any, **more: Any) -> int:
            if str(path).endswith(".lock"):
                raise OSError(24, "Too many open files")
            return real(path, *rest, **more)

        monkeypatch.setattr(os, "open", full)
        with pytest.raises(MetasyncError, match="Too many open files"):
            built.leases.take("x")
        monkeypatch.undo()
        assert built.leases.take("x") is not None
