"""Partition discovery: directories that gained or lost all their data become or cease to be partitions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from metasync.model.hms import FieldSchema, PartitionValues, Table
from metasync.planning.changes import PartitionChange
from metasync.planning.definition import PartitionDefinition
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
    header: Table, known: Mapping[PartitionValues, PartitionDefinition], directories: Iterable[Directory]
) -> tuple[PartitionChange, ...]:
    """What the directories make of a table's partitions; `known` are those that it has of them.

    A partition that somebody points elsewhere is theirs: neither an object at its default place nor the lack of one
    says anything about it.
    """
    changes = []
    for directory in directories:
        values = values_of(directory.path, header.partition_keys)
        if values is None or header.sd.location is None:
            continue
        place = f"{header.sd.location.rstrip('/')}/{directory.path}"
        there = known.get(values)
        if directory.filled and there is None:
            changes.append(PartitionChange(values, None, PartitionDefinition(values, place, {})))
        elif directory.empty and there is not None and (there.location or "").rstrip("/") == place:
            changes.append(PartitionChange(values, there, None))
    return tuple(changes)


def wanted_values(header: Table, directories: Collection[Directory]) -> set[PartitionValues]:
    """The values of the partitions that the directories could stand for."""
    found = (values_of(directory.path, header.partition_keys) for directory in directories)
    return {values for values in found if values is not None}
