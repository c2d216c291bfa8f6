"""What every kind of thing in a definition provides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from metasync.model.hms import Table
from metasync.planning.file_layout import Layout
from metasync.planning.three_way import ItemChange, Tree

Items = dict[str, Any]
"""What a kind reads from a header: its items by name."""
ALL = "ALL"
"""Stands in the place of a column's name, where all columns are one item. No column has it: HMS lower-cases names."""


def _nothing(_change: ItemChange, _layout: Layout) -> None:
    return None


def _never(_change: ItemChange, _layout: Layout) -> bool:
    return False


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    `items` reads a header into a tree; `restore` writes what a tree says over a header. `is_destructive`: whether a
    change makes rows or columns that queries see today disappear, or repoints them. `refusal`: the name of the conflict
    that a change is even though only the source made it.
    """

    names: tuple[str, ...]
    items: Callable[[Table, Layout], Items]
    restore: Callable[[Table, Tree], Table]
    is_destructive: Callable[[ItemChange, Layout], bool] = _never
    refusal: Callable[[ItemChange, Layout], str | None] = _nothing


def present(**values: Any) -> Items:
    """The values that are there: what is None or empty is absent, as HMS does not distinguish these."""
    return {key: value for key, value in values.items() if value is not None and value not in ({}, [], (), "")}
