"""The sandbox as a whole: a metastore and a lakeFS in one folder, started together, stopped together."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from metasync.sandbox.lakefs import TOKEN_VARIABLE, find_lakefs
from metasync.sandbox.metastore import SandboxMetastore, Server
from metasync.sandbox.user import LakeUser, TableUser

TOKEN = "sandbox-token"


class Sandbox:
    """Both servers; a context manager that leaves nothing behind but a folder that was given to it.

    The metastore maps `repositories` to folders; with `create`, lakeFS gets them too.
    """

    def __init__(
        self,
        folder: Path | None,
        repositories: Sequence[str] = ("lake",),
        *,
        create: bool = True,
        server: Server | None = None,
    ) -> None:
        self._temporary = folder is None
        self._create = create
        self.folder = folder or Path(tempfile.mkdtemp(prefix="metasync-sandbox-"))
        self.repositories = tuple(repositories)
        self.metastore = SandboxMetastore(self.folder / "metastore", repositories, server=server)
        # A lakeFS that somebody else runs reads the token from this variable of its own environment.
        self.token = os.environ.get(TOKEN_VARIABLE, TOKEN)
        self.lakefs = find_lakefs(self.folder, self.metastore.lake, self.token)

    def __enter__(self) -> Sandbox:
        try:
            self.metastore.launch()
            self.lakefs.start()
            self.metastore.wait()
            for repository in self.repositories if self._create else ():
                self.lake_user(repository).create_repository()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.lakefs.stop()
        self.metastore.stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def lake_user(self, repository: str = "lake") -> LakeUser:
        return LakeUser(self.lakefs.url, self.lakefs.access_key_id, self.lakefs.secret_access_key, repository)

    def table_user(self) -> TableUser:
        return TableUser(self.metastore.uri)

    def describe(self) -> list[str]:
        """How to reach both, line by line."""
        return [
            f"lakeFS      {self.lakefs.url}  ({self.lakefs.kind})",
            f"            access key {self.lakefs.access_key_id}  secret {self.lakefs.secret_access_key}",
            f"            repositories: {', '.join(self.repositories)}",
            f"metastore   {self.metastore.uri}  (Hive Metastore {self.metastore.server.version}, real, on Derby)",
            f"            s3a://{self.repositories[0]}/... is the folder {self.metastore.lake / self.repositories[0]}",
            "",
            "a configuration for it:",
            *("    " + line for line in self.configuration().splitlines()),
            "",
            "stop with Ctrl-C; both end with this command",
        ]

    def configuration(self, *, store: str = "sqlite:///metasync.db", listen: str = "127.0.0.1:8765") -> str:
        """A metasync.yaml for this sandbox."""
        return (
            "lakefs:\n"
            f"  endpoint_url: {self.lakefs.url}\n"
            f"  access_key_id: {self.lakefs.access_key_id}\n"
            f"  secret_access_key: {self.lakefs.secret_access_key}\n"
            f"metastore: {{uris: [{self.metastore.uri}]}}\n"
            f"store: {{url: {store}}}\n"
            f"server: {{listen: {listen}, token: {self.token}}}\n"
            "rules:\n"
            "  - name: dev\n"
            f"    repository: {self.repositories[0]}\n"
            '    branches: ["dev-*"]\n'
            '    tags: ["v*"]\n'
            '    tables: ["sales.*"]\n'
        )
