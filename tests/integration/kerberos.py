"""A Kerberos key distribution centre of the tests' own: Debian's `krb5kdc`, run in a folder on a free port."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from metasync.sandbox.metastore import free_port, pause
from metasync.sandbox.processes import end_with_parent

_SYSTEM = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class KeyDistributionCentre:
    """One realm; a context manager. Skips the test, with a reason, where there is no `krb5kdc`."""

    realm = "EXAMPLE.TEST"

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("puresasl") is None or importlib.util.find_spec("kerberos") is None:
            pytest.skip("needs the extra metasync[kerberos], which compiles against libkrb5-dev")
        for program in ("krb5kdc", "kdb5_util", "kadmin.local"):
            if shutil.which(program, path=_SYSTEM) is None:
                pytest.skip(f"needs {program} (Debian: krb5-kdc, krb5-admin-server)")
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port()
        self.configuration = folder / "krb5.conf"
        self.configuration.write_text(
            f"[libdefaults]\n default_realm = {self.realm}\n dns_lookup_kdc = false\n rdns = false\n"
            " dns_canonicalize_hostname = false\n udp_preference_limit = 1\n"
            f"[realms]\n {self.realm} = {{\n  kdc = 127.0.0.1:{self.port}\n }}\n"
            f"[domain_realm]\n localhost = {self.realm}\n"
        )
        (folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{self.port}\n kdc_tcp_listen = 127.0.0.1:{self.port}\n"
            f"[realms]\n {self.realm} = {{\n  database_name = {folder}/principal\n  key_stash_file = {folder}/stash\n"
            f"  acl_file = {folder}/acl\n }}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> KeyDistributionCentre:
        self._run("kdb5_util", "create", "-s", "-r", self.realm, "-P", "master")
        self._process = subprocess.Popen(
            [self._found("krb5kdc"), "-n", "-P", str(self.folder / "pid")],
            env=self._environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread of ours forks
        )  # fmt: skip
        while not self._answers():
            assert self._process.poll() is None, "krb5kdc ended"
            pause()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def keytab(self, principal: str) -> Path:
        """A new principal's keys."""
        path = self.folder / f"{principal.replace('/', '-')}.keytab"
        self._run("kadmin.local", "-q", f"addprinc -randkey {principal}@{self.realm}")
        self._run("kadmin.local", "-q", f"ktadd -k {path} {principal}@{self.realm}")
        return path

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([self._found(program), *arguments], env=self._environment(), check=True, capture_output=True)

    def _found(self, program: str) -> str:
        found = shutil.which(program, path=_SYSTEM)
        assert found is not None
        return found

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "KRB5_CONFIG": str(self.configuration),
            "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf"),
        }
