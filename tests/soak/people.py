"""What people do on a lake: branches, tags, commits, merges, DDL; one thing at a time, by a seed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from metasync.errors import MetasyncError
from metasync.model.hms import Table, TableName
from metasync.sandbox.stack import Sandbox
from metasync.sandbox.user import LakeUser, TableUser
from tests.soak.model import POISONED, STABLE, TABLES, Incarnation, Lake, Merged

MOST_BRANCHES = 12
MOST_TAGS = 4


class People:
    """Everybody who works on one lake; what they do is noted in its model."""

    def __init__(self, sandbox: Sandbox, lake: Lake, dice: random.Random) -> None:
        self.lake = lake
        self.users: LakeUser = sandbox.lake_user(lake.repository)
        self.tables: TableUser = sandbox.table_user()
        self.counts: Counter[str] = Counter()
        self._sandbox = sandbox
        self._dice = dice
        self._number = 0
        self._doings: list[tuple[int, Callable[[], bool]]] = [
            (6, self.commit),
            (4, self.create_branch),
            (3, self.delete_branch),
            (1, self.create_again),
            (2, self.create_tag),
            (1, self.delete_tag),
            (14, self.add_column),
            (8, self.add_partition),
            (4, self.make_table),
            (1, self.drop_mirror),
            (4, self.change_main),
            (6, self.merge),
            (2, self.merge_back),
            (1, self.merge_across),
            (2, self.poison),
        ]

    def prepare(self) -> None:
        """A repository with tables on main, and things that are nobody's business."""
        lake = self.lake
        self.users.create_repository()
        self._root("main")
        self.users.write("main", "wh/first")
        lake.branches["main"] = Incarnation("main")
        lake.incarnations.append(lake.main)
        self.tables.create_database(lake.database, self._at("main", "wh/db"))
        for table in TABLES:
            self.tables.create_table(
                f"{lake.database}.{table}", self._at("main", f"wh/{table}"), [("id", "bigint")], [("dt", "string")]
            )
            self.tables.add_partitions(f"{lake.database}.{table}", ("first",))
        # A column may be called so; everything around this table must go on whatever becomes of it.
        odd = [("id", "bigint"), ("*", "bigint")]
        self.tables.create_table(f"{lake.database}.{POISONED}", self._at("main", f"wh/{POISONED}"), odd)

    def do(self) -> None:
        """One thing, if it can be done."""
        doing = self._dice.choices([do for _, do in self._doings], [weight for weight, _ in self._doings])[0]
        try:
            done = doing()
        except (MetasyncError, LookupError):
            # Somebody else's change came in between: a person would try again.
            done = False
        self.counts[doing.__name__.replace("_", " ")] += done

    # On lakeFS

    def commit(self) -> bool:
        branch = self._dice.choice(list(self.lake.branches))
        self.users.write(branch, f"wh/data/{self._next()}")
        return True

    def create_branch(self) -> bool:
        if len(self.lake.branches) >= MOST_BRANCHES:
            return False
        name = f"{'dev' if self._dice.random() < 0.85 else 'feature'}-{self._next()}"
        self._create(name, self._source())
        return True

    def delete_branch(self) -> bool:
        names = [name for name in self.lake.branches if name != "main"]
        if len(names) < 3:
            return False
        self._delete(self._dice.choice(names))
        return True

    def create_again(self) -> bool:
        names = [ref.name for ref in self.lake.mirrored()]
        if len(names) < 3:
            return False
        name = self._dice.choice(names)
        self._delete(name)
        self._create(name, self._source())
        return True

    def create_tag(self) -> bool:
        if len(self.lake.tags) >= MOST_TAGS:
            return False
        name, source = f"v{self._next()}", self._source()
        self.users.create_tag(name, source)
        self._root(name)
        self.lake.tags[name] = self._begin(name, source)
        return True

    def delete_tag(self) -> bool:
        if not self.lake.tags:
            return False
        name = self._dice.choice(list(self.lake.tags))
        self.users.delete_tag(name)
        del self.lake.tags[name]
        return True

    def merge(self) -> bool:
        return self._merge(self._any(self.lake.mirrored()), self.lake.main)

    def merge_back(self) -> bool:
        return self._merge(self.lake.main, self._any(self.lake.mirrored()))

    def merge_across(self) -> bool:
        return self._merge(self._any(self.lake.mirrored()), self._any(self.lake.mirrored()))

    def _merge(self, source: Incarnation | None, destination: Incarnation | None) -> bool:
        if source is None or destination is None or source is destination:
            return False
        # The commit comes after the DDL: whoever reads the branch at it sees the DDL.
        self.users.write(source.name, f"wh/data/{self._next()}")
        options = {"squash_merge": True} if self._dice.random() < 0.1 else {}
        commit = self.users.merge(source.name, destination.name, **options)
        self.lake.merges.append(Merged(destination, source, commit, len(source.own)))
        return True

    def _create(self, name: str, source: str) -> None:
        self.users.create_branch(name, source)
        self._root(name)
        self.lake.branches[name] = self._begin(name, source)

    def _begin(self, name: str, source: str) -> Incarnation:
        incarnation = Incarnation(name, stale_incarnation=self.lake.stale.get(name))
        self.lake.incarnations.append(incarnation)
        self.lake.born_of.append((self.lake.branches[source], incarnation))
        return incarnation

    def _delete(self, name: str) -> None:
        found = self.tables.metastore.get_table(self._mirror_name(name, STABLE[0]))
        self.users.delete_branch(name)
        del self.lake.branches[name]
        # Mirrors that are not there yet could still come, and nobody could tell whose they are.
        self.lake.stale[name] = found.parameters.get("metasync.incarnation", "?") if found is not None else "?"

    def _source(self) -> str:
        return "main" if self._dice.random() < 0.6 else self._dice.choice(list(self.lake.branches))

    # On tables

    def add_column(self) -> bool:
        ref, table = self._any(self.lake.mirrored()), self._dice.choice(STABLE)
        if ref is None or (found := self._mirror(ref, table)) is None:
            return False
        name = f"c{self._next()}"
        self._add_column(str(found.table_name), name)
        ref.own.append(f"{table}.{name}")
        return True

    def add_partition(self) -> bool:
        ref, table = self._any(self.lake.mirrored()), self._dice.choice(STABLE)
        if ref is None or (found := self._mirror(ref, table)) is None:
            return False
        value = f"p{self._next()}"
        self.users.upload(ref.name, f"wh/{table}/dt={value}/f")
        self.tables.add_partitions(str(found.table_name), (value,))
        ref.own.append(f"{table}/{value}")
        return True

    def poison(self) -> bool:
        """What no reader of ours may stumble over, on one table beside the others."""
        ref = self._any(self.lake.mirrored())
        if ref is None or (found := self._mirror(ref, POISONED)) is None:
            return False
        key, value = self._dice.choice(
            (
                ("spark.sql.sources.schema", '{"type":"struct","fields":[{"name":1}]}'),
                ("spark.sql.sources.schema", "{broken"), ("avro.schema.literal", '{"type":"record","fields":[1]}'),
                ("spark.sql.sources.schema.numParts", "many"), ("path", "s3a://"), ("comment", "\u2028 \t é"),
            )
        )  # fmt: skip
        self.tables.set_parameter(str(found.table_name), key, value)
        return True

    def make_table(self) -> bool:
        """A table of a user's own, beside the mirrors."""
        ref = self._any(self.lake.mirrored())
        if ref is None or (found := self._mirror(ref, STABLE[0])) is None:
            return False
        name = f"born{self._next()}"
        self.users.upload(ref.name, f"wh/{name}/f")
        self.tables.create_table(f"{found.database}.{name}", self._at(ref.name, f"wh/{name}"), [("id", "bigint")])
        ref.own.append(name)
        return True

    def drop_mirror(self) -> bool:
        ref = self._any(self.lake.mirrored())
        if ref is None or (found := self._mirror(ref, "dropped")) is None:
            return False
        self.tables.drop_table(str(found.table_name))
        ref.dropped.add("dropped")
        return True

    def change_main(self) -> bool:
        table = self._dice.choice(STABLE)
        if self._dice.random() < 0.5:
            name = f"m{self._next()}"
            self._add_column(f"{self.lake.database}.{table}", name)
            self.lake.main.own.append(f"{table}.{name}")
        else:
            value = f"m{self._next()}"
            self.users.upload("main", f"wh/{table}/dt={value}/f")
            self.tables.add_partitions(f"{self.lake.database}.{table}", (value,))
            self.lake.main.own.append(f"{table}/{value}")
        return True

    def _add_column(self, table: str, name: str) -> None:
        try:
            self.tables.add_column(table, name, "int")
        finally:
            self.lake.altered.append((table, time.time()))

    def _mirror(self, incarnation: Incarnation, table: str) -> Table | None:
        """The mirror of this very incarnation, once it is whole; people wait for their tables before they work."""
        found = self.tables.metastore.get_table(self._mirror_name(incarnation.name, table))
        if found is None or "metasync.making" in found.parameters or incarnation.stale_incarnation == "?":
            return None
        now = found.parameters.get("metasync.incarnation")
        if now is None or now == incarnation.stale_incarnation:
            return None
        if incarnation.mirror_incarnation is None:
            incarnation.mirror_incarnation = now
        return found if now == incarnation.mirror_incarnation else None

    def _mirror_name(self, ref: str, table: str) -> TableName:
        return TableName(f"{self.lake.database}__{ref.replace('-', '_')}", table)

    def _any(self, refs: list[Incarnation]) -> Incarnation | None:
        return self._dice.choice(refs) if refs else None

    def _at(self, ref: str, path: str) -> str:
        return f"s3a://{self.lake.repository}/{ref}/{path}"

    def _root(self, ref: str) -> None:
        """A ref's root is there on lakeFS's S3 gateway; the folder that stands for it must be too."""
        (self._sandbox.metastore.lake / self.lake.repository / ref).mkdir(parents=True, exist_ok=True)

    def _next(self) -> int:
        self._number += 1
        return self._number
