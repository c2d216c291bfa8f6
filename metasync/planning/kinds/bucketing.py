"""Bucketing with sorting, and skew: one item each, as half of one means something else."""

from __future__ import annotations

import json
from dataclasses import replace

from metasync.model.hms import Order, SkewedInfo, Table
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.kind import Items, Kind
from metasync.planning.three_way import Tree


def _items(header: Table, _layout: Layout) -> Items:
    sd, skew = header.sd, header.sd.skewed_info
    return {
        "buckets": json.dumps(
            {
                "columns": sd.bucket_cols,
                "number": sd.num_buckets,
                "sort": [[order.col, order.order] for order in sd.sort_cols],
            }
        ),
        "skew": json.dumps(
            {
                "columns": skew.col_names,
                "values": skew.col_values,
                "locations": skew.locations,
                "directories": sd.stored_as_sub_directories,
            },
            ensure_ascii=False,
        ),
    }


def _restore(header: Table, tree: Tree) -> Table:
    buckets, skew = json.loads(tree["buckets"]), json.loads(tree["skew"])
    return replace(
        header,
        sd=replace(
            header.sd,
            num_buckets=buckets["number"],
            bucket_cols=tuple(buckets["columns"]),
            sort_cols=tuple(Order(col, order) for col, order in buckets["sort"]),
            skewed_info=SkewedInfo(
                col_names=tuple(skew["columns"]),
                col_values=tuple(tuple(values) for values in skew["values"]),
                locations=tuple((tuple(values), where) for values, where in skew["locations"]),
            ),
            stored_as_sub_directories=skew["directories"],
        ),
    )


def columns_used(tree: Tree) -> dict[str, set[str]]:
    """The columns that bucketing, sorting and skew refer to, by item."""
    buckets, skew = json.loads(tree["buckets"]), json.loads(tree["skew"])
    return {
        "buckets": {name.lower() for name in [*buckets["columns"], *(col for col, _ in buckets["sort"])]},
        "skew": {name.lower() for name in skew["columns"]},
    }


KIND = Kind(
    names=("buckets", "skew"),
    items=_items,
    restore=_restore,
    # Engines skip files by them: a table that says otherwise than its files were written answers wrongly.
    is_destructive=lambda change, _: True,
)
