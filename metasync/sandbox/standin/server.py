"""The HTTP API, on the paths and with the answers of a real server (recorded; lakeFS 1.84)."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from metasync.sandbox.metastore import free_port, pause
from metasync.sandbox.standin.call import Call, Handler
from metasync.sandbox.standin.commits import Commits
from metasync.sandbox.standin.lake import Lake
from metasync.sandbox.standin.objects import Objects
from metasync.sandbox.standin.pulls import Pulls
from metasync.sandbox.standin.refs import Refs
from metasync.sandbox.standin.repository import Refused
from metasync.sandbox.standin.runs import Runs

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


class StandIn:
    """The stand-in as a server on loopback, with everything in memory.

    `mirror` is a folder in which each ref's directories are made, `mirror/REPOSITORY/REF/...`: where objects are,
    lakeFS's S3 gateway shows directories, and a metastore that is mapped to that folder must find them.
    """

    def __init__(
        self,
        port: int | None = None,
        mirror: Path | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._lake = Lake(mirror, environment, clock)
        self.actions = self._lake.actions
        self.repositories = self._lake.repositories
        self._lock = threading.RLock()
        config = uvicorn.Config(
            self.app(), host="127.0.0.1", port=self.port, log_config=None, access_log=False, lifespan="off",
            # Its own is up to a second late; lakeFS's is exact.
            date_header=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="lakefs-stand-in", daemon=True)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            pause()

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join()

    def app(self) -> Starlette:
        commits = Commits(self._lake)
        parts = (Refs(self._lake), commits, Objects(self._lake), Runs(self._lake), Pulls(self._lake, commits))
        table = [route for part in parts for route in part.routes()]
        routes = [Route(path, self._endpoint(handler), methods=[method]) for method, path, handler in table]
        routes.append(Route("/api/v1/healthcheck", lambda _: Response(status_code=204)))
        return Starlette(routes=routes)

    def _endpoint(self, handler: Handler) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            if not _authentic(request.headers.get("authorization", "")):
                return JSONResponse({"message": "error authenticating request"}, 401)
            call = Call(request, await request.body())

            def locked() -> Response:
                with self._lock:
                    return handler(call)

            try:
                response = await run_in_threadpool(locked)
            except Refused as error:
                body = {"message": str(error)} if str(error) else {"reference": ""}
                response = JSONResponse(body, error.status)
            response.headers["Date"] = formatdate(usegmt=True)
            return response

        return answer


def _authentic(header: str) -> bool:
    scheme, _, given = header.partition(" ")
    try:
        return scheme == "Basic" and base64.b64decode(given).decode() == f"{ACCESS_KEY_ID}:{SECRET_ACCESS_KEY}"
    except ValueError:
        return False
