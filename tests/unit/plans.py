"""What the tests of plans are made of: refs, tables and merges as they are observed."""

from __future__ import annotations

from typing import Any

from metasync.model.hms import FieldSchema, StorageDescriptor, Table, TableName
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.model.marks import Marks
from metasync.planning.changes import FinishCreation, PartitionChange
from metasync.planning.merge import MergeInput
from metasync.planning.observed import MergeTableView, MergeView, Observed, RefView, SourceTable, TableView
from metasync.planning.plan import Plan
from metasync.planning.rules import RuleSet
from metasync.settings.models import Rule, Safety
from tests.tables_in_yaml import definition

LAKE = Repository("lake", 1, "local://lake", "main")


DEV, TAG = Ref(RefType.BRANCH, "dev-1"), Ref(RefType.TAG, "v1")


ORDERS, ITEMS = TableName("sales", "orders"), TableName("sales", "items")


MIRROR = TableName("sales__dev_1", "orders")


SAFE = Safety()


NOTHING = dict.fromkeys(("create", "alter", "drop", "withheld", "conflict", "refused", "held", "failed"), 0)


HEADER = Table("", "", StorageDescriptor(cols=(FieldSchema("id", "int"), FieldSchema("a", "int"))))


def rules(*more: Any, **options: Any) -> RuleSet:
    first = {"name": "dev", "repository": "lake", "branches": ["dev*"], "tags": ["v*"], "tables": ["sales.*"]} | options
    return RuleSet((Rule(**first), *(Rule(**one) for one in more)))


def observed(*refs: RefView, **more: Any) -> Observed:
    return Observed(LAKE, "metasync", "store", refs=refs, **more)


def source_table(logical: TableName = ORDERS, **more: Any) -> SourceTable:
    values = {"version": 7, "definition": "d", "header": HEADER, "partitions": 3, "copy_of": logical} | more
    return SourceTable(logical, **values)


def new(ref: Ref = DEV, *tables: SourceTable, **more: Any) -> RefView:
    values: dict[str, Any] = {
        "id": 2,
        "incarnation": 1,
        "state": "new",
        "present": True,
        "head": "c1",
        "to_create": tables,
    }
    return RefView(ref=ref, **(values | more))


def marks(ref: Ref = DEV, name: TableName = MIRROR, **more: Any) -> Marks:
    values = {
        "instance": "metasync", "store": "store", "repository": "lake", "ref": str(ref), "incarnation": 1,
        "name": str(name), "table": "sales.orders", "rule": "dev",
    } | more  # fmt: skip
    return Marks(**values)


def standing(kind: Any = "mirror", logical: TableName = ORDERS, name: TableName = MIRROR, **more: Any) -> TableView:
    return TableView(name, logical, HEADER, kind, None if kind == "belonging" else marks(name=name, **more))


def gone(number: int = 2, ref: Ref = DEV, *tables: TableView, **more: Any) -> RefView:
    values: dict[str, Any] = {
        "incarnation": 1, "state": "live", "present": False, "head": "c1", "confirmed_gone": True,
        "tables": tables, "databases": ("sales__dev_1",),
    }  # fmt: skip
    return RefView(id=number, ref=ref, **(values | more))


def kinds(plan: Plan) -> list[str]:
    return [change.kind for change in plan.changes]


MADE = ["create-mirror", "finish-creation"]


FINISHED = (FinishCreation(2, DEV),)


def told(plan: Plan) -> list[tuple[str, str]]:
    return [(n.kind, n.subject) for n in (*plan.refusals, *plan.notices)]


def merging(*tables: MergeTableView, **more: Any) -> MergeView:
    return MergeView(5, "c0ffee", "branch/dev-1", 2, Ref(RefType.BRANCH, "main"), 1, tables=tables, **more)


def table(source: Any, destination: Any, base: Any = None, name: TableName = ORDERS, **more: Any) -> MergeTableView:
    versions = {1: definition(base or destination), 2: definition(source), 3: definition(destination)}
    return MergeTableView(name, "dev", name, MergeInput({1: (), 2: (1,), 3: (1,)}, versions, 2, 3), **more)


BEFORE, AFTER = {"columns": "id int"}, {"columns": "id int, a int"}


FOUND = PartitionChange(("1",), None, None)
