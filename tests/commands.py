"""The installed command as people run it: a subprocess, its output, its exit code; and a service that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metasync.settings import load_settings
from tests.conftest import World, until

COMMAND = str(Path(sys.executable).with_name("metasync"))


def run(world: World, *arguments: str, code: int = 0) -> str:
    """Runs `metasync`; gives stdout, and stderr where there is none."""
    command = [COMMAND, "--config", str(world.config()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout or done.stderr


def run_json(world: World, *arguments: str, code: int = 0) -> Any:
    return json.loads(run(world, *arguments, "--output", "json", code=code))


@contextmanager
def serving(config: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A service on a configuration file, and its address; it is killed at the end if it still runs."""
    listen = load_settings(config).server.listen
    with log.open("wb") as output:
        process = subprocess.Popen([COMMAND, "--config", str(config), "serve"], stdout=output, stderr=output)
        try:
            until("serving", lambda: b'"serving"' in log.read_bytes() or process.poll() is not None)
            yield process, f"http://{listen}"
        finally:
            process.kill()
            process.wait()
