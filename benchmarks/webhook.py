"""How many webhooks a second are durably accepted, beside a bare uvicorn endpoint that stores nothing.

    python benchmarks/webhook.py [--seconds 5] [--connections 32] [--store sqlite|postgresql]

Both endpoints run in processes of their own and are loaded by one more, over keep-alive connections, with an event
like a recorded one. The worker of our service works meanwhile: a real metastore and the stand-in for lakeFS, with ten
tables on five branches, are looked at again and again. Every 202
is counted, and afterwards the store is asked for as many events.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from metasync.sandbox.metastore import free_port
from metasync.sandbox.stack import TOKEN, Sandbox
from metasync.store import open_database
from metasync.store.event_queue import EventQueue

EVENT = {
    "event_type": "post-merge", "event_time": "2026-11-22T17:10:43Z", "action_name": "metasync", "hook_id": "notify",
    "repository_id": "lake", "branch_id": "main", "source_ref": "c" * 64, "commit_id": "c" * 64,
    "commit_message": "bring it home", "committer": "ana", "merge_source": "dev-1",
}  # fmt: skip


def bare(port: int) -> None:
    """The floor: reads the body, parses it, answers 202."""
    import uvicorn

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        json.loads(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"12")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"event": 1}'})

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical", access_log=False, lifespan="off")


async def _client(port: int, until: float, latencies: list[float], refused: list[int]) -> None:
    body = json.dumps(EVENT).encode()
    head = (
        f"POST /hooks/lakefs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        start = time.perf_counter()
        writer.write(request)
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        if answer.startswith(b"HTTP/1.1 202"):
            latencies.append(time.perf_counter() - start)
        else:
            refused.append(int(answer.split(b" ")[1]))
    writer.close()


async def _load(port: int, seconds: float, connections: int) -> tuple[list[float], list[int]]:
    latencies: list[float] = []
    refused: list[int] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(_client(port, until, latencies, refused) for _ in range(connections)))
    return latencies, refused


def load(port: int, seconds: float, connections: int) -> tuple[list[float], list[int]]:
    return asyncio.run(_load(port, seconds, connections))


def wait_for(port: int, path: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if path:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).close()
            else:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def show(name: str, latencies: list[float], seconds: float) -> float:
    cuts = statistics.quantiles(latencies, n=100)
    rate = len(latencies) / seconds
    print(f"{name:34} {rate:8.0f} /s   p50 {cuts[49] * 1000:6.1f} ms   p99 {cuts[98] * 1000:6.1f} ms")
    return rate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metasync-benchmark-") as name:
        run(Path(name), options)


def run(folder: Path, options: Any) -> None:
    floor_port, port = free_port(), free_port()
    floor = multiprocessing.get_context("spawn").Process(target=bare, args=(floor_port,), daemon=True)
    floor.start()
    sandbox = Sandbox(folder / "sandbox")
    with sandbox:
        prepare(sandbox)
        measure(folder, options, sandbox, floor_port, port)
    floor.terminate()


def prepare(sandbox: Sandbox) -> None:
    """Ten tables on main, and five branches that mirror them."""
    lake, tables = sandbox.lake_user(), sandbox.table_user()
    lake.write("main", "wh/first")
    tables.create_database("sales", "s3a://lake/main/wh")
    for number in range(10):
        tables.create_table(f"sales.t{number}", f"s3a://lake/main/wh/t{number}", [("id", "bigint"), ("name", "string")])
    for number in range(5):
        lake.create_branch(f"dev-{number}")
        (sandbox.metastore.lake / "lake" / f"dev-{number}").mkdir(parents=True, exist_ok=True)


def measure(folder: Path, options: Any, sandbox: Sandbox, floor_port: int, port: int) -> None:
    url = f"sqlite:///{folder / 'metasync.db'}"
    if options.store == "postgresql":
        import pgserver

        url = pgserver.get_server(folder / "postgresql").get_uri()
    config = folder / "metasync.yaml"
    text = sandbox.configuration(store=f"'{url}'", listen=f"127.0.0.1:{port}")
    config.write_text(f"logging: {{level: error}}\n{text}", encoding="utf-8")
    with (folder / "serve.log").open("wb") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "metasync", "-c", str(config), "serve"], stdout=log, stderr=log
        )
    try:
        wait_for(floor_port, "")
        wait_for(port, "/readyz")
        load(floor_port, 1.0, options.connections)
        load(port, 1.0, options.connections)
        database = open_database(url)
        queue = EventQueue(database)
        before = queue.list(limit=1)[0].id
        print(
            f"{options.connections} connections, {options.seconds:.0f} s each, {os.cpu_count()} cores, {options.store}"
        )
        bare_latencies, _ = load(floor_port, options.seconds, options.connections)
        latencies, refused = load(port, options.seconds, options.connections)
        floor_rate = show("bare uvicorn, nothing stored", bare_latencies, options.seconds)
        rate = show("metasync, durable before 202", latencies, options.seconds)
        events = queue.list(limit=1_000_000)
        stored = sum(event.id > before and event.kind == "webhook" for event in events)
        done = sum(event.id > before and event.state == "done" for event in events)
        print(f"ratio to the floor                 {rate / floor_rate:8.2f}   other answers {len(refused)}")
        print(f"accepted {len(latencies)}, in the store {stored}, worked off meanwhile {done}")
        assert stored >= len(latencies), "an accepted event is not in the store"
        database.close()
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(timeout=60)


if __name__ == "__main__":
    main()
