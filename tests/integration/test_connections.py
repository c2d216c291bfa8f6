"""Ways to a metastore, each on a real server that was started so: TLS, Kerberos, HTTP with tokens, catalogs."""

from __future__ import annotations

import datetime
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate

from metasync.errors import ConfigurationError, MetastoreUnavailable
from metasync.metastore import ConnectionPool, Metastore, TableBuilder
from metasync.metastore.builder import Blueprint
from metasync.metastore.thrift_messages import TEXT, call, of, struct
from metasync.model.hms import (
    Constraints,
    Database,
    FieldSchema,
    Partition,
    PrimaryKeyColumn,
    StorageDescriptor,
    Table,
    TableType,
)
from metasync.sandbox.metastore import SandboxMetastore, packaged_server
from metasync.sandbox.stack import Sandbox
from metasync.settings.models import Metastore as MetastoreSettings
from tests.conftest import SPARES
from tests.integration.kerberos import KeyDistributionCentre
from tests.metastores.servers import chosen, full_java

PASSWORD = "changeit"
SERVER = chosen() or packaged_server()
Started = Callable[..., SandboxMetastore]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Starts a server of the tested version with settings of its own; `reach` is how a client gets in."""
    running: list[SandboxMetastore] = []

    def start(
        reach: Callable[[str], MetastoreSettings],
        settings: dict[str, str],
        core: str = "",
        java: Path | None = None,
    ) -> SandboxMetastore:
        server = replace(SERVER, settings={**SERVER.settings, **settings}, java=java or SERVER.java)
        one = SandboxMetastore(tmp_path / "metastore", ["lake"], server=server)
        one.folder.mkdir(parents=True, exist_ok=True)
        if core:
            (one.folder / "core-site.xml").write_text(core, encoding="utf-8")
        running.append(one)
        one.launch()
        one.wait(reach(f"127.0.0.1:{one.port}"))
        return one

    yield start
    for one in running:
        one.stop()


def client(**settings: Any) -> Metastore:
    return Metastore(ConnectionPool(MetastoreSettings.model_validate(settings)))


def refused(match: str, **settings: Any) -> None:
    """Asserts that a client with these settings is told why it does not get in."""
    store = client(**settings)
    with pytest.raises(MetastoreUnavailable, match=match):
        store.get_all_databases()
    store.close()


def works(store: Metastore) -> None:
    """Asserts that the whole of a mirror can be written and read over this connection."""
    where = "s3a://lake/main/t"
    sd = StorageDescriptor(cols=(FieldSchema("id", "bigint"),), location=where)
    table = Table("default", "t", sd, (FieldSchema("p", "string"),), {"EXTERNAL": "TRUE"}, TableType.EXTERNAL)
    some = [Partition((f"{n:04}",), replace(sd, location=f"{where}/p={n:04}")) for n in range(700)]
    keys = Constraints(primary_key=(PrimaryKeyColumn("id", 1, ""),))
    TableBuilder(store).build(Blueprint(table, lambda: iter(some), "test", {}, keys))
    assert [p.values for p in store.iter_partitions(table.table_name, table.partition_keys)] == [p.values for p in some]
    assert store.get_constraints(table.table_name).primary_key
    store.drop_table(table.table_name)
    assert store.get_table(table.table_name) is None
    store.close()


class Certificates:
    """An authority, a certificate for this machine and a Java key store of it, and a client's certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        issued = authority.issue_cert("127.0.0.1", "localhost")
        self.key_store = folder / "server.p12"
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        chain = [load_pem_x509_certificate(pem.bytes()) for pem in issued.cert_chain_pems]
        self.key_store.write_bytes(
            pkcs12.serialize_key_and_certificates(
                b"server", key, chain[0], chain[1:], serialization.BestAvailableEncryption(PASSWORD.encode())  # type: ignore[arg-type]
            )
        )  # fmt: skip
        self.server_pem = folder / "server.pem"
        self.server_pem.write_bytes(
            issued.private_key_pem.bytes() + b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        )
        other = trustme.CA()
        self.other_ca = folder / "other.pem"
        other.cert_pem.write_to_path(str(self.other_ca))


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


def test_tls_verifies_the_certificate_and_the_name(started: Started, certificates: Certificates) -> None:
    def reach(where: str) -> MetastoreSettings:
        tls = {"enabled": True, "ca_file": str(certificates.ca_file)}
        return MetastoreSettings.model_validate({"uris": [f"thrift://{where}"], "tls": tls})

    settings = {
        "hive.metastore.use.SSL": "true",
        "hive.metastore.keystore.path": str(certificates.key_store),
        "hive.metastore.keystore.password": PASSWORD,
    }
    server = started(reach, settings)
    works(Metastore(ConnectionPool(reach(f"127.0.0.1:{server.port}"))))
    tls = {"enabled": True, "ca_file": str(certificates.other_ca)}
    refused("certificate verify failed", uris=[server.uri], tls=tls)
    refused("certificate verify failed", uris=[server.uri], tls={"enabled": True})
    by_name = f"thrift://{socket.gethostname()}:{server.port}"
    refused("no metastore answers", uris=[by_name], tls={"enabled": True, "ca_file": str(certificates.ca_file)})
    missing = client(uris=[server.uri], tls={"enabled": True, "ca_file": "/nowhere/ca.pem"})
    with pytest.raises(ConfigurationError, match=r"/nowhere/ca\.pem"):
        missing.get_all_databases()


def test_a_client_shows_its_own_certificate(tmp_path: Path, certificates: Certificates) -> None:
    """No metastore asks for one by itself; a proxy before it does. What it gets is looked at here."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca_file))
    context.load_cert_chain(str(certificates.server_pem))
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while not seen:
                with context.wrap_socket(listening.accept()[0], server_side=True) as taken:
                    seen.append(taken.getpeercert())

        thread = threading.Thread(target=accept)
        thread.start()
        tls = {"enabled": True, "ca_file": str(certificates.ca_file), "cert_file": str(certificates.server_pem)}
        where = {"uris": [f"thrift://127.0.0.1:{listening.getsockname()[1]}"], "connect_timeout": "2s"}
        refused("no metastore answers", **where, tls=tls)
        thread.join()
    assert seen and seen[0]


def test_the_next_uri_is_taken_where_one_is_down(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        down = f"thrift://127.0.0.1:{unused.getsockname()[1]}"
    store = client(uris=[down, sandbox.metastore.uri])
    assert "default" in store.get_all_databases()
    store.close()
    refused(f"{down}.*{down}", uris=[down, down])


def test_the_user_that_set_ugi_announces_owns_what_is_made(sandbox: Sandbox) -> None:
    if sandbox.metastore.server.version < "4":
        pytest.skip("before 4.0 a metastore leaves an owner that is not sent empty")
    store = client(uris=[sandbox.metastore.uri], user="carla")
    where = f"s3a://{SPARES[0]}/main"
    (sandbox.metastore.lake / SPARES[0] / "main").mkdir(parents=True, exist_ok=True)
    store.create_database(Database("made_by_carla", where))
    found = store.get_database("made_by_carla")
    store.drop_empty_database("made_by_carla")
    store.close()
    assert found is not None and found.owner_name == "carla"


@pytest.mark.parametrize("protection", ["authentication", "privacy"])
def test_kerberos(started: Started, tmp_path: Path, protection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    java = full_java(SERVER.version)
    if java is None:
        pytest.skip("needs a Java of its own: the packaged runtime has no Kerberos")
    with KeyDistributionCentre(tmp_path / "kdc") as kdc:
        keytab = kdc.keytab("hive/localhost")
        monkeypatch.setenv("KRB5_CONFIG", str(kdc.configuration))
        monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(kdc.keytab("metasync")))
        monkeypatch.setenv("KRB5CCNAME", str(tmp_path / "tickets"))
        monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"-Djava.security.krb5.conf={kdc.configuration}")

        def reach(where: str) -> MetastoreSettings:
            uri = f"thrift://localhost:{where.rpartition(':')[2]}"
            return MetastoreSettings.model_validate({"uris": [uri], "auth": {"type": "kerberos"}})

        core = (
            "<configuration><property><name>hadoop.security.authentication</name><value>kerberos</value></property>"
            f"<property><name>hadoop.rpc.protection</name><value>{protection}</value></property></configuration>"
        )
        settings = {
            "hive.metastore.sasl.enabled": "true",
            "hive.metastore.kerberos.keytab.file": str(keytab),
            "hive.metastore.kerberos.principal": f"hive/localhost@{kdc.realm}",
            "hadoop.security.authentication": "kerberos",
            "hadoop.rpc.protection": protection,
        }
        server = started(reach, settings, core, java)
        works(Metastore(ConnectionPool(reach(f"localhost:{server.port}"))))
        by_name = {"type": "kerberos", "service_principal": f"hive/localhost@{kdc.realm}"}
        works(client(uris=[server.uri], auth=by_name))
        wrong = {"type": "kerberos", "service_principal": "spark/_HOST"}
        refused(
            "Kerberos does not let us in as a client of spark", uris=[f"thrift://localhost:{server.port}"], auth=wrong
        )
        monkeypatch.delenv("KRB5_CLIENT_KTNAME")
        monkeypatch.setenv("KRB5CCNAME", str(tmp_path / "none"))
        refused("Kerberos does not let us in", uris=[f"thrift://localhost:{server.port}"], auth={"type": "kerberos"})


def test_without_the_extra_kerberos_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "puresasl", None)
    store = client(uris=["thrift://127.0.0.1:1"], auth={"type": "kerberos"})
    with pytest.raises(ConfigurationError, match=r"metasync\[kerberos\]"):
        store.get_all_databases()


@contextmanager
def key_set(key: rsa.RSAPrivateKey) -> Iterator[str]:
    """An address that answers with the public half of a key, as identity providers do."""
    public = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": "one", "alg": "RS256"}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [public]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/jwks.json"
        server.shutdown()
        thread.join()


def token(key: rsa.RSAPrivateKey, minutes: int) -> str:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    return jwt.encode({"sub": "metasync", "exp": until}, key, algorithm="RS256", headers={"kid": "one"})


@pytest.mark.parametrize("secure", [False, True])
def test_http_with_tokens(started: Started, certificates: Certificates, tmp_path: Path, secure: bool) -> None:
    if SERVER.version < "4":
        pytest.skip("HTTP is 4.0's; METASYNC_TEST_SERVER names a newer one (make test-metastores)")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    held = tmp_path / "token"
    held.write_text(token(key, 60) + "\n")
    auth = {"type": "jwt", "token_file": str(held)}
    tls = {"ca_file": str(certificates.ca_file)}
    scheme = "https" if secure else "http"

    def reach(where: str) -> MetastoreSettings:
        return MetastoreSettings.model_validate({"uris": [f"{scheme}://{where}/metastore"], "auth": auth, "tls": tls})

    settings = {
        "metastore.server.thrift.transport.mode": "http",
        "metastore.server.thrift.http.path": "metastore",
        "metastore.authentication": "JWT",
        "metastore.thrift.metastore.authentication": "JWT",
        "hive.metastore.authentication": "JWT",
    }
    if secure:
        settings |= {
            "hive.metastore.use.SSL": "true",
            "hive.metastore.keystore.path": str(certificates.key_store),
            "hive.metastore.keystore.password": PASSWORD,
            "metastore.keystore.type": "PKCS12",
            "metastore.keymanagerfactory.algorithm": "SunX509",
        }
    with key_set(key) as address:
        settings |= {
            "metastore.authentication.jwt.jwks.url": address,
            "hive.metastore.authentication.jwt.jwks.url": address,
        }
        server = started(reach, settings)
        store = Metastore(ConnectionPool(reach(f"127.0.0.1:{server.port}")))
        assert "default" in store.get_all_databases()
        held.write_text(token(key, -60))
        with pytest.raises(MetastoreUnavailable, match="HTTP 401"):
            store.get_all_databases()
        held.write_text(token(key, 60))
        works(store)
        url = f"{scheme}://127.0.0.1:{server.port}/metastore"
        refused("HTTP 401", uris=[url], tls=tls)
        refused("HTTP 401", uris=[url], tls=tls, auth={"type": "jwt", "token": "no.such.token"})


def test_http_without_tokens_tells_the_user_in_a_header(started: Started) -> None:
    if SERVER.version < "4":
        pytest.skip("HTTP is 4.0's; METASYNC_TEST_SERVER names a newer one (make test-metastores)")

    def reach(where: str) -> MetastoreSettings:
        return MetastoreSettings.model_validate({"uris": [f"http://{where}/metastore"], "user": "carla"})

    settings = {
        "metastore.server.thrift.transport.mode": "http",
        "metastore.server.thrift.http.path": "metastore",
    }
    server = started(reach, settings)
    works(Metastore(ConnectionPool(reach(f"127.0.0.1:{server.port}"))))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        down = f"http://127.0.0.1:{unused.getsockname()[1]}/metastore"
    store = client(uris=[down, f"http://127.0.0.1:{server.port}/metastore"])
    assert "default" in store.get_all_databases(), "the next URI is tried over HTTP, too"


@pytest.fixture
def catalog(sandbox: Sandbox, tmp_path: Path) -> str:
    if sandbox.metastore.server.version < "3":
        pytest.skip("catalogs are 3.1's; METASYNC_TEST_SERVER names a newer one (make test-metastores)")
    name = f"lab{os.getpid()}"
    kind = struct("Catalog", name=TEXT, description=TEXT, locationUri=TEXT)
    request = struct("CreateCatalogRequest", catalog=of(kind))
    with ConnectionPool(MetastoreSettings(uris=[sandbox.metastore.uri])).connection() as one:
        made = kind(name=name, description="the tests' own", locationUri=f"file://{tmp_path}")
        call(one.client, "create_catalog", request(catalog=made))
    return name


def test_everything_is_done_in_the_catalog_that_is_named(sandbox: Sandbox, catalog: str) -> None:
    there, default = client(uris=[sandbox.metastore.uri], catalog=catalog), client(uris=[sandbox.metastore.uri])
    where = f"s3a://{SPARES[0]}/main"
    (sandbox.metastore.lake / SPARES[0] / "main").mkdir(parents=True, exist_ok=True)
    there.create_database(Database("here", f"{where}/here"))
    assert "here" in there.get_all_databases() and "here" not in default.get_all_databases()
    assert default.get_database("here") is None
    found = there.get_database("here")
    assert found is not None and found.location_uri == f"{where}/here"
    sd = StorageDescriptor(cols=(FieldSchema("id", "bigint"),), location=f"{where}/t")
    table = Table("here", "t", sd, (FieldSchema("p", "string"),), {"EXTERNAL": "TRUE"}, TableType.EXTERNAL)
    some = [Partition((f"{n}",), replace(sd, location=f"{where}/t/p={n}")) for n in range(3)]
    keys = Constraints(primary_key=(PrimaryKeyColumn("id", 1, ""),))
    TableBuilder(there).build(Blueprint(table, lambda: iter(some), "test", {}, keys))
    name = table.table_name
    assert there.get_all_tables("here") == ("t",) and len(there.get_tables("here", ["t"])) == 1
    assert default.get_table(name) is None and default.get_all_tables("here") == ()
    assert [p.sd.location for p in there.iter_partitions(name, table.partition_keys)] == [p.sd.location for p in some]
    assert there.get_constraints(name).primary_key
    there.drop_partitions(name, table.partition_keys, [("1",)])
    assert there.get_partition_names(name) == ("p=0", "p=2")
    live = there.get_table(name)
    assert live is not None
    there.alter_table(replace(live, owner="bo"))
    assert there.drop_table(name) and there.drop_empty_database("here")
    assert "here" not in there.get_all_databases()
    there.close()
    default.close()


def test_a_catalog_that_is_not_there_is_an_error_not_an_empty_one(sandbox: Sandbox) -> None:
    """Else a slip in the configuration would look like every table dropped."""
    store = client(uris=[sandbox.metastore.uri], catalog="nowhere")
    with pytest.raises(ConfigurationError, match=r"metastore\.catalog nowhere"):
        store.get_database("sales")
