"""`metasync serve` as processes of their own, each behind a proxy of its own, and what can be done to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from metasync.sandbox.metastore import free_port
from metasync.sandbox.processes import end_with_parent
from tests.conftest import until
from tests.faults.thrift import ThriftProxy


class Replica:
    """One process. `configuration` is the YAML of all, in which LISTEN and METASTORE stand for what is its own."""

    def __init__(self, name: str, folder: Path, configuration: str, metastore: int) -> None:
        self.name = name
        self.proxy = ThriftProxy(metastore)
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self._config = folder / f"{name}.yaml"
        text = configuration.replace("LISTEN", f"127.0.0.1:{self.port}").replace("METASTORE", self.proxy.uri)
        self._config.write_text(text, encoding="utf-8")
        self.clock = folder / f"{name}.clock"
        """Seconds by which its wall clock is off; read whenever it asks for the time."""
        self._process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def start(self) -> None:
        self.launch()
        self.wait()

    def launch(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.skewed_clock", "--config", str(self._config), "serve"],
                stdout=output, stderr=output, env={**os.environ, "METASYNC_TEST_CLOCK": str(self.clock)},
                cwd=Path(__file__).parents[1],
                stdin=subprocess.DEVNULL, preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread of ours forks
            )  # fmt: skip

    def wait(self) -> None:
        begun = self.log.read_text().count('"serving"')
        until(f"{self.name} serves", lambda: self.log.read_text().count('"serving"') > begun or self._is_ready())

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            assert self.running, self.log.read_text()[-3000:]
            return False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self.stopped = number == signal.SIGSTOP

    def kill(self) -> None:
        """kill -9, and what it had in hand with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.stopped = False

    def end(self, patience: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(timeout=patience)
        self._process = None
        return code

    def close(self) -> None:
        self.kill()
        self.proxy.close()

    def lines(self) -> list[dict[str, Any]]:
        """Its log, line by line."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": line})
        return found

    def said(self, words: str) -> bool:
        return any(words in str(line.get("event", "")) for line in self.lines())
