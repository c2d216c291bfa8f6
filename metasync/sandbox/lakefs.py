"""The sandbox's lakeFS: one that runs already, a `lakefs` on PATH, or else our stand-in, saying which."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from metasync.errors import LakeFSUnavailable
from metasync.sandbox.metastore import free_port, pause
from metasync.sandbox.processes import end_with_parent
from metasync.sandbox.standin import StandIn
from metasync.sandbox.standin.server import ACCESS_KEY_ID, SECRET_ACCESS_KEY

URL_VARIABLE = "METASYNC_LAKEFS_URL"
TOKEN_VARIABLE = "LAKEFSACTION_METASYNC_TOKEN"
_START_SECONDS = 60


class LakeFSServer(Protocol):
    """A lakeFS that can be started and stopped. `kind` says what it is; `is_real` whether it is lakeFS itself."""

    url: str
    kind: str
    is_real: bool
    access_key_id: str
    secret_access_key: str

    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass
class RunningLakeFS:
    """A server that somebody else runs; METASYNC_LAKEFS_URL names it, lakectl's variables its credentials."""

    url: str
    access_key_id: str
    secret_access_key: str
    kind: str = "the lakeFS that METASYNC_LAKEFS_URL names"
    is_real: bool = True

    def start(self) -> None:
        _wait(self.url, None)

    def stop(self) -> None:
        return


class LakeFSProcess:
    """A `lakefs` program on PATH, run with everything local and in a folder of its own."""

    is_real = True
    access_key_id = ACCESS_KEY_ID
    secret_access_key = SECRET_ACCESS_KEY

    def __init__(self, program: str, folder: Path, token: str) -> None:
        self._program = program
        self._folder = folder
        self._token = token
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.kind = f"a real lakeFS ({program})"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "LAKEFS_DATABASE_TYPE": "local",
            "LAKEFS_DATABASE_LOCAL_PATH": str(self._folder / "metadata"),
            "LAKEFS_BLOCKSTORE_TYPE": "local",
            "LAKEFS_BLOCKSTORE_LOCAL_PATH": str(self._folder / "objects"),
            "LAKEFS_AUTH_ENCRYPT_SECRET_KEY": "sandbox",
            "LAKEFS_INSTALLATION_USER_NAME": "admin",
            "LAKEFS_INSTALLATION_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "LAKEFS_INSTALLATION_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "LAKEFS_LISTEN_ADDRESS": f"127.0.0.1:{self._port}",
            "LAKEFS_STATS_ENABLED": "false",
            TOKEN_VARIABLE: self._token,
        }
        with (self._folder / "lakefs.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "run", "--local-settings"], env=environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread of ours forks
            )  # fmt: skip
        _wait(self.url, self._process)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)


class StandInLakeFS:
    """Our stand-in, which keeps everything in memory."""

    is_real = False
    kind = "metasync's stand-in for lakeFS (no lakefs on PATH, no METASYNC_LAKEFS_URL)"
    access_key_id = ACCESS_KEY_ID
    secret_access_key = SECRET_ACCESS_KEY

    def __init__(self, mirror: Path, token: str) -> None:
        self.server = StandIn(mirror=mirror, environment={TOKEN_VARIABLE: token})
        self.url = self.server.url

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()


def find_lakefs(folder: Path, mirror: Path, token: str) -> LakeFSServer:
    """The best lakeFS that this machine has."""
    url = os.environ.get(URL_VARIABLE)
    if url:
        key = os.environ.get("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", ACCESS_KEY_ID)
        secret = os.environ.get("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
        return RunningLakeFS(url.rstrip("/"), key, secret)
    program = shutil.which("lakefs")
    if program:
        return LakeFSProcess(program, folder / "lakefs", token)
    return StandInLakeFS(mirror, token)


def _wait(url: str, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/api/v1/healthcheck", timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline or (process is not None and process.poll() is not None):
                raise LakeFSUnavailable(f"lakeFS at {url} does not answer: {error}") from error
            pause()
