"""A lake in which everything happens once that the status page shows: for the browser tests and the pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metasync.lakefs.events import event_to_json
from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType
from metasync.sandbox.stack import Sandbox
from metasync.settings import Settings, load_settings
from metasync.store.stores import open_stores
from metasync.wiring import parts
from tests.commands import serving
from tests.conftest import World

TOKEN = "showcase-token"
DAYS = ("2026-11-20", "2026-11-21", "2026-11-22")


def stage(sandbox: Sandbox, folder: Path, repository: str, database: str, *, create: bool) -> World:
    """A repository with a first commit and an empty database on it."""
    world = World(sandbox, folder, repository, database, sandbox.lake_user(repository), sandbox.table_user())
    if create:
        world.lake.create_repository()
    world.ref_root("main")
    world.lake.write("main", "wh/keep", message="first")
    world.tables.create_database(database, world.location("wh/db"))
    return world


@contextmanager
def performed(world: World, *, acts: bool) -> Iterator[str]:
    """The address of a service on a lake in which everything has happened."""
    config = world.folder / "metasync.yaml"
    config.write_text(settings_text(world, acts=acts), encoding="utf-8")
    perform(world, config)
    with serving(config, world.folder / "serve.log") as (_, url):
        yield url


def settings_text(world: World, *, acts: bool) -> str:
    """The configuration: people log in, and the page may act."""
    text = world.text().replace("token: sandbox-token", f"token: {TOKEN}, ui_actions: {str(acts).lower()}")
    return text.replace(f"instance: t{world.database}", f"instance: {world.database}") + "    merge: additive\n"


def perform(world: World, config: Path) -> Settings:
    """Branches, work, merges, a conflict, a destructive change that waits, a foreign table, a dead event."""
    settings, lake, tables = load_settings(config), world.lake, world.tables
    orders, customers = world.name("orders"), world.name("customers")
    world.create_table("orders", "id:bigint amount:decimal(10,2) note:string", "dt:string")
    tables.add_partitions(orders, *((day,) for day in DAYS))
    world.create_table("customers", "id:bigint name:string")
    lake.write("main", *(f"wh/orders/dt={day}/part-0" for day in DAYS), "wh/customers/part-0", message="first load")
    world.branch("dev-1")
    world.tag("v1.0")
    reconcile(settings, world)
    tables.add_column(world.name("orders", "dev-1"), "channel", "string")
    tables.add_partitions(world.name("orders", "dev-1"), ("2026-11-23",))
    tables.set_parameter(world.name("customers", "dev-1"), "comment", "people who bought something")
    lake.write("dev-1", "wh/orders/dt=2026-11-23/part-0", message="channel of each order, and a day more")
    reconcile(settings, world)
    tables.set_parameter(orders, "owner.team", "sales")
    lake.merge("dev-1", message="orders know their channel")
    reconcile(settings, world)
    world.branch("dev-2", "dev-1")
    reconcile(settings, world)
    tables.add_column(world.name("orders", "dev-2"), "returned", "boolean")
    tables.drop_partitions(world.name("orders", "dev-2"), (DAYS[0],))
    tables.set_parameter(world.name("customers", "dev-2"), "comment", "buyers")
    tables.set_parameter(customers, "comment", "everybody we know")
    lake.write("dev-2", "wh/orders/returns", "wh/customers/part-1", message="returns")
    reconcile(settings, world)
    lake.merge("dev-2", message="returns")
    tables.create_database(f"{world.database}__dev_3", world.location("elsewhere"))
    tables.create_table(world.name("customers", "dev-3"), world.location("elsewhere/c"), [("x", "int")])
    world.branch("dev-3")
    reconcile(settings, world)
    with open_stores(settings.store) as stores:
        commit = LakeFSEvent(EventType.COMMIT, world.repository, Ref(RefType.BRANCH, "dev-1"), time.time())
        number = stores.queue.put(world.repository, "webhook", event_to_json(commit))
        event = stores.queue.get(number)
        assert event is not None
        stores.queue.dead(event, "the metastore refused to read d.orders: its SerDe is not installed there")
    return settings


def reconcile(settings: Settings, world: World) -> None:
    with parts(settings) as built:
        built.orders.reconcile(world.repository)
