"""Partition discovery: directories that gained or lost all their data become or cease to be partitions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from metasync.model.hms import FieldSchema, PartitionValues, Table
from metasync.planning.changes import PartitionChange
from metasync.planning.definition import PartitionDefinition
from metasync.planning.locations import path_on_ref
from metasync.planning.partition_names import values_of_name


@dataclass(frozen=True)
class Directory:
    """A directory below a table in which something changed: `dt=1/country=de`.

    It is `filled` with data, or `empty` of any object, or neither: what is left are markers that readers pass over.
    """

    path: str
    filled: bool
    empty: bool


def values_of(path: str, keys: Sequence[FieldSchema]) -> PartitionValues | None:
    """The partition's values that a directory stands for; None where it does not name the keys in their order."""
    names = [part.partition("=") for part in path.split("/")]
    if [name.lower() for name, equals, _ in names if equals] != [key.name.lower() for key in keys]:
        return None
    return values_of_name(path) if len(names) == len(keys) else None


def discovered(
    header: Table,
    known: Mapping[PartitionValues, PartitionDefinition],
    at: Mapping[str, PartitionDefinition],
    directories: Iterable[Directory],
) -> tuple[PartitionChange, ...]:
    """What the directories make of a table's partitions.

    `known` are those of the values that the directories stand for, `at` those that lie on them (`places`), whatever
    their values: a partition `1` of a number may lie at `month=01`, and no second one may come to lie there.

    A partition that somebody points elsewhere is theirs: neither an object at its default place nor the lack of one
    says anything about it.
    """
    changes = []
    for directory in directories:
        values, place = values_of(directory.path, header.partition_keys), _place(header, directory)
        if values is None or place is None:
            continue
        there = at.get(path_on_ref(place) or "")
        if directory.filled and there is None and values not in known:
            changes.append(PartitionChange(values, None, PartitionDefinition(values, place, {})))
        elif directory.empty and there is not None:
            changes.append(PartitionChange(there.values, there, None))
    return tuple(changes)


def places(header: Table, directories: Iterable[Directory]) -> set[str]:
    """The paths on the ref of the directories that stand for partitions."""
    found = (_place(header, one) for one in directories if values_of(one.path, header.partition_keys) is not None)
    return {path_on_ref(place) or "" for place in found if place is not None}


def _place(header: Table, directory: Directory) -> str | None:
    location = header.sd.location
    return f"{location.rstrip('/')}/{directory.path}" if location is not None else None


def wanted_values(header: Table, directories: Collection[Directory]) -> set[PartitionValues]:
    """The values of the partitions that the directories could stand for."""
    found = (values_of(directory.path, header.partition_keys) for directory in directories)
    return {values for values in found if values is not None}
